"""StyleGAN2: mapping network, synthesis network and discriminator, to read from top to bottom.

Papers: Karras et al. 2019, "Analyzing and improving the image quality of StyleGAN" (arXiv:1912.04958) and Karras et al.
2020, "Training generative adversarial networks with limited data" (arXiv:2006.06676), called [1] and [2] below.

Parameters and buffers carry the names of the published stylegan2-ada-pytorch files, so that
``load_state_dict`` takes their tensors as they are. Shapes in the comments: N batch, Z latent, W style, C channels at
the block at hand, R its resolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .ops import bias_act, downsample2d, modulated_conv2d, setup_filter, styled_conv2d, upfirdn2d, upsample2d

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
    if config.mapping_lr_multiplier <= 0:
        raise ValueError(f"the mapping's learning-rate multiplier is {config.mapping_lr_multiplier}, not above 0")
    object.__setattr__(config, "channels", channels)
    object.__setattr__(config, "resample_filter", tuple(config.resample_filter))


def _normal(*shape: int, std: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).normal_(0, std))


def normalize_2nd_moment(x: torch.Tensor) -> torch.Tensor:
    """Scale each row of [N, D] to mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnectedLayer(nn.Module):
    """x @ W^T + b with an equalised learning rate: weights are stored at unit variance and scaled when used."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = _normal(out_features, in_features, std=1 / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, in_features] -> [N, out_features]."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        bias = self.bias.to(x.dtype) * self.bias_gain
        if self.activation == "linear":
            return torch.addmm(bias, x, weight.t())
        return bias_act(x @ weight.t(), bias, activation=self.activation)


class MappingNetwork(nn.Module):
    """z (and class) -> w, the latent that styles the image ([1] section 1).

    The discriminator uses one too, with ``z_dim=0`` and ``num_ws=None``, to embed the class it is told.
    """

    w_avg: torch.Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        layer_features: int | None = None,
        embed_features: int | None = None,
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.995,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.num_ws, self.num_layers, self.w_avg_beta = num_ws, num_layers, w_avg_beta
        embed = (embed_features or w_dim) if c_dim else 0
        hidden = layer_features or w_dim
        features = [z_dim + embed, *[hidden] * (num_layers - 1), w_dim]
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed)
        for i in range(num_layers):
            layer = FullyConnectedLayer(features[i], features[i + 1], activation="lrelu", lr_multiplier=lr_multiplier)
            setattr(self, f"fc{i}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and the network computes in."""
        return next(self.parameters()).dtype

    def forward(
        self,
        z: torch.Tensor | None,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_w_avg: bool | None = None,
    ) -> torch.Tensor:
        """Map latents to styles.

        Args:
            z: [N, z_dim]; None where ``z_dim`` is 0.
            c: [N, c_dim] one-hot or soft classes; ignored where ``c_dim`` is 0.
            truncation_psi: pull w towards the average: w_avg + psi * (w - w_avg).
            truncation_cutoff: only for so many of the first styles; None = all.
            update_w_avg: move the running average of w; None = in training mode.

        Returns:
            [N, num_ws, w_dim], or [N, w_dim] where ``num_ws`` is None.
        """
        parts = []
        if self.z_dim:
            assert z is not None
            parts.append(normalize_2nd_moment(z.to(self.dtype)))
        if self.c_dim:
            assert c is not None
            parts.append(normalize_2nd_moment(self.embed(c.to(self.dtype))))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)  # [N, w_dim]

        if self.num_ws is None:
            return x
        if update_w_avg is None:
            update_w_avg = self.training
        if update_w_avg and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))

        ws = x.unsqueeze(1).expand(-1, self.num_ws, -1)  # [N, num_ws, w_dim]
        if truncation_psi != 1:
            cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
            ws = torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]], dim=1)
        return ws


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
        self.weight = _normal(out_channels, in_channels, 3, 3)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        if use_noise:
            self.register_buffer("noise_const", _normal(resolution, resolution).detach())
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
        self.weight = _normal(out_channels, in_channels, 1, 1)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """[N, C, R, R], [N, w_dim] -> [N, img_channels, R, R]."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias, clamp=self.conv_clamp)


class SkipLayer(nn.Module):
    """The 1x1 convolution without bias around a residual block, resampling by two ([1] figure 7c)."""

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.weight = _normal(out_channels, in_channels, 1, 1)
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", setup_filter(resample_filter))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, Cin, R, R] -> [N, C, up*R/down, up*R/down], scaled by sqrt(1/2) to make room for the other branch."""
        weight = (self.weight * (self.weight_gain * math.sqrt(0.5))).to(x.dtype)
        if self.down > 1:
            x = downsample2d(x, self.resample_filter, self.down)
        x = nn.functional.conv2d(x, weight)
        return upsample2d(x, self.resample_filter, self.up) if self.up > 1 else x


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
        self.use_fp16 = _is_fp16(config.num_fp16_res, config.img_resolution, resolution)

        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if self.is_first:
            self.const = _normal(out_channels, 4, 4)
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
        self.weight = _normal(out_channels, in_channels, kernel_size, kernel_size)
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
            x = upfirdn2d(x, self.resample_filter, padding=(before, after, before, after))
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
        self.use_fp16 = _is_fp16(config.num_fp16_res, config.img_resolution, resolution)
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


def _is_fp16(num_fp16_res: int, img_resolution: int, resolution: int) -> bool:
    """Whether a block is one of the top ``num_fp16_res`` resolutions; 4x4 never is ([2] appendix, mixed precision)."""
    return resolution >= max(2 * img_resolution // 2**num_fp16_res, 8)
