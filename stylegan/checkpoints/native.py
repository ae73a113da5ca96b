"""fergan's own format: a safetensors file with a JSON header under the metadata key ``fergan``.

The header is ``{"format": "fergan.generator/1", "architecture": "stylegan2" or "dcgan", "config": {...}, "metadata":
{...}}``; ``config`` holds the fields of :class:`StyleGAN2Config` or :class:`DCGANConfig`, ``metadata`` is free
(``licence``, ``default_truncation_psi`` ...). The tensors carry the names of the module's state dict, with numbers in
float32 or float16; networks compute in float32 either way. safetensors files hold no code
(https://github.com/huggingface/safetensors).
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ...runtime.files import write_atomically
from ..networks import StyleGAN2, StyleGAN2Config
from .checkpoint import Stored, StoredNetwork, stored_generator
from .errors import CheckpointError
from .restricted_pickle import brief
from .structure import MAX_RESOLUTION, generator_config

FORMAT = "fergan.generator/1"
MAX_HEADER = 4 * 2**20
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


class HasNetwork(Protocol):
    """A network with what its file says about it, such as :class:`fergan.stylegan.Generator`."""

    network: nn.Module
    metadata: dict[str, Any]


def save_generator(
    path: str | os.PathLike[str],
    generator: nn.Module | HasNetwork,
    config: Any = None,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a generator; what stands at ``path`` is replaced in one step, or not at all.

    Args:
        path: usually ``NAME.safetensors``.
        generator: what :func:`fergan.load_generator` gives, or its network alone (:class:`StyleGAN2` or
            :class:`DCGANGenerator`), on any device.
        config: its configuration; None takes the network's own.
        metadata: JSON values; None keeps those of a loaded generator.
        dtype: torch.float32 keeps the weights to the bit, torch.float16 halves the file.

    Raises:
        ValueError: a number is not finite, or too large for float16; ``metadata`` is not JSON.
        TypeError: ``generator`` is none of these.
        DataError: the file cannot be written.
    """
    module = generator if isinstance(generator, nn.Module) else getattr(generator, "network", generator)
    if metadata is None:
        metadata = getattr(generator, "metadata", None)
    if isinstance(module, StyleGAN2):
        architecture = "stylegan2"
    else:
        from ..dcgan import DCGANGenerator

        if not isinstance(module, DCGANGenerator):
            raise TypeError(f"{type(module).__name__} is no generator that fergan knows how to save")
        architecture = "dcgan"
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} holds numbers that are not finite in {str(dtype).removeprefix('torch.')}")
        tensors[name] = tensor.clone()  # safetensors refuses tensors that share memory
    header = {
        "format": FORMAT,
        "architecture": architecture,
        "config": config_to_json(config if config is not None else module.config),
        "metadata": dict(metadata or {}),
    }
    data = save(tensors, {"fergan": json.dumps(header, allow_nan=False)})
    write_atomically(path, data)


def read_generator(data: bytes) -> tuple[str, StoredNetwork, dict[str, Any]]:
    """(architecture, generator, metadata) of a file's content.

    Raises:
        CheckpointError: it is no safetensors file, or not one of ours.
    """
    header = _header(data)
    try:
        tensors: dict[str, Stored] = {name: LoadedTensor(tensor) for name, tensor in load(data).items()}
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"its safetensors data is damaged or cut short ({brief(str(error))}); get a fresh copy"
        ) from None
    architecture, values, metadata = header.get("architecture"), header.get("config"), header.get("metadata", {})
    if not isinstance(values, dict) or not isinstance(metadata, dict):
        raise CheckpointError("its fergan header lacks the configuration; write the file again")
    if architecture == "stylegan2":
        config = config_from_json(StyleGAN2Config, values)
        settings = ("mapping_lr_multiplier", "w_avg_beta", "conv_clamp", "num_fp16_res", "resample_filter")
        found = generator_config(tensors, **{name: getattr(config, name) for name in settings})
        for field in dataclasses.fields(StyleGAN2Config):
            said, seen = getattr(config, field.name), getattr(found, field.name)
            if field.name.endswith("_features"):  # None means w_dim
                said, seen = said or config.w_dim, seen or config.w_dim
            if said != seen:
                raise CheckpointError(f"its header says {field.name} {said}, but its tensors have {seen}")
        return architecture, stored_generator(found, tensors), metadata
    if architecture == "dcgan":
        from ..dcgan import DCGANConfig, DCGANGenerator

        stored = StoredNetwork(config_from_json(DCGANConfig, values), tensors, DCGANGenerator)
        stored.check()
        return architecture, stored, metadata
    raise CheckpointError(f"its architecture is {brief(architecture)}; this fergan knows stylegan2 and dcgan only")


def _header(data: bytes) -> dict[str, Any]:
    """The JSON under ``__metadata__.fergan``: 8 bytes of length, then the safetensors header."""
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError("its safetensors header is damaged or cut short; get a fresh copy")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        header = json.loads(metadata["fergan"])
        json.dumps(header, allow_nan=False, ensure_ascii=False).encode()  # ValueError on what JSON or UTF-8 cannot hold
        if header["format"] == FORMAT:
            return header
        found = header["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(
            "a safetensors file without fergan's header, so that its network is unknown; "
            "convert the original checkpoint with `fergan convert`"
        ) from None
    raise CheckpointError(f"its format is {brief(found)}, and this fergan reads {FORMAT}; update fergan")


def config_to_json(config: Any) -> dict[str, Any]:
    """The fields of a configuration as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def config_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """An instance of the configuration dataclass ``kind`` from JSON values, each checked for its type.

    Raises:
        CheckpointError: a value is unknown, missing, of another type or makes no sense.
    """
    # Annotations may be text (PEP 563); typing.get_type_hints would evaluate it, and a reader evaluates nothing.
    plain = {"int": int, "float": float, "str": str, "bool": bool}
    hints = {f.name: plain[f.type] if isinstance(f.type, str) else f.type for f in dataclasses.fields(kind)}
    checked = {}
    for name, value in values.items():
        if name not in hints:
            raise CheckpointError(f"its configuration has {brief(name)}, unknown to this fergan; update fergan")
        checked[name] = _checked(name, value, hints[name])
    try:
        config = kind(**checked)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its configuration makes no sense ({error}); write the file again") from None
    if config.img_resolution > MAX_RESOLUTION:
        raise CheckpointError(f"its configuration asks for images of {config.img_resolution} px; write the file again")
    return config


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
