"""Pickles of stylegan2-ada-pytorch, and the StyleGAN2 ones of the stylegan3 repository.

A pickle of a dictionary with ``G``, ``D``, ``G_ema`` (the averaged generator, which draws the published images),
``augment_pipe`` and ``training_set_kwargs``. Each network is
``torch_utils.persistence._reconstruct_persistent_obj({'type': 'class', 'version': 6, 'module_src': source code,
'class_name': ..., 'state': the module's __dict__})``, and so is each of its layers, under ``_modules``; ``_parameters``
and ``_buffers`` hold tensors whose storages are legacy torch files in a byte string. NVIDIA's own loader runs
``module_src``; this one never looks at it.

The layers' attributes tell what shapes do not: ``bias_gain`` of a mapping layer is its learning-rate multiplier,
``conv_clamp``, ``use_fp16``, ``activation``. ``_init_kwargs`` repeat the arguments that the network was made with,
nested in ``mapping_kwargs`` and ``synthesis_kwargs`` by the first repository, the synthesis ones flat by the second,
whose defaults are others (num_fp16_res 4, conv_clamp 256, w_avg_beta 0.998).
"""

from typing import Any

from ..networks import Discriminator, StyleGAN2
from .checkpoint import Networks, StoredNetwork
from .contents import Content
from .errors import CheckpointError
from .restricted_pickle import brief, refuse
from .stand_ins import PersistentObject
from .structure import (
    compare,
    discriminator_config,
    generator_config,
    json_part,
    number,
    optional_number,
    text,
    whole_number,
)
from .torch_files import TorchTensor

NAME = "stylegan2-ada"
FILES = "stylegan2-ada-pytorch and stylegan3 (.pkl, StyleGAN2 only)"
LICENCE: str | None = (
    "Networks published by NVIDIA are under the NVIDIA Source Code License: non-commercial, for research and "
    "evaluation only. A network that you trained yourself is yours."
)

MAX_LAYERS = 5_000  # a 1024 px generator has 70
MAX_DEPTH = 6  # network, synthesis, block, layer, affine


def recognise(content: Content) -> bool:
    """Whether a file is a snapshot of these programs, or one of their networks alone."""
    root = content.root
    snapshot = type(root) is dict and ("G_ema" in root or "D" in root)
    return content.container == "pickle" and (snapshot or type(root) is PersistentObject)


def read(content: Content) -> Networks:
    """The networks, and the training set where the file tells of it.

    Raises:
        CheckpointError: there is no averaged generator, or it is not one of StyleGAN2.
    """
    root = content.root
    if type(root) is PersistentObject:
        root = {"D" if root.class_name == "Discriminator" else "G_ema": root}
    if root.get("G_ema") is None:
        raise CheckpointError("only a discriminator or a generator in training, no G_ema; use another snapshot")
    d = root.get("D")
    discriminator = None if d is None else lambda: read_discriminator(d)
    training_set = json_part(root.get("training_set_kwargs"))
    metadata = {"training_set": training_set} if training_set else {}
    return Networks(read_generator(root["G_ema"]), discriminator, metadata)


class Network:
    """A pickled network taken apart: tensors and layers by their dotted names."""

    def __init__(self, root: PersistentObject) -> None:
        self.tensors: dict[str, TorchTensor] = {}
        self.layers: dict[str, PersistentObject] = {}
        pending: list[tuple[str, Any]] = [("", root)]
        while pending:
            prefix, layer = pending.pop()
            if layer is None:
                continue
            if type(layer) is not PersistentObject or len(self.layers) >= MAX_LAYERS or prefix.count(".") > MAX_DEPTH:
                refuse("a network that is not built of layers")
            self.layers[prefix.removesuffix(".")] = layer
            temporary = layer.state.get("_non_persistent_buffers_set") or ()
            if not isinstance(temporary, set | frozenset | list | tuple):
                refuse("a layer of an unknown form")
            for group in ("_parameters", "_buffers"):
                for name, tensor in self._items(layer, group):
                    if tensor is None or (group == "_buffers" and name in temporary):
                        continue
                    if type(tensor) is not TorchTensor:
                        refuse("a parameter that is not a tensor")
                    self.tensors[prefix + name] = tensor
            pending += [(f"{prefix}{name}.", child) for name, child in self._items(layer, "_modules")]

    @staticmethod
    def _items(layer: PersistentObject, group: str) -> list[tuple[str, Any]]:
        members = layer.state.get(group, {})
        if type(members) is not dict or any(type(name) is not str for name in members):
            refuse("a layer of an unknown form")
        return list(members.items())

    def attribute(self, layer: str, name: str) -> Any:
        """An attribute of a layer, None where either does not exist."""
        return self.layers[layer].state.get(name) if layer in self.layers else None

    def common(self, name: str, layers: list[str], default: Any = None) -> Any:
        """An attribute on which all the ``layers`` that have it agree."""
        values = [self.layers[layer].state[name] for layer in layers if name in self.layers[layer].state]
        if any(type(value) is not type(values[0]) or value != values[0] for value in values):
            raise CheckpointError(f"its layers differ in {name}, which fergan's networks cannot")
        return values[0] if values else default

    def arguments(self) -> dict[str, Any]:
        """The arguments that the network was made with, the nested groups laid flat."""
        stated = self.attribute("", "_init_kwargs")
        flat = dict(stated) if type(stated) is dict else {}
        for group in ("synthesis_kwargs", "block_kwargs", "epilogue_kwargs"):
            inner = flat.pop(group, None)
            if type(inner) is dict:
                flat.update(inner)
        return flat


