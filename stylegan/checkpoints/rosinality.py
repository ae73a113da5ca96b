"""``.pt`` files of rosinality/stylegan2-pytorch: converted ones and those of its training.

A torch file of a dictionary with ``g_ema``, the state dict of the averaged generator, and ``latent_avg``, the average
w, which training checkpoints lack. Those have ``g``, ``d``, the optimizers and ``args`` besides.

The maths is NVIDIA's and so is every weight; names differ, and some tensors carry axes of length 1. ``noises.noise_k``
counts like TensorFlow's (0 at 4x4, then two a block); the biases of ``modulation`` include the 1. Blur kernels are the
resampling filter times 4.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..networks import StyleGAN2
from .checkpoint import Derived, Networks, Stored, StoredNetwork
from .contents import Content
from .errors import CheckpointError
from .restricted_pickle import brief
from .stand_ins import Namespace
from .structure import compare, generator_config, json_part, noise_map
from .torch_files import TorchTensor

_ALONE = "input.input"  # a tensor of the generator: the file is its state dict

NAME = "rosinality"
FILES = "rosinality/stylegan2-pytorch (.pt)"
LICENCE: str | None = (
    "Files converted from NVIDIA's networks stay under NVIDIA's non-commercial licence; "
    "for others ask whoever trained them."
)


def recognise(content: Content) -> bool:
    """Whether a file is a checkpoint of this program, or a state dict of its generator alone."""
    root = content.root
    return (
        content.container == "torch" and type(root) is dict and any(key in root for key in ("g_ema", "g", "d", _ALONE))
    )


def read(content: Content) -> Networks:
    """The averaged generator, and what the training was started with.

    Raises:
        CheckpointError: there is no generator, or it is of another program.
    """
    root = {"g_ema": content.root} if _ALONE in content.root else content.root
    if "g_ema" not in root and "g" not in root:
        raise CheckpointError("only a discriminator, no generator in it; use another snapshot")
    training = json_part(training_arguments(root))
    return Networks(read_generator(root), metadata={"training": training} if training else {})


def read_generator(root: dict[Any, Any]) -> StoredNetwork:
    """The averaged generator in the dictionary of a ``.pt`` file.

    Raises:
        CheckpointError: there is none, or it is of another program.
    """
    weights = root.get("g_ema", root.get("g"))
    if type(weights) is not dict or not weights:
        raise CheckpointError(f"in place of a generator's weights it holds {brief(weights)}; use another snapshot")
    if all(type(name) is str and name.startswith("module.") for name in weights):  # saved by data-parallel training
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    if any(type(name) is str and (".iwt." in name or ".dwt." in name) for name in weights):
        raise CheckpointError("a SWAGAN generator (wavelets), and fergan draws StyleGAN2 only")

    tensors: dict[str, Stored] = {}
    kernels: list[TorchTensor] = []
    for name, tensor in weights.items():
        if type(name) is not str or type(tensor) is not TorchTensor:
            raise CheckpointError(f"its weight {brief(name)} is not a tensor; the file is damaged, so get a fresh copy")
        if name.endswith((".blur.kernel", ".upsample.kernel")):
            kernels.append(tensor)
            continue
        ours, axes = _rename(name)
        tensors[ours] = _without_axes(name, tensor, axes)
    average = root.get("latent_avg")
    if type(average) is TorchTensor:
        tensors["mapping.w_avg"] = average

    config = generator_config(tensors, mapping_lr_multiplier=0.01, resample_filter=_taps(kernels))
    arguments = training_arguments(root)
    stated = {"img_resolution": "size", "z_dim": "latent", "w_dim": "latent", "num_mapping_layers": "n_mlp"}
    compare(config, {ours: arguments.get(theirs) for ours, theirs in stated.items()})
    return StoredNetwork(config, tensors, StyleGAN2)


def training_arguments(root: dict[Any, Any]) -> dict[Any, Any]:
    """The arguments of the training; empty for converted files."""
    arguments = root.get("args")
    return arguments.values if type(arguments) is Namespace else {}


def _rename(name: str) -> tuple[str, int | None]:
    """Our name, and how many axes the tensor has there (leading and trailing ones of length 1 are dropped)."""
    for pattern, ours, axes in NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return ours(match), axes
    raise CheckpointError(
        f"the weight {name[:80]!r} belongs to no generator of rosinality/stylegan2-pytorch; "
        "fergan reads that program's files, and NVIDIA's"
    )


def _without_axes(name: str, tensor: TorchTensor, axes: int | None) -> Stored:
    shape = tensor.shape
    if axes is None or len(shape) == axes:
        return tensor
    extra = len(shape) - axes
    if extra > 0 and shape[:1] == (1,) and math.prod(shape[1 : axes + 1]) == math.prod(shape):
        return Derived(tensor, shape[1 : axes + 1], _unchanged)  # [1, ...] and [1, C, 1, 1]
    if extra > 0 and math.prod(shape[extra:]) == math.prod(shape):
        return Derived(tensor, shape[extra:], _unchanged)  # [1, 1, R, R] and [1]
    raise CheckpointError(f"the weight {name!r} has shape {shape}, which fits no StyleGAN2 generator")


def _unchanged(array: np.ndarray) -> np.ndarray:
    return array


def _taps(kernels: list[TorchTensor]) -> tuple[float, ...]:
    """The resampling filter of which all ``kernels`` are multiples."""
    if not kernels:
        return (1, 3, 3, 1)
    found = []
    for kernel in kernels:
        if len(kernel.shape) != 2 or kernel.shape[0] != kernel.shape[1] or not 1 <= kernel.shape[0] <= 64:
            raise CheckpointError(f"a blur kernel has shape {kernel.shape}; the file is damaged, so get a fresh copy")
        row = kernel.numpy().sum(axis=0)
        if not np.isfinite(row).all() or not 0.5 < row.sum() < 64:
            raise CheckpointError("a blur kernel is none; the file is damaged, so get a fresh copy")
        found.append(row / row.sum())
    first = found[0]
    if any(row.shape != first.shape or not np.allclose(row, first, atol=1e-6) for row in found):
        raise CheckpointError("its layers blur with different kernels, which fergan's networks cannot")
    standard = np.array((1, 3, 3, 1)) / 8
    if first.shape == standard.shape and np.allclose(first, standard, atol=1e-6):
        return (1, 3, 3, 1)
    return tuple(float(tap) for tap in first)


# ---------------------------------------------------------------------------------------------------------------------
# Names. convs.0 and convs.1 are the 8 px block, convs.2 and convs.3 the 16 px one, to_rgbs.0 is the 8 px ToRGB.

_PARTS: list[tuple[str, str, int]] = [
    (r"conv\.weight", "weight", 4),
    (r"conv\.modulation\.weight", "affine.weight", 2),
    (r"conv\.modulation\.bias", "affine.bias", 1),
]
_LAYER_PARTS = [*_PARTS, (r"noise\.weight", "noise_strength", 0), (r"activate\.bias", "bias", 1)]
_RGB_PARTS = [*_PARTS, (r"bias", "bias", 1)]


def _first(layer: str, part: str) -> Callable[[re.Match[str]], str]:
    return lambda m: f"synthesis.b4.{layer}.{part}"


def _conv(part: str) -> Callable[[re.Match[str]], str]:
    return lambda m: f"synthesis.b{8 << int(m[1]) // 2}.conv{int(m[1]) % 2}.{part}"


def _rgb(part: str) -> Callable[[re.Match[str]], str]:
    return lambda m: f"synthesis.b{8 << int(m[1])}.torgb.{part}"


NAMES: list[tuple[str, Callable[[re.Match[str]], str], int | None]] = [
    (r"style\.([1-9]\d?)\.(weight|bias)", lambda m: f"mapping.fc{int(m[1]) - 1}.{m[2]}", None),
    (r"input\.input", lambda m: "synthesis.b4.const", 3),
    (r"noises\.noise_(\d{1,2})", noise_map, 2),
    *((r"conv1\." + theirs, _first("conv1", ours), axes) for theirs, ours, axes in _LAYER_PARTS),
    *((r"to_rgb1\." + theirs, _first("torgb", ours), axes) for theirs, ours, axes in _RGB_PARTS),
    *((r"convs\.(\d{1,2})\." + theirs, _conv(ours), axes) for theirs, ours, axes in _LAYER_PARTS),
    *((r"to_rgbs\.(\d{1,2})\." + theirs, _rgb(ours), axes) for theirs, ours, axes in _RGB_PARTS),
]
