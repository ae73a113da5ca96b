"""Configurations, which decide the shape and the maths of the networks."""

from dataclasses import dataclass
from typing import Any

ARCHITECTURES = ("skip", "resnet", "orig")


def channel_table(img_resolution: int, channel_base: int = 32768, channel_max: int = 512) -> tuple[int, ...]:
    """Channels at 4, 8, ..., ``img_resolution``: min(base / r, max), the rule of the published configurations.

    >>> channel_table(256, 16384)
    (512, 512, 512, 512, 256, 128, 64)
    """
    return tuple(min(channel_base // r, channel_max) for r in resolutions(img_resolution))


def resolutions(img_resolution: int) -> list[int]:
    """4, 8, ..., ``img_resolution``, which must be a power of two of at least 4."""
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise ValueError(f"the image resolution must be a power of two and at least 4, not {img_resolution}")
    return [2**i for i in range(2, img_resolution.bit_length())]


@dataclass(frozen=True)
class StyleGAN2Config:
    """Everything that decides the shape and the maths of a generator."""

    img_resolution: int
    img_channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0  # classes; 0 = unconditional
    channels: tuple[int, ...] = ()  # at 4, 8, ..., img_resolution; () = channel_table(img_resolution)
    architecture: str = "skip"  # of ARCHITECTURES, figure 7 of [1]
    num_mapping_layers: int = 8
    mapping_features: int | None = None  # width of the mapping's hidden layers; None = w_dim
    embed_features: int | None = None  # width of the class embedding; None = w_dim
    mapping_lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995
    conv_clamp: float | None = None  # activations are limited to +-conv_clamp
    num_fp16_res: int = 0  # so many of the top resolutions run in float16 on a GPU
    use_noise: bool = True
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)

    def __post_init__(self) -> None:
        _freeze_channels(self)

    @property
    def num_ws(self) -> int:
        """Style inputs: one a convolution, and one for the last ToRGB."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Everything that decides the shape and the maths of a discriminator."""

    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    channels: tuple[int, ...] = ()  # at 4, 8, ..., img_resolution; () = channel_table(img_resolution)
    architecture: str = "resnet"
    cmap_dim: int | None = None  # width of the conditional projection; None = channels[0], or 0 if unconditional
    num_mapping_layers: int = 8
    mapping_features: int | None = None
    embed_features: int | None = None
    mapping_lr_multiplier: float = 0.01
    mbstd_group_size: int | None = 4  # None = the whole batch
    mbstd_num_channels: int = 1  # 0 = no minibatch statistics
    conv_clamp: float | None = None
    num_fp16_res: int = 0
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)

    def __post_init__(self) -> None:
        _freeze_channels(self)
        if self.cmap_dim is None:
            object.__setattr__(self, "cmap_dim", self.channels[0] if self.c_dim else 0)


def _freeze_channels(config: Any) -> None:
    """Fill in and check what both configurations share."""
    channels = tuple(config.channels) or channel_table(config.img_resolution)
    if len(channels) != len(resolutions(config.img_resolution)):
        raise ValueError(f"{config.img_resolution} px needs {len(resolutions(config.img_resolution))} channel counts")
    if config.architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {config.architecture!r} is none of {', '.join(ARCHITECTURES)}")
    if not config.resample_filter:
        raise ValueError("the resampling filter has no taps")
    if config.conv_clamp is not None and not config.conv_clamp > 0:
        raise ValueError(f"conv_clamp is {config.conv_clamp}, not above 0")
    if config.mapping_lr_multiplier <= 0:
        raise ValueError(f"the mapping's learning-rate multiplier is {config.mapping_lr_multiplier}, not above 0")
    object.__setattr__(config, "channels", channels)
    object.__setattr__(config, "resample_filter", tuple(config.resample_filter))


def is_fp16(num_fp16_res: int, img_resolution: int, resolution: int) -> bool:
    """Whether a block is one of the top ``num_fp16_res`` resolutions; 4x4 never is ([2] appendix, mixed precision)."""
    return resolution >= max(2 * img_resolution // 2**num_fp16_res, 8)
