"""Pickles of the original TensorFlow programs, stylegan2 (version 4) and stylegan2-ada (version 5), config-e and -f.

A pickle of a tuple (G, D, Gs) of ``dnnlib.tflib.network.Network``; Gs is the averaged generator. A network's state has
``static_kwargs`` (the settings that differ from the defaults), ``variables`` [(name, array)], ``components`` (Gs has
``mapping`` and ``synthesis``) and source code, which is not looked at.

TensorFlow keeps convolutions as [k, k, in, out] and matrices as [in, out]; style biases lack the 1 that the PyTorch
programs add to them, and the kernels of upsampling convolutions are turned by 180 degrees. The noise maps are called
noise0 (4x4), noise1 and noise2 (8x8) and so on; the resampling filter is not stored.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..networks import Discriminator, StyleGAN2
from .checkpoint import Derived, Networks, Stored, StoredNetwork
from .contents import Content
from .errors import CheckpointError
from .restricted_pickle import brief, refuse
from .stand_ins import NumpyArray, TensorFlowNetwork
from .structure import (
    compare,
    discriminator_config,
    generator_config,
    noise_map,
    number,
    optional_number,
    text,
    whole_number,
)

NAME = "tensorflow"
FILES = "the TensorFlow programs (.pkl, config-e and config-f)"
LICENCE: str | None = (
    "Networks published by NVIDIA are under the NVIDIA Source Code License-NC: non-commercial, for research and "
    "evaluation only. A network that you trained yourself is yours."
)

GENERATOR_SETTINGS = {
    "latent_size": "z_dim",
    "label_size": "c_dim",
    "dlatent_size": "w_dim",
    "resolution": "img_resolution",
    "num_channels": "img_channels",
    "mapping_layers": "num_mapping_layers",
    "architecture": "architecture",
    "use_noise": "use_noise",
}
DISCRIMINATOR_SETTINGS = {
    "label_size": "c_dim",
    "resolution": "img_resolution",
    "num_channels": "img_channels",
    "architecture": "architecture",
}
OTHER_SETTINGS = {  # read below, shown by shapes, or without influence on the image
    "mapping_lrmul",
    "w_avg_beta",
    "dlatent_avg_beta",
    "fmap_base",
    "fmap_max",
    "fmap_min",
    "fmap_decay",
    "num_fp16_res",
    "conv_clamp",
    "resample_kernel",
    "nonlinearity",
    "mapping_nonlinearity",
    "label_fmaps",
    "mapping_fmaps",
    "mbstd_group_size",
    "mbstd_num_features",
    "mapping_layers",
    "freeze_layers",
    "truncation_psi",
    "truncation_cutoff",
    "style_mixing_prob",
    "structure",
    "conditioning",
    "fused_modconv",
    "randomize_noise",
    "dtype",
}


def recognise(content: Content) -> bool:
    """Whether a file is a tuple (G, D, Gs) of networks, or one of them alone."""
    root = content.root
    snapshot = type(root) is tuple and len(root) == 3 and any(type(item) is TensorFlowNetwork for item in root)
    return content.container == "pickle" and (snapshot or type(root) is TensorFlowNetwork)


def read(content: Content) -> Networks:
    """The averaged generator and the discriminator.

    Raises:
        CheckpointError: there is no averaged generator, or it is not config-e or config-f of StyleGAN2.
    """
    _, d, gs = content.root if type(content.root) is tuple else (None, None, content.root)
    if gs is None:
        raise CheckpointError("a TensorFlow pickle without Gs, the averaged generator; use another snapshot")
    return Networks(read_generator(gs), None if d is None else lambda: read_discriminator(d))


class Array:
    """A number among the variables (a noise strength), as a tensor without axes."""

    shape: tuple[int, ...] = ()
    nbytes = 4

    def __init__(self, value: float) -> None:
        self.value = value

    def numpy(self) -> np.ndarray:
        return np.array(self.value, dtype=np.float32)


def read_generator(root: Any) -> StoredNetwork:
    """The generator in a pickled network.

    Raises:
        CheckpointError: it is none, or not config-e or config-f of StyleGAN2.
    """
    state = _state(root)
    variables = _variables(state)
    components = state.get("components")
    if type(components) is not dict or not components:
        raise CheckpointError(
            f"in place of a generator it holds the network {brief(state.get('name'))}; a generator has a mapping and a "
            "synthesis part. Use a file with Gs"
        )
    for component, network in components.items():
        variables.update({f"{component}/{name}": value for name, value in _variables(_state(network)).items()})
    settings = _settings(state, GENERATOR_SETTINGS)
    if "synthesis_func" in settings or any("ToRGB_lod" in name or "StyleMod" in name for name in variables):
        raise CheckpointError(
            "a generator of config-a to config-d (StyleGAN and its first revisions), and fergan draws those of "
            "config-e and config-f only; use stylegan2-ffhq-config-f.pkl or the like"
        )
    if any("LabelConcat" in name for name in variables):
        raise CheckpointError(
            "a conditional generator of the first TensorFlow program, which no other program can read; "
            "train or look for one of stylegan2-ada"
        )
    tensors: dict[str, Stored] = {}
    for name, value in variables.items():
        if name != "lod":
            ours, tensor = _rename(name, value, GENERATOR_NAMES)
            tensors[ours] = tensor

    text(settings.get("nonlinearity"), "nonlinearity", ("lrelu",))
    text(settings.get("mapping_nonlinearity"), "mapping_nonlinearity", ("lrelu",))
    config = generator_config(
        tensors,
        mapping_lr_multiplier=number(settings.get("mapping_lrmul"), "mapping_lrmul", 0.01),
        w_avg_beta=number(settings.get("w_avg_beta"), "w_avg_beta", 0.995),
        conv_clamp=optional_number(settings.get("conv_clamp"), "conv_clamp"),
        num_fp16_res=whole_number(settings.get("num_fp16_res", 0), "num_fp16_res"),
        resample_filter=_taps(settings.get("resample_kernel")),
    )
    compare(config, {ours: settings.get(theirs) for theirs, ours in GENERATOR_SETTINGS.items()})
    compare(config, _channels(settings))
    return StoredNetwork(config, tensors, StyleGAN2)


def read_discriminator(root: Any) -> StoredNetwork:
    """The discriminator in a pickled network. Conditional ones are those of stylegan2-ada.

    Raises:
        CheckpointError: it is none, or not config-e or config-f of StyleGAN2.
    """
    state = _state(root)
    settings = _settings(state, DISCRIMINATOR_SETTINGS)
    variables = _variables(state)
    variables.pop("lod", None)
    tensors = dict(_rename(name, value, DISCRIMINATOR_NAMES) for name, value in variables.items())
    text(settings.get("nonlinearity"), "nonlinearity", ("lrelu",))
    group = settings.get("mbstd_group_size", 4 if state["version"] == 4 else None)  # None: the whole batch
    config = discriminator_config(
        tensors,
        mapping_lr_multiplier=number(settings.get("mapping_lrmul"), "mapping_lrmul", 0.1),
        mbstd_group_size=None if group is None else whole_number(group, "mbstd_group_size") or 1,
        conv_clamp=optional_number(settings.get("conv_clamp"), "conv_clamp"),
        num_fp16_res=whole_number(settings.get("num_fp16_res", 0), "num_fp16_res"),
        resample_filter=_taps(settings.get("resample_kernel")),
    )
    compare(config, {ours: settings.get(theirs) for theirs, ours in DISCRIMINATOR_SETTINGS.items()})
    compare(config, _channels(settings))
    return StoredNetwork(config, tensors, Discriminator)


# ---------------------------------------------------------------------------------------------------------------------
# Names and layouts

Change = Callable[[np.ndarray], np.ndarray]
Rule = tuple[str, Callable[[re.Match[str]], str], str]
"""Pattern of a TensorFlow name, our name, and how the numbers are laid out (a key of ``LAYOUTS``)."""


def _convolution_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[3], shape[2], shape[0], shape[1]


# layout -> axes there, shape here, numbers here
LAYOUTS: dict[str, tuple[int | None, Callable[[tuple[int, ...]], tuple[int, ...]], Change]] = {
    "as is": (None, lambda shape: shape, lambda a: a),
    "matrix": (2, lambda shape: shape[::-1], lambda a: a.T),
    "style bias": (1, lambda shape: shape, lambda a: a + 1),
    "convolution": (4, _convolution_shape, lambda a: a.transpose(3, 2, 0, 1)),
    "upsampling": (4, _convolution_shape, lambda a: a[::-1, ::-1].transpose(3, 2, 0, 1)),
    "constant": (4, lambda shape: shape[1:], lambda a: a),
    "noise": (4, lambda shape: shape[2:], lambda a: a),
}

_LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}


def _layer(suffix: str) -> Callable[[re.Match[str]], str]:
    return lambda m: f"synthesis.b{m[1]}.{_LAYERS[m[2]]}.{suffix}"


_AT = r"synthesis/(\d+)x\1/"
GENERATOR_NAMES: list[Rule] = [
    (r"dlatent_avg", lambda m: "mapping.w_avg", "as is"),
    (r"mapping/Dense(\d{1,3})/weight", lambda m: f"mapping.fc{m[1]}.weight", "matrix"),
    (r"mapping/Dense(\d{1,3})/bias", lambda m: f"mapping.fc{m[1]}.bias", "as is"),
    (r"mapping/LabelEmbed/weight", lambda m: "mapping.embed.weight", "matrix"),
    (r"mapping/LabelEmbed/bias", lambda m: "mapping.embed.bias", "as is"),
    (r"synthesis/4x4/Const/const", lambda m: "synthesis.b4.const", "constant"),
    (r"synthesis/noise(\d{1,2})", noise_map, "noise"),
    (_AT + "(Conv0_up)/weight", _layer("weight"), "upsampling"),
    (_AT + "(Conv|Conv1|ToRGB|Skip)/weight", _layer("weight"), "convolution"),
    (_AT + "(Conv|Conv0_up|Conv1|ToRGB)/bias", _layer("bias"), "as is"),
    (_AT + "(Conv|Conv0_up|Conv1)/noise_strength", _layer("noise_strength"), "as is"),
    (_AT + "(Conv|Conv0_up|Conv1|ToRGB)/mod_weight", _layer("affine.weight"), "matrix"),
    (_AT + "(Conv|Conv0_up|Conv1|ToRGB)/mod_bias", _layer("affine.bias"), "style bias"),
]

_D_LAYERS = {"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}
DISCRIMINATOR_NAMES: list[Rule] = [
    (r"4x4/Conv/weight", lambda m: "b4.conv.weight", "convolution"),
    (r"4x4/Conv/bias", lambda m: "b4.conv.bias", "as is"),
    (r"4x4/Dense0/weight", lambda m: "b4.fc.weight", "matrix"),
    (r"4x4/Dense0/bias", lambda m: "b4.fc.bias", "as is"),
    (r"LabelEmbed/weight", lambda m: "mapping.embed.weight", "matrix"),
    (r"LabelEmbed/bias", lambda m: "mapping.embed.bias", "as is"),
    (r"Mapping(\d{1,3})/weight", lambda m: f"mapping.fc{m[1]}.weight", "matrix"),
    (r"Mapping(\d{1,3})/bias", lambda m: f"mapping.fc{m[1]}.bias", "as is"),
    (r"Output/weight", lambda m: "b4.out.weight", "matrix"),
    (r"Output/bias", lambda m: "b4.out.bias", "as is"),
    (r"(\d+)x\1/(FromRGB|Conv0|Conv1_down|Skip)/weight", lambda m: f"b{m[1]}.{_D_LAYERS[m[2]]}.weight", "convolution"),
    (r"(\d+)x\1/(FromRGB|Conv0|Conv1_down)/bias", lambda m: f"b{m[1]}.{_D_LAYERS[m[2]]}.bias", "as is"),
]


def _rename(name: str, value: Stored, rules: list[Rule]) -> tuple[str, Stored]:
    for pattern, ours, layout in rules:
        match = re.fullmatch(pattern, name)
        if match:
            axes, shape, change = LAYOUTS[layout]
            fits = axes is None or len(value.shape) == axes
            if not fits or math.prod(shape(value.shape)) != math.prod(value.shape):
                raise CheckpointError(f"the variable {name!r} has shape {value.shape}, which fits no StyleGAN2 network")
            return ours(match), Derived(value, shape(value.shape), change)
    raise CheckpointError(f"the variable {brief(name)} belongs to no StyleGAN2 network of config-e or config-f")


def _state(root: Any) -> dict[Any, Any]:
    if type(root) is not TensorFlowNetwork:
        raise CheckpointError(f"in place of a TensorFlow network it holds {brief(root)}; use another snapshot")
    version = root.state.get("version")
    if type(version) is not int or version not in (4, 5):
        raise CheckpointError(
            f"a TensorFlow network of version {brief(version)}, older or newer than StyleGAN2's (4 and 5); load and "
            "save it with NVIDIA's stylegan2 or stylegan2-ada, which brings it up to date"
        )
    return root.state


def _variables(state: dict[Any, Any]) -> dict[str, Stored]:
    listed = state.get("variables")
    if type(listed) is not list:
        refuse("a network without variables")
    found: dict[str, Stored] = {}
    for item in listed:
        if type(item) not in (tuple, list) or len(item) != 2 or type(item[0]) is not str:
            refuse("a variable without a name")
        name, value = item
        if type(value) is NumpyArray:
            found[name] = value
        elif type(value) in (float, int):
            found[name] = Array(value)
        else:
            refuse("a variable that is not an array")
    return found


def _settings(state: dict[Any, Any], known: dict[str, str]) -> dict[str, Any]:
    settings = state.get("static_kwargs")
    if type(settings) is not dict:
        refuse("a network without settings")
    for name in settings:
        if name not in known and name not in OTHER_SETTINGS and name != "synthesis_func":
            raise CheckpointError(f"its network was made with the setting {brief(name)}, which fergan does not know")
    return settings


def _channels(settings: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow counts feature maps from 8 px on where PyTorch counts from 4: hence the factor of two."""
    if settings.get("fmap_decay") not in (None, 1, 1.0) or settings.get("fmap_min") not in (None, 1):
        return {}
    base, most = settings.get("fmap_base"), settings.get("fmap_max")
    if base is None and most is None:
        return {}
    return {"channel_base": 2 * number(base, "fmap_base", 16384), "channel_max": number(most, "fmap_max", 512)}


def _taps(value: Any) -> tuple[float, ...]:
    if value is None:
        return (1, 3, 3, 1)
    if type(value) not in (list, tuple) or not 1 <= len(value) <= 64:
        raise CheckpointError("its setting resample_kernel is not a list of taps")
    return tuple(number(tap, "resample_kernel") for tap in value)
