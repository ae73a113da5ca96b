"""Read a network's shape off its tensors, and compare it with what the file says in words.

The tensors decide: stored settings are optional, have other defaults in each program, and are sometimes wrong.
Where both speak and disagree, the file is refused.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..networks import DiscriminatorConfig, StyleGAN2Config, channel_table, resolutions
from .checkpoint import Stored
from .errors import CheckpointError
from .restricted_pickle import brief

MAX_RESOLUTION = 8192
MAX_TAPS = 64


class Shapes:
    """The shapes of a network's tensors by name, with errors that say what is missing."""

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        self.tensors = tensors

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def of(self, name: str, ndim: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there and have ``ndim`` axes, none of them empty."""
        if name not in self.tensors:
            raise CheckpointError(f"the tensor {name!r} is missing; this is not a complete StyleGAN2 network")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != ndim or 0 in shape:
            raise CheckpointError(f"the tensor {name!r} has shape {shape}, which fits no StyleGAN2 network")
        return shape

    def image_resolution(self, prefix: str) -> int:
        """The largest r of the blocks ``<prefix>b<r>``, which must be 4, 8, ... without a gap."""
        pattern = re.compile(re.escape(prefix) + r"b([1-9]\d{0,4})\..*", re.DOTALL)
        found = {int(match[1]) for name in self.tensors if (match := pattern.fullmatch(name))}
        largest = max(found, default=0)
        if largest < 4 or largest & (largest - 1) or largest > MAX_RESOLUTION or found != set(resolutions(largest)):
            listed = ", ".join(str(r) for r in sorted(found)[:12]) or "none"
            raise CheckpointError(f"its blocks (of {listed} px) are not 4, 8, 16 ... px as in a StyleGAN2 network")
        return largest

    def count(self, pattern: str) -> int:
        """How many of ``pattern`` % 0, 1, 2 ... there are."""
        number = 0
        while pattern % number in self.tensors:
            number += 1
        return number

    def mapping(self, w_dim: int) -> dict[str, Any]:
        """The mapping network's part of either configuration, and ``z_dim``."""
        layers = self.count("mapping.fc%d.weight")
        embed, c_dim = self.of("mapping.embed.weight", 2) if "mapping.embed.weight" in self else (0, 0)
        first = self.of("mapping.fc0.weight", 2) if layers or not c_dim else (w_dim, embed)
        return {
            "num_mapping_layers": layers,
            "mapping_features": first[0] if layers > 1 and first[0] != w_dim else None,
            "embed_features": embed if c_dim and embed != w_dim else None,
            "c_dim": c_dim,
            "z_dim": first[1] - embed,
        }

    def resample_filter(self, name: str) -> tuple[float, ...]:
        """The taps of a stored filter; (1, 3, 3, 1) where there is none."""
        if name not in self.tensors:
            return (1, 3, 3, 1)
        shape = tuple(self.tensors[name].shape)
        if not 1 <= len(shape) <= 2 or len(set(shape)) != 1 or not 1 <= shape[0] <= MAX_TAPS:
            raise CheckpointError(f"the tensor {name!r} has shape {shape}, which is not a resampling filter")
        kernel = self.tensors[name].numpy()
        taps = kernel.sum(axis=0) if kernel.ndim == 2 else kernel
        if taps.shape == (4,) and np.allclose(taps * 8, (1, 3, 3, 1), rtol=0, atol=1e-6):
            return (1, 3, 3, 1)
        if not np.isfinite(taps).all() or abs(taps.sum() - 1) > 0.01:
            raise CheckpointError(f"the tensor {name!r} is not a resampling filter: it does not add up to 1")
        return tuple(float(tap) for tap in taps)


def generator_config(tensors: Mapping[str, Stored], **settings: Any) -> StyleGAN2Config:
    """The configuration of a generator.

    Args:
        tensors: by the names of :class:`StyleGAN2`.
        settings: what shapes do not show: ``mapping_lr_multiplier``, ``w_avg_beta``, ``conv_clamp``, ``num_fp16_res``,
            and ``resample_filter`` where it is not among the tensors.

    Raises:
        CheckpointError: no configuration makes these tensors.
    """
    shapes = Shapes(tensors)
    r_max = shapes.image_resolution("synthesis.")
    top = f"synthesis.b{r_max}"
    w_dim = shapes.of("synthesis.b4.conv1.affine.weight", 2)[1]
    mapping = shapes.mapping(w_dim)
    if mapping["z_dim"] < 1:
        raise CheckpointError("its mapping network takes no latents")
    if shapes.of("synthesis.b4.const", 3)[1:] != (4, 4):
        raise CheckpointError("its images are not square; fergan draws square faces only")
    if r_max > 4 and "synthesis.b4.torgb.weight" in shapes:
        architecture = "skip"
    elif f"{top}.skip.weight" in shapes:
        architecture = "resnet"
    else:
        architecture = "orig" if r_max > 4 else "skip"
    settings.setdefault("resample_filter", shapes.resample_filter(f"{top}.resample_filter"))
    return StyleGAN2Config(
        img_resolution=r_max,
        img_channels=shapes.of(f"{top}.torgb.weight", 4)[0],
        w_dim=w_dim,
        channels=tuple(shapes.of(f"synthesis.b{r}.conv1.weight", 4)[0] for r in resolutions(r_max)),
        architecture=architecture,
        use_noise="synthesis.b4.conv1.noise_strength" in shapes,
        **mapping,
        **settings,
    )


def discriminator_config(tensors: Mapping[str, Stored], **settings: Any) -> DiscriminatorConfig:
    """The configuration of a discriminator.

    Args:
        tensors: by the names of :class:`Discriminator`.
        settings: what shapes do not show: ``mbstd_group_size``, ``mapping_lr_multiplier``, ``conv_clamp``,
            ``num_fp16_res``, and ``resample_filter`` where it is not among the tensors.

    Raises:
        CheckpointError: no configuration makes these tensors.
    """
    shapes = Shapes(tensors)
    r_max = shapes.image_resolution("")
    if r_max < 8:
        raise CheckpointError("a discriminator of 4 px, which no program makes")
    last = shapes.of("b4.conv.weight", 4)
    conditional = "mapping.embed.weight" in shapes
    cmap_dim = shapes.of("b4.out.weight", 2)[0] if conditional else 0
    mapping = shapes.mapping(cmap_dim) if conditional else {}
    mapping.pop("z_dim", None)
    if "b4.fromrgb.weight" in shapes:
        architecture = "skip"
    else:
        architecture = "resnet" if f"b{r_max}.skip.weight" in shapes else "orig"
    settings.setdefault("resample_filter", shapes.resample_filter(f"b{r_max}.resample_filter"))
    return DiscriminatorConfig(
        img_resolution=r_max,
        img_channels=shapes.of(f"b{r_max}.fromrgb.weight", 4)[1],
        channels=(last[0], *(shapes.of(f"b{r}.conv0.weight", 4)[0] for r in resolutions(r_max)[1:])),
        architecture=architecture,
        cmap_dim=cmap_dim,
        mbstd_num_channels=last[1] - last[0],
        **mapping,
        **settings,
    )


def compare(config: StyleGAN2Config | DiscriminatorConfig, stated: Mapping[str, Any]) -> None:
    """Refuse a file whose words and tensors disagree.

    Args:
        config: from the tensors.
        stated: from the file's words, by the configuration's names; also ``channel_base`` and ``channel_max``.
            Missing settings and None say nothing.
    """
    stated = {name: value for name, value in stated.items() if value is not None}
    base, most = stated.pop("channel_base", None), stated.pop("channel_max", None)
    if base is not None or most is not None:
        base, most = number(base, "channel_base", 32768), number(most, "channel_max", 512)
        stated["channels"] = channel_table(config.img_resolution, int(base), int(most))
    for name, value in stated.items():
        if getattr(config, name) != value:
            raise CheckpointError(
                f"it says {name} {brief(value) if name != 'channels' else value}, but its tensors have "
                f"{getattr(config, name)}; the file is damaged or was put together wrongly"
            )


def number(value: Any, name: str, default: float | None = None) -> float:
    """A finite setting above 0 out of a file, or ``default`` in place of None."""
    value = default if value is None else value
    if type(value) not in (int, float) or not 0 < value < 2**40:
        raise CheckpointError(f"its setting {name} is {brief(value)}, where a number above 0 is needed")
    return value


def whole_number(value: Any, name: str) -> int:
    """A setting out of a file that counts something, from 0 up."""
    if type(value) is not int or not 0 <= value < 2**16:
        raise CheckpointError(f"its setting {name} is {brief(value)}, where a small whole number is needed")
    return value


def optional_number(value: Any, name: str) -> float | None:
    """The same, or None."""
    return None if value is None else number(value, name)


def text(value: Any, name: str, accepted: tuple[str, ...]) -> None:
    """Refuse a setting that is neither None nor one of ``accepted``."""
    if value is not None and value not in accepted:
        raise CheckpointError(f"its setting {name} is {brief(value)}; fergan knows {', '.join(accepted)} only")


def noise_map(match: re.Match[str]) -> str:
    """Our name of noise map k, the first group of ``match``: 0 belongs to the 4x4 block, then two to each block."""
    index = int(match[1])
    return f"synthesis.b{4 << (index + 1) // 2}.conv{1 if index == 0 else (index + 1) % 2}.noise_const"


def json_part(value: Any, depth: int = 3) -> Any:
    """The JSON part of something that a file says about itself, kept small; None for all else."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is str:
        return value[:500].encode("utf-8", "replace").decode()
    if type(value) is dict and depth:
        items = [(k, json_part(v, depth - 1)) for k, v in list(value.items())[:100] if type(k) is str and len(k) <= 100]
        return {k: v for k, v in items if v is not None}
    if type(value) in (list, tuple) and depth:
        return [json_part(v, depth - 1) for v in value[:20]]
    return None
