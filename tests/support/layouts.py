"""Write our networks as other programs write theirs, so that tests have files of every layout.

The pickles come from Python's own pickle and torch's own tensors, with stand-in modules for the packages of NVIDIA that
the files name; so everything but the networks' attributes is laid out by the original code.
"""

import argparse
import collections
import contextlib
import math
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch
from fergan.stylegan import networks as n
from fergan.stylegan.networks import discriminator, layers

CLASS_NAMES = {
    n.StyleGAN2: "Generator",
    discriminator.ConvLayer: "Conv2dLayer",
    layers.SkipLayer: "Conv2dLayer",
}


def tiny_generator(seed=0, **changes):
    """A generator of 16 px with everything random that training would have changed."""
    settings = {"img_resolution": 16, "z_dim": 6, "w_dim": 5, "channels": (5, 4, 3), "num_mapping_layers": 2} | changes
    torch.manual_seed(seed)
    network = n.StyleGAN2(n.StyleGAN2Config(**settings)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("bias", "noise_strength", "w_avg")) and "affine" not in name:
                tensor.normal_(0, 0.3)
    return network


def tiny_discriminator(seed=1, **changes):
    """A discriminator to match."""
    settings = {"img_resolution": 16, "channels": (5, 4, 3), "mbstd_group_size": 2} | changes
    torch.manual_seed(seed)
    network = n.Discriminator(n.DiscriminatorConfig(**settings)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("bias"):
                tensor.normal_(0, 0.3)
    return network


@contextlib.contextmanager
def modules_of_nvidia():
    """The names that NVIDIA's pickles mention, importable for as long as one is written."""
    persistence = types.ModuleType("torch_utils.persistence")
    util = types.ModuleType("dnnlib.util")
    network = types.ModuleType("dnnlib.tflib.network")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("never called")

    for module, item in (
        (persistence, _reconstruct_persistent_obj),
        (util, type("EasyDict", (dict,), {})),
        (network, type("Network", (), {"__getstate__": lambda self: self.state})),
    ):
        item.__module__, item.__qualname__ = module.__name__, item.__name__
        setattr(module, item.__name__, item)
    parents = {name: types.ModuleType(name) for name in ("torch_utils", "dnnlib", "dnnlib.tflib")}
    added = {**parents, **{module.__name__: module for module in (persistence, util, network)}}
    sys.modules.update(added)
    try:
        yield types.SimpleNamespace(
            reconstruct=persistence._reconstruct_persistent_obj, EasyDict=util.EasyDict, Network=network.Network
        )
    finally:
        for name in added:
            del sys.modules[name]


class Persistent:
    """Pickles as the persistent classes of stylegan2-ada-pytorch do."""

    def __init__(self, reconstruct, class_name, state, module_src):
        self.reconstruct = reconstruct
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": module_src,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        return self.reconstruct, (self.meta,)


def persistent(nvidia, module, module_src="raise SystemExit", init_kwargs=None, nhwc=False):
    """A network of ours as stylegan2-ada-pytorch would pickle it."""
    state = {"training": False, "_non_persistent_buffers_set": set(), "_forward_hooks": {}}
    state["_parameters"] = {}
    for name, parameter in module.named_parameters(recurse=False):
        layout = torch.channels_last if nhwc and parameter.ndim == 4 else torch.contiguous_format
        state["_parameters"][name] = torch.nn.Parameter(parameter.detach().clone(memory_format=layout))
    state["_buffers"] = {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}
    children = dict(module.named_children())
    state["_modules"] = {name: persistent(nvidia, child, module_src, nhwc=nhwc) for name, child in children.items()}
    for name in (
        *("z_dim", "c_dim", "w_dim", "num_ws", "img_resolution", "img_channels", "num_layers", "w_avg_beta"),
        *("resolution", "architecture", "use_fp16", "use_noise", "up", "conv_clamp", "activation", "bias_gain"),
    ):
        if hasattr(module, name):
            state[name] = getattr(module, name)
    if isinstance(module, n.SynthesisLayer):
        state |= {"activation": "lrelu", "act_gain": np.sqrt(2)}  # np.float64, as in the real files
    if isinstance(module, discriminator.DiscriminatorEpilogue):
        inner = {"_parameters": {}, "_buffers": {}, "_modules": {}, "group_size": module.group_size, "num_channels": 1}
        state["_modules"]["mbstd"] = Persistent(nvidia.reconstruct, "MinibatchStdLayer", inner, module_src)
    state |= {"_init_args": (), "_init_kwargs": nvidia.EasyDict(init_kwargs or {})}
    return Persistent(nvidia.reconstruct, CLASS_NAMES.get(type(module), type(module).__name__), state, module_src)


def generator_arguments(config, flat):
    """``_init_kwargs``, nested as in stylegan2-ada-pytorch or flat as in stylegan3."""
    common = {name: getattr(config, name) for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    synthesis = {"num_fp16_res": config.num_fp16_res, "conv_clamp": config.conv_clamp}
    if flat:
        synthesis["fused_modconv_default"] = "inference_only"
    else:
        synthesis = {"synthesis_kwargs": {**synthesis, "architecture": config.architecture}}
    return {**common, "mapping_kwargs": {"num_layers": config.num_mapping_layers}, **synthesis}


def write_ada(
    path,
    generator,
    discriminator=None,
    *,
    flat=False,
    protocol=4,
    nhwc=False,
    old_numpy=False,
    module_src="",
    **changes,
):
    """A snapshot of stylegan2-ada-pytorch, or with ``flat`` of stylegan3. ``changes`` replace items of the root."""
    with modules_of_nvidia() as nvidia:
        arguments = generator_arguments(generator.config, flat)
        root = {
            "training_set_kwargs": nvidia.EasyDict(class_name="training.dataset.ImageFolderDataset", resolution=16),
            "G": None,
            "D": discriminator and persistent(nvidia, discriminator, init_kwargs={"c_dim": discriminator.c_dim}),
            "G_ema": persistent(nvidia, generator, module_src, arguments, nhwc),
            "augment_pipe": None,
        } | changes
        data = pickle.dumps(root, protocol)
    if old_numpy:
        assert protocol <= 3, "only there are names not prefixed by their lengths"
        data = data.replace(b"numpy._core.", b"numpy.core.")
    Path(path).write_bytes(data)


def write_stylegan3_t(path):
    """As much of a StyleGAN3 generator as tells it apart."""
    with modules_of_nvidia() as nvidia:

        def layer(name, **modules):
            state = {"_parameters": {}, "_buffers": {}, "_modules": modules}
            return Persistent(nvidia.reconstruct, name, state, "")

        generator = layer("Generator", synthesis=layer("SynthesisNetwork", input=layer("SynthesisInput")))
        Path(path).write_bytes(pickle.dumps({"G": None, "D": None, "G_ema": generator}, 4))


def tensorflow_discriminator(discriminator):
    """(settings, variables) of a discriminator under TensorFlow's names."""
    variables = []
    for name, tensor in discriminator.state_dict().items():
        if name.endswith("resample_filter"):
            continue
        array = tensor.numpy()
        block, layer, kind = name.split(".")
        if block == "mapping":
            theirs = "LabelEmbed" if layer == "embed" else f"Mapping{layer[2:]}"
        elif block == "b4" and layer != "fromrgb":
            theirs = {"conv": "4x4/Conv", "fc": "4x4/Dense0", "out": "Output"}[layer]
        else:
            names = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
            theirs = f"{block[1:]}x{block[1:]}/{names[layer]}"
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        variables.append((f"{theirs}/{kind}", array))
    config = discriminator.config
    settings = {"resolution": config.img_resolution, "label_size": config.c_dim, "architecture": config.architecture}
    settings |= {"mbstd_group_size": config.mbstd_group_size, "mapping_layers": config.num_mapping_layers}
    return settings, variables


def tensorflow_components(state):
    """The variables of both networks by their names in the TensorFlow programs, from a generator's arrays."""
    components = {"mapping": [], "synthesis": []}
    layers = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
    for name, array in state.items():
        network, rest = name.split(".", 1)
        parts = rest.split(".")
        if name.endswith("resample_filter") or name == "mapping.w_avg":
            continue
        if network == "mapping":
            layer = "LabelEmbed" if parts[0] == "embed" else f"Dense{parts[0][2:]}"
            components[network].append((f"{layer}/{parts[1]}", array.T))
            continue
        r = int(parts[0][1:])
        at = f"{r}x{r}/"
        if parts[1] == "const":
            components[network].append((at + "Const/const", array[None]))
        elif parts[2] == "noise_const":
            index = 2 * int(math.log2(r)) - (5 if parts[1] == "conv0" else 4)
            components[network].append((f"noise{index}", array[None, None]))
        else:
            layer = at + ("Conv" if r == 4 and parts[1] == "conv1" else layers[parts[1]]) + "/"
            if parts[2] == "affine":
                value = array.T if parts[3] == "weight" else array - 1
                components[network].append((f"{layer}mod_{parts[3]}", value))
            elif parts[2] == "weight":
                turned = array[:, :, ::-1, ::-1] if parts[1] == "conv0" else array
                components[network].append((layer + "weight", turned.transpose(2, 3, 1, 0)))
            else:
                value = array if array.ndim else np.float32(array)
                components[network].append((layer + parts[2], value))
    return components


def write_tensorflow(path, generator, discriminator=None, version=4, protocol=4, extra_settings=None):
    """A pickle of the TensorFlow programs: (None, D, Gs)."""
    config = generator.config
    state = {name: tensor.numpy() for name, tensor in generator.state_dict().items()}
    settings = {
        "latent_size": config.z_dim,
        "dlatent_size": config.w_dim,
        "label_size": config.c_dim,
        "resolution": config.img_resolution,
        "num_channels": config.img_channels,
        "mapping_layers": config.num_mapping_layers,
        "architecture": config.architecture,
        "truncation_psi": 0.5,
    } | (extra_settings or {})
    with modules_of_nvidia() as nvidia:

        def network(name, static_kwargs, variables, **components):
            made = nvidia.Network()
            made.state = {
                "version": version,
                "name": name,
                "static_kwargs": static_kwargs,
                "components": components,
                "build_module_src": "raise SystemExit",
                "build_func_name": name,
                "variables": [(key, np.ascontiguousarray(v) if np.ndim(v) else v) for key, v in variables],
            }
            if version == 5:
                made.state |= {"input_shapes": [[None, config.z_dim]], "output_names": ["images_out"]}
            return made

        parts = {name: network(f"G_{name}", {}, variables) for name, variables in tensorflow_components(state).items()}
        own = [("lod", np.float32(0)), ("dlatent_avg", state["mapping.w_avg"])]
        d = discriminator and network("D", *tensorflow_discriminator(discriminator))
        data = pickle.dumps((None, d, network("Gs", settings, own, **parts)), protocol)
    Path(path).write_bytes(data)


def rosinality_state(generator):
    """The state dict of a generator under rosinality's names."""
    found = collections.OrderedDict()
    found._metadata = {"": {"version": 1}}  # every real state dict has this attribute, and it is pickled too
    for name, tensor in generator.state_dict().items():
        parts = name.split(".")
        if name.endswith("resample_filter") or name == "mapping.w_avg":
            continue
        if parts[0] == "mapping":
            found[f"style.{int(parts[1][2:]) + 1}.{parts[2]}"] = tensor
            continue
        r = int(parts[1][1:])
        level = int(math.log2(r))
        if parts[2] == "const":
            found["input.input"] = tensor[None]
        elif parts[3] == "noise_const":
            index = 0 if r == 4 else 2 * level - (5 if parts[2] == "conv0" else 4)
            found[f"noises.noise_{index}"] = tensor[None, None]
        else:
            if parts[2] == "torgb":
                layer = "to_rgb1" if r == 4 else f"to_rgbs.{level - 3}"
                bias = "bias"
            else:
                layer = "conv1" if r == 4 else f"convs.{2 * (level - 3) + int(parts[2] == 'conv1')}"
                bias = "activate.bias"
            if parts[3] == "affine":
                found[f"{layer}.conv.modulation.{parts[4]}"] = tensor
            elif parts[3] == "weight":
                found[f"{layer}.conv.weight"] = tensor[None]
                if parts[2] == "conv0":
                    found[f"{layer}.conv.blur.kernel"] = generator.synthesis.b4.resample_filter * 4
            elif parts[3] == "noise_strength":
                found[f"{layer}.noise.weight"] = tensor[None]
            else:
                found[f"{layer}.{bias}"] = tensor if parts[2] != "torgb" else tensor.reshape(1, -1, 1, 1)
    return found


def write_rosinality(path, generator, *, training=False, legacy=False, noises=True):
    """A converted checkpoint, or one of a training: with optimizers and arguments, without an average w."""
    state = rosinality_state(generator)
    if not noises:
        for name in [name for name in state if name.startswith("noises.")]:
            del state[name]
    if training:
        config = generator.config
        step = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 3)}
        stated = {"size": config.img_resolution, "latent": config.z_dim, "n_mlp": config.num_mapping_layers}
        arguments = argparse.Namespace(**stated, path="faces", device=torch.device("cpu"))
        optimizer = {"state": {0: step}, "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0]}]}
        root = {"g": state, "d": {"x": torch.zeros(1)}, "g_ema": state, "g_optim": optimizer, "args": arguments}
    else:
        root = {"g_ema": state, "latent_avg": generator.mapping.w_avg}
    torch.save(root, path, _use_new_zipfile_serialization=not legacy)