def read_generator(root: Any) -> StoredNetwork:
    """The generator in a pickled network.

    Raises:
        CheckpointError: it is none, or not one of StyleGAN2.
    """
    network = Network(_expect(root, "Generator"))
    if "synthesis.input" in network.layers:
        raise CheckpointError(
            "a StyleGAN3 generator (T or R), and fergan draws with StyleGAN2 and DCGAN only; use a StyleGAN2 network "
            "of the same images, which NVIDIA publishes beside it"
        )
    arguments = network.arguments()
    mapping = arguments.get("mapping_kwargs")
    mapping = mapping if type(mapping) is dict else {}
    of_stylegan3 = "fused_modconv_default" in arguments

    blocks = _blocks(network, "synthesis.b")
    convolutions = [f"{b}.{conv}" for b in blocks for conv in ("conv0", "conv1") if f"{b}.{conv}" in network.layers]
    dense = [name for name in network.layers if name.startswith("mapping.fc")]
    for layer in (*convolutions, *dense):
        text(network.attribute(layer, "activation"), "activation", ("lrelu",))
    clamped = [*convolutions, *(f"{b}.torgb" for b in blocks if f"{b}.torgb" in network.layers)]
    clamp = network.common("conv_clamp", clamped, arguments.get("conv_clamp", 256 if of_stylegan3 else None))
    lr_multiplier = network.common("bias_gain", dense, mapping.get("lr_multiplier"))
    beta = network.attribute("mapping", "w_avg_beta") or mapping.get("w_avg_beta")

    config = generator_config(
        network.tensors,
        mapping_lr_multiplier=number(lr_multiplier, "lr_multiplier", 0.01),
        w_avg_beta=number(beta, "w_avg_beta", 0.998 if of_stylegan3 else 0.995),
        conv_clamp=optional_number(clamp, "conv_clamp"),
        num_fp16_res=sum(network.attribute(block, "use_fp16") is True for block in blocks),
    )
    sizes = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    given = (*sizes, "channel_base", "channel_max", "architecture", "use_noise")
    compare(config, {name: network.attribute("", name) for name in sizes})
    compare(config, {name: arguments.get(name) for name in given})
    compare(config, {"num_mapping_layers": mapping.get("num_layers")})
    compare(config, {"architecture": network.common("architecture", blocks)})
    return StoredNetwork(config, network.tensors, StyleGAN2)


def read_discriminator(root: Any) -> StoredNetwork:
    """The discriminator in a pickled network.

    Raises:
        CheckpointError: it is none, or not one of StyleGAN2.
    """
    network = Network(_expect(root, "Discriminator"))
    arguments = network.arguments()
    blocks = _blocks(network, "b")
    convolutions = [f"{b}.{conv}" for b in blocks for conv in ("conv0", "conv1") if f"{b}.{conv}" in network.layers]
    dense = [name for name in network.layers if name.startswith("mapping.fc")]
    for layer in (*convolutions, *dense):
        text(network.attribute(layer, "activation"), "activation", ("lrelu",))
    group: Any = arguments.get("mbstd_group_size", 4)
    if "b4.mbstd" in network.layers:
        group = network.layers["b4.mbstd"].state.get("group_size", group)
    config = discriminator_config(
        network.tensors,
        mapping_lr_multiplier=number(network.common("bias_gain", dense), "lr_multiplier", 0.01),
        mbstd_group_size=None if group is None else whole_number(group, "mbstd_group_size") or 1,
        conv_clamp=optional_number(network.common("conv_clamp", convolutions), "conv_clamp"),
        num_fp16_res=sum(network.attribute(block, "use_fp16") is True for block in blocks),
    )
    names = ("c_dim", "img_resolution", "img_channels", "channel_base", "channel_max", "architecture")
    compare(config, {name: arguments.get(name) for name in names})
    compare(config, {"architecture": network.common("architecture", [b for b in blocks if b != "b4"])})
    return StoredNetwork(config, network.tensors, Discriminator)


def _expect(root: Any, class_name: str) -> PersistentObject:
    if type(root) is not PersistentObject:
        raise CheckpointError(f"in place of a {class_name.lower()} it holds {brief(root)}; use another snapshot")
    if root.class_name != class_name:
        raise CheckpointError(
            f"it holds a network of the class {brief(root.class_name)} where a StyleGAN2 {class_name} is needed; "
            "fergan knows the networks of stylegan2-ada-pytorch, and the StyleGAN2 ones of stylegan3"
        )
    return root


def _blocks(network: Network, prefix: str) -> list[str]:
    return [name for name in network.layers if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
