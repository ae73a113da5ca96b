"""fergan's own format: a safetensors file with a JSON header under the metadata key ``fergan``.

The header is ``{"format": "fergan.generator/2", "architecture": "stylegan2" or "dcgan", "config": {...}, "metadata":
{...}}``. For a StyleGAN2 ``config`` holds :data:`SETTINGS`, since the shapes of the tensors show the rest; for a DCGAN
it holds the fields of :class:`DCGANConfig`. ``metadata`` is free (``licence``, ``default_truncation_psi`` ...). The
tensors carry the names of the module's state dict, with numbers in float32 or float16; networks compute in float32
either way. safetensors files hold no code (https://github.com/huggingface/safetensors).

Files of version 1 repeat in ``config`` what the shapes say; they are read, and the shapes decide.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ...runtime.files import write_atomically
from ..dcgan import DCGANConfig, DCGANGenerator
from ..networks import StyleGAN2, StyleGAN2Config
from .checkpoint import Networks, Stored, StoredNetwork
from .contents import Content
from .errors import CheckpointError
from .restricted_pickle import brief
from .structure import MAX_RESOLUTION, generator_config

NAME = "fergan"
FILES = "fergan itself (.safetensors)"
LICENCE: str | None = None

FORMAT = "fergan.generator/2"
READABLE = (FORMAT, "fergan.generator/1")
ARCHITECTURES: dict[str, type[nn.Module]] = {"stylegan2": StyleGAN2, "dcgan": DCGANGenerator}
SETTINGS = ("mapping_lr_multiplier", "w_avg_beta", "conv_clamp", "num_fp16_res", "resample_filter")
"""The settings that the shapes of a StyleGAN2's tensors do not show."""
MAY_BE_ZERO = ("c_dim", "num_fp16_res")


class LoadedTensor:
    """A tensor of a safetensors file."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.shape = tuple(tensor.shape)
        self.nbytes = tensor.numel() * tensor.element_size()

    def numpy(self) -> np.ndarray:
        tensor = self.tensor.float() if self.tensor.is_floating_point() else self.tensor
        return tensor.contiguous().numpy()


def save_generator(
    path: str | os.PathLike[str],
    generator: Any,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a generator; what stands at ``path`` is replaced in one step, or not at all.

    Args:
        path: usually ``NAME.safetensors``.
        generator: what :func:`fergan.load_generator` gives, or its network alone (:class:`StyleGAN2` or
            :class:`DCGANGenerator`), on any device.
        metadata: JSON values; None keeps those of a loaded generator.
        dtype: torch.float32 keeps the weights to the bit, torch.float16 halves the file.

    Raises:
        ValueError: a number is not finite, or too large for float16; ``metadata`` is not JSON.
        TypeError: ``generator`` is none of these.
        DataError: the file cannot be written.
    """
    module: Any = generator if isinstance(generator, nn.Module) else getattr(generator, "network", generator)
    if metadata is None:
        metadata = getattr(generator, "metadata", None)
    architecture = next((name for name, kind in ARCHITECTURES.items() if isinstance(module, kind)), None)
    if architecture is None:
        raise TypeError(f"{type(module).__name__} is not a generator that fergan knows how to save")
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} holds numbers that are not finite in {str(dtype).removeprefix('torch.')}")
        tensors[name] = tensor.clone()  # safetensors refuses tensors that share memory
    values = config_to_json(module.config)
    if architecture == "stylegan2":
        values = {name: values[name] for name in SETTINGS}
    header = {"format": FORMAT, "architecture": architecture, "config": values, "metadata": dict(metadata or {})}
    write_atomically(path, save(tensors, {"fergan": json.dumps(header, allow_nan=False)}))


def recognise(content: Content) -> bool:
    """Whether a file is in safetensors; most of those are not ours, which reading them says."""
    return content.container == "safetensors"


