"""The generator: mapping, then synthesis, one block a resolution."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..ops import bias_act, modulated_conv2d, setup_filter, styled_conv2d, upsample2d
from .config import StyleGAN2Config, is_fp16, resolutions
from .layers import FullyConnectedLayer, SkipLayer, normal
from .mapping import MappingNetwork


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU ([1] figure 2d)."""

    resample_filter: torch.Tensor
    noise_const: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: int = 1,
        use_noise: bool = True,
        conv_clamp: float | None = None,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.use_noise, self.conv_clamp = resolution, up, use_noise, conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = normal(out_channels, in_channels, 3, 3)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        if use_noise:
            self.register_buffer("noise_const", normal(resolution, resolution).detach())
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        noise_mode: str,
        gain: float = 1.0,
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """[N, Cin, R/up, R/up], [N, w_dim] -> [N, C, R, R]."""
        noise = None
        if self.use_noise and noise_mode != "none":
            noise = self._noise(x, noise_mode, noise_generators) * self.noise_strength
        return styled_conv2d(
            x,
            self.weight,
            self.affine(w),
            self.bias,
            up=self.up,
            kernel=self.resample_filter,
            noise=noise,
            gain=math.sqrt(2) * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
        )

    def _noise(self, x: torch.Tensor, noise_mode: str, generators: Sequence[torch.Generator] | None) -> torch.Tensor:
        """[R, R] fixed, or [N, 1, R, R] drawn; drawn by each face's own generator where there are generators."""
        if noise_mode == "const":
            return self.noise_const
        r = self.resolution
        if generators is None:
            return torch.randn(x.shape[0], 1, r, r, device=x.device, dtype=self.weight.dtype)
        drawn = [torch.randn(1, r, r, generator=g, device=g.device) for g in generators]
        return torch.stack(drawn).to(x.device, self.weight.dtype)


class ToRGBLayer(nn.Module):
    """1x1 modulated convolution to the image's channels, without demodulation or noise."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = normal(out_channels, in_channels, 1, 1)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """[N, C, R, R], [N, w_dim] -> [N, img_channels, R, R]."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias, clamp=self.conv_clamp)


class SynthesisBlock(nn.Module):
    """One resolution: two synthesis layers (one at 4x4, which starts from a learned constant) and a ToRGB."""

    resample_filter: torch.Tensor
    compute_dtype: torch.dtype | None = None  # of a training; None goes by the weights

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__()
        level = resolutions(config.img_resolution).index(resolution)
        out_channels = config.channels[level]
        is_last = resolution == config.img_resolution
        shared: dict[str, Any] = {
            "w_dim": config.w_dim,
            "resolution": resolution,
            "use_noise": config.use_noise,
            "conv_clamp": config.conv_clamp,
            "resample_filter": config.resample_filter,
        }
        self.resolution, self.architecture = resolution, config.architecture
        self.is_first = level == 0
        self.num_conv = 1 if self.is_first else 2
        self.num_torgb = 1 if is_last or config.architecture == "skip" else 0
        self.use_fp16 = is_fp16(config.num_fp16_res, config.img_resolution, resolution)

        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if self.is_first:
            self.const = normal(out_channels, 4, 4)
        else:
            self.conv0 = SynthesisLayer(config.channels[level - 1], out_channels, up=2, **shared)
        self.conv1 = SynthesisLayer(out_channels, out_channels, **shared)
        if self.num_torgb:
            self.torgb = ToRGBLayer(out_channels, config.img_channels, config.w_dim, config.conv_clamp)
        if not self.is_first and config.architecture == "resnet":
            skip = SkipLayer(config.channels[level - 1], out_channels, up=2, resample_filter=config.resample_filter)
            self.skip = skip

    def forward(
        self,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        ws: torch.Tensor,
        noise_mode: str,
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """x [N, Cin, R/2, R/2] and img [N, img_channels, R/2, R/2] -> the same at R; ws [N, num_conv + 1, w_dim]."""
        dtype = self.compute_dtype or (torch.float16 if self.use_fp16 and ws.is_cuda else ws.dtype)
        if self.is_first:
            x = self.const.to(dtype).expand(ws.shape[0], -1, -1, -1)
            x = self.conv1(x, ws[:, 0], noise_mode, noise_generators=noise_generators)
        else:
            assert x is not None
            x = x.to(dtype=dtype, memory_format=torch.channels_last)  # the faster layout on CPUs and for float16
            if self.architecture == "resnet":
                y = self.skip(x)
                x = self.conv0(x, ws[:, 0], noise_mode, noise_generators=noise_generators)
                x = y + self.conv1(x, ws[:, 1], noise_mode, gain=math.sqrt(0.5), noise_generators=noise_generators)
            else:
                x = self.conv0(x, ws[:, 0], noise_mode, noise_generators=noise_generators)
                x = self.conv1(x, ws[:, 1], noise_mode, noise_generators=noise_generators)

        if img is not None:
            img = upsample2d(img, self.resample_filter)
        if self.num_torgb:
            rgb = self.torgb(x, ws[:, self.num_conv]).to(ws.dtype)  # the image adds up in float32
            img = rgb if img is None else img + rgb
        return x, img


class SynthesisNetwork(nn.Module):
    """Styles -> image, one block a resolution ([1] figure 7)."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.img_resolution, self.num_ws = config.img_resolution, config.num_ws
        self.block_resolutions = resolutions(config.img_resolution)
        for r in self.block_resolutions:
            setattr(self, f"b{r}", SynthesisBlock(config, r))

    def forward(
        self,
        ws: torch.Tensor,
        noise_mode: str = "random",
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Draw images.

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: ``const`` (the noise maps stored in the network), ``random`` or ``none``.
            noise_generators: for ``random``, one generator a sample; None draws from torch's global one.

        Returns:
            [N, img_channels, R, R], about -1..1, of ``ws``'s dtype.
        """
        if noise_mode not in ("const", "random", "none"):
            raise ValueError(f"noise_mode is const, random or none, not {noise_mode!r}")
        x: torch.Tensor | None = None
        img: torch.Tensor | None = None
        first = 0
        for r in self.block_resolutions:
            block = getattr(self, f"b{r}")
            # A block's ToRGB shares its style with the next block's first convolution.
            x, img = block(x, img, ws[:, first : first + block.num_conv + 1], noise_mode, noise_generators)
            first += block.num_conv
        assert img is not None
        return img


class StyleGAN2(nn.Module):
    """The generator: latents (and classes) -> images."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self.img_resolution, self.img_channels, self.num_ws = config.img_resolution, config.img_channels, config.num_ws
        self.synthesis = SynthesisNetwork(config)
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.num_ws,
            config.num_mapping_layers,
            config.mapping_features,
            config.embed_features,
            config.mapping_lr_multiplier,
            config.w_avg_beta,
        )

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
    ) -> torch.Tensor:
        """[N, z_dim] and, where conditional, [N, c_dim] -> [N, img_channels, R, R]."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode)
