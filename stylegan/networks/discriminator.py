"""The discriminator: images -> realness logits."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..ops import Resampling, bias_act, downsample2d, setup_filter, upfirdn2d
from .config import DiscriminatorConfig, is_fp16, resolutions
from .layers import FullyConnectedLayer, SkipLayer, normal
from .mapping import MappingNetwork


class ConvLayer(nn.Module):
    """Convolution with an equalised learning rate, leaky ReLU, optional downsampling by two."""

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        down: int = 1,
        conv_clamp: float | None = None,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.down, self.conv_clamp, self.padding = down, conv_clamp, kernel_size // 2
        self.weight = normal(out_channels, in_channels, kernel_size, kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(resample_filter))

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """[N, Cin, R, R] -> [N, C, R/down, R/down]."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        padding = self.padding
        if self.down > 1:  # the filter pads for the convolution too
            taps = self.resample_filter.shape[-1]
            before, after = padding + (taps - self.down + 1) // 2, padding + (taps - self.down) // 2
            x = upfirdn2d(x, self.resample_filter, Resampling(padding=(before, after, before, after)))
            padding = 0
        x = nn.functional.conv2d(x, weight, stride=self.down, padding=padding)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, self.bias, activation="lrelu", gain=math.sqrt(2) * gain, clamp=clamp)


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator: two convolutions, the second halving the resolution."""

    resample_filter: torch.Tensor
    compute_dtype: torch.dtype | None = None  # of a training; None goes by the weights

    def __init__(self, config: DiscriminatorConfig, resolution: int) -> None:
        super().__init__()
        level = resolutions(config.img_resolution).index(resolution)
        channels, out_channels = config.channels[level], config.channels[level - 1]
        clamp, taps = config.conv_clamp, config.resample_filter
        self.architecture = config.architecture
        self.use_fp16 = is_fp16(config.num_fp16_res, config.img_resolution, resolution)
        self.register_buffer("resample_filter", setup_filter(taps))
        if resolution == config.img_resolution or config.architecture == "skip":
            self.fromrgb = ConvLayer(config.img_channels, channels, 1, conv_clamp=clamp, resample_filter=taps)
        self.conv0 = ConvLayer(channels, channels, 3, conv_clamp=clamp, resample_filter=taps)
        self.conv1 = ConvLayer(channels, out_channels, 3, down=2, conv_clamp=clamp, resample_filter=taps)
        if config.architecture == "resnet":
            self.skip = SkipLayer(channels, out_channels, down=2, resample_filter=taps)

    def forward(self, x: torch.Tensor | None, img: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """x [N, C, R, R] (None in the first block) and img [N, img_channels, R, R] -> the same at R/2."""
        given = x if x is not None else img
        assert given is not None
        half = self.use_fp16 and given.is_cuda
        dtype = self.compute_dtype or (torch.float16 if half else self.conv0.weight.dtype)
        if x is not None:
            x = x.to(dtype=dtype, memory_format=torch.channels_last)
        if hasattr(self, "fromrgb"):
            assert img is not None
            y = self.fromrgb(img.to(dtype=dtype, memory_format=torch.channels_last))
            x = y if x is None else x + y
            img = downsample2d(img, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture == "resnet":
            return self.skip(x) + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img
        return self.conv1(self.conv0(x)), img


class DiscriminatorEpilogue(nn.Module):
    """The last block, at 4x4: minibatch standard deviation, a convolution and two linear layers."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        channels = config.channels[0]
        clamp, taps = config.conv_clamp, config.resample_filter
        self.cmap_dim = config.cmap_dim or 0
        self.group_size, self.num_channels = config.mbstd_group_size, config.mbstd_num_channels
        if config.architecture == "skip":
            self.fromrgb = ConvLayer(config.img_channels, channels, 1, resample_filter=taps)
        self.conv = ConvLayer(channels + self.num_channels, channels, 3, conv_clamp=clamp, resample_filter=taps)
        self.fc = FullyConnectedLayer(channels * 4 * 4, channels, activation="lrelu")
        self.out = FullyConnectedLayer(channels, self.cmap_dim or 1)

    def forward(self, x: torch.Tensor, img: torch.Tensor | None, class_features: torch.Tensor | None) -> torch.Tensor:
        """x [N, C, 4, 4], class_features [N, cmap_dim] -> logits [N, 1]."""
        x = x.to(dtype=self.conv.weight.dtype, memory_format=torch.contiguous_format)
        if hasattr(self, "fromrgb"):
            assert img is not None
            x = x + self.fromrgb(img.to(x.dtype))
        if self.num_channels:
            x = torch.cat([x, self._minibatch_std(x)], dim=1)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        if class_features is not None:  # Miyato & Koyama 2018 (arXiv:1802.05637): project on the class
            x = (x * class_features).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return x

    def _minibatch_std(self, x: torch.Tensor) -> torch.Tensor:
        """How much the faces of a group differ, averaged over everything: [N, num_channels, 4, 4].

        Sample i belongs to group i mod (N / group size), as in the published programs.
        """
        n, channels, h, w = x.shape
        group = n if self.group_size is None else min(self.group_size, n)
        if n % group:
            raise ValueError(f"a batch of {n} does not divide into minibatch groups of {group}")
        y = x.reshape(group, n // group, self.num_channels, channels // self.num_channels, h, w)
        y = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [N/group, num_channels]
        return y.repeat(group, 1).reshape(n, self.num_channels, 1, 1).expand(-1, -1, h, w)


class Discriminator(nn.Module):
    """Images (and classes) -> realness logits."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.c_dim, self.img_resolution, self.img_channels = config.c_dim, config.img_resolution, config.img_channels
        self.block_resolutions = resolutions(config.img_resolution)[:0:-1]  # R, R/2, ..., 8
        for r in self.block_resolutions:
            setattr(self, f"b{r}", DiscriminatorBlock(config, r))
        if config.c_dim:
            self.mapping = MappingNetwork(
                0,
                config.c_dim,
                config.cmap_dim or 0,
                None,
                config.num_mapping_layers,
                config.mapping_features,
                config.embed_features,
                config.mapping_lr_multiplier,
                None,
            )
        self.b4 = DiscriminatorEpilogue(config)

    def forward(self, img: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """[N, img_channels, R, R] in about -1..1 and, where conditional, [N, c_dim] -> logits [N, 1]."""
        x: torch.Tensor | None = None
        rest: torch.Tensor | None = img
        for r in self.block_resolutions:
            x, rest = getattr(self, f"b{r}")(x, rest)
        assert x is not None
        return self.b4(x, rest, self.mapping(None, c) if self.c_dim else None)