def read(content: Content) -> Networks:
    """The generator in a file.

    Raises:
        CheckpointError: the file is damaged or not one of ours, or its header and its tensors do not fit.
    """
    try:
        tensors: dict[str, Stored] = {name: LoadedTensor(tensor) for name, tensor in load(content.root).items()}
        end = 8 + int.from_bytes(content.root[:8], "little")
        stated = json.loads(content.root[8:end]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"its safetensors data is damaged or cut short ({brief(str(error))}); get a fresh copy"
        ) from None
    header = _header(stated)
    architecture, values, metadata = header.get("architecture"), header.get("config"), header.get("metadata", {})
    if not isinstance(values, dict) or not isinstance(metadata, dict):
        raise CheckpointError("its fergan header lacks the configuration; write the file again")
    if architecture == "stylegan2":
        checked = _checked_fields(StyleGAN2Config, values)
        settings = {name: checked[name] for name in SETTINGS if name in checked}
        try:
            config = generator_config(tensors, **settings)
        except ValueError as error:
            raise CheckpointError(f"its configuration makes no sense ({error}); write the file again") from None
        return Networks(StoredNetwork(config, tensors, StyleGAN2), metadata=metadata)
    if architecture == "dcgan":
        stored = StoredNetwork(config_from_json(DCGANConfig, values), tensors, DCGANGenerator)
        return Networks(stored, metadata=metadata, architecture="dcgan")
    known = " and ".join(ARCHITECTURES)
    raise CheckpointError(f"its architecture is {brief(architecture)}; this fergan knows {known} only")


def _header(stated: Mapping[str, str]) -> dict[str, Any]:
    """fergan's header in the metadata of a safetensors file."""
    try:
        header = json.loads(stated["fergan"])
        json.dumps(header, allow_nan=False, ensure_ascii=False).encode()  # ValueError on what JSON or UTF-8 cannot hold
        found = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            "a safetensors file without fergan's header, so that its network is unknown; "
            "convert the original checkpoint with `fergan convert`"
        ) from None
    if found not in READABLE:
        raise CheckpointError(f"its format is {brief(found)}, and this fergan reads {FORMAT}; update fergan")
    return header


def config_to_json(config: Any) -> dict[str, Any]:
    """The fields of a configuration as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def config_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """An instance of the configuration dataclass ``kind`` from JSON values, each checked for its type.

    Raises:
        CheckpointError: a value is unknown, missing, of another type or makes no sense.
    """
    try:
        config = kind(**_checked_fields(kind, values))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its configuration makes no sense ({error}); write the file again") from None
    if config.img_resolution > MAX_RESOLUTION:
        raise CheckpointError(f"its configuration asks for images of {config.img_resolution} px; write the file again")
    return config


def _checked_fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values``, each of a field of the dataclass ``kind`` and of its type."""
    # Annotations may be text (PEP 563); typing.get_type_hints would evaluate it, and a reader evaluates nothing.
    plain = {"int": int, "float": float, "str": str, "bool": bool}
    hints = {f.name: plain[f.type] if isinstance(f.type, str) else f.type for f in dataclasses.fields(kind)}
    for name in values:
        if name not in hints:
            raise CheckpointError(f"its configuration has {brief(name)}, unknown to this fergan; update fergan")
    return {name: _checked(name, value, hints[name]) for name, value in values.items()}


def _checked(name: str, value: Any, hint: Any) -> Any:
    accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in accepted:
        if typing.get_origin(kind) is tuple and type(value) is list and len(value) <= 64:
            return tuple(_checked(name, item, typing.get_args(kind)[0]) for item in value)
        if kind is float and type(value) in (int, float) and -(2**64) < value < 2**64:
            return value
        if kind is int and type(value) is int and (0 if name in MAY_BE_ZERO else 1) <= value <= 2**20:
            return value
        if kind in (str, bool, type(None)) and type(value) is kind:
            return value
    raise CheckpointError(f"its configuration has {name} {brief(value)}, which makes no sense; write the file again")
