"""Weight modulation and demodulation, StyleGAN2's replacement for AdaIN (arXiv:1912.04958, section 2.2)."""

import math

import torch
import torch.nn.functional as F

from . import cuda
from .bias_act import ACTIVATIONS, bias_act
from .cuda_kernels import LINEAR, Epilogue, Resampling
from .upfirdn2d import upfirdn2d_reference


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool = True,
    up: int = 1,
    kernel: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolve each sample with its own weights: w' = s * w (eq. 1), divided by its L2 norm (eq. 3).

    The weights themselves are never multiplied out. Scaling the input channels by s and the output channels by
    d = 1/sqrt(sum (s * w)^2 + 1e-8) gives the same sums with one convolution for the whole batch, and moves C*H*W
    numbers in place of C*C*k*k, which is the cheaper of the two at every resolution that takes time.

    Args:
        x: [N, I, H, W], float16, float32 or float64.
        weight: [O, I, k, k] with odd k; cast to ``x.dtype`` after the demodulation coefficients are computed.
        styles: [N, I], one factor per sample and input channel.
        demodulate: normalise the output channels (eq. 3); ToRGB layers do not.
        up: 1, or 2 for a transposed convolution followed by the FIR ``kernel`` (appendix B).
        kernel: [n, n] or [n], sums to 1; needed for ``up=2``.
        noise: broadcastable to the result, added after demodulation.

    Returns:
        [N, O, up*H, up*W] of ``x``'s dtype.
    """
    if demodulate and _fused(x, weight, styles, None, up, kernel, noise):
        return _on_gpu(x, weight, styles, None, up, kernel, noise, LINEAR)
    if not demodulate and noise is None and weight.shape[2] == up == 1 and not x.is_contiguous() and cuda.takes(x):
        return _channels_last_rgb(x, weight, styles)
    return modulated_conv2d_reference(x, weight, styles, demodulate=demodulate, up=up, kernel=kernel, noise=noise)


def modulated_conv2d_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool = True,
    up: int = 1,
    kernel: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """The reference for :func:`modulated_conv2d`, in PyTorch's own operations."""
    n, in_channels = styles.shape
    out_channels, k = weight.shape[0], weight.shape[2]

    if not demodulate and k == 1 and up == 1:
        # ToRGB: [N, O, I] weights for a handful of outputs are far smaller than the activations.
        per_sample = (weight.reshape(1, out_channels, in_channels) * styles.reshape(n, 1, in_channels)).to(x.dtype)
        y = torch.bmm(per_sample, x.flatten(2)).reshape(n, out_channels, *x.shape[2:])
        return y if noise is None else y + noise.to(y.dtype)

    demodulation = None
    if demodulate:
        weight, styles = _in_range(x, weight, styles)
        demodulation = _demodulation(weight, styles).to(x.dtype).reshape(n, out_channels, 1, 1)

    x = x * styles.to(x.dtype).reshape(n, in_channels, 1, 1)
    y = _convolved(x, weight, up)
    if up > 1:
        if kernel is None:
            raise ValueError("upsampling needs the FIR kernel")
        y = upfirdn2d_reference(y, kernel, _filter(kernel.shape[-1], up, k))

    if demodulation is not None and noise is not None:
        return torch.addcmul(noise.to(y.dtype), y, demodulation)
    if demodulation is not None:
        return y * demodulation
    return y if noise is None else y + noise.to(y.dtype)


def styled_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    bias: torch.Tensor,
    *,
    up: int = 1,
    kernel: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    gain: float = math.sqrt(2),
    clamp: float | None = None,
) -> torch.Tensor:
    """A synthesis layer (figure 2d): :func:`modulated_conv2d` with noise, then :func:`bias_act` with a leaky ReLU.

    On a GPU all that follows the convolution is one pass over its result, the FIR filter of ``up=2`` included (with
    gradients, that filter is a pass of its own).

    Args:
        x, weight, styles, up, kernel, noise: as in :func:`modulated_conv2d`.
        bias: [O].
        gain, clamp: as in :func:`bias_act`.

    Returns:
        [N, O, up*H, up*W] of ``x``'s dtype.
    """
    if _fused(x, weight, styles, bias, up, kernel, noise):
        epilogue = Epilogue(ACTIVATIONS["lrelu"].slope, gain, clamp)
        return _on_gpu(x, weight, styles, bias, up, kernel, noise, epilogue)
    x = modulated_conv2d(x, weight, styles, up=up, kernel=kernel, noise=noise)
    return bias_act(x, bias, activation="lrelu", gain=gain, clamp=clamp)


def _in_range(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep sums of 9*512 products inside float16's range: w and s each to at most 1. The demodulation undoes it."""
    if x.dtype != torch.float16:
        return weight, styles
    weight = weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
    return weight, styles / styles.abs().amax(dim=1, keepdim=True)


def _demodulation(weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """[N, O]: 1/sqrt(sum over i, k, k of (s_i * w_oikk)^2), as s^2 @ (sum over k, k of w^2)."""
    power = weight.square().sum(dim=(2, 3))  # [O, I]
    return (styles.square() @ power.t() + 1e-8).rsqrt()


def _convolved(x: torch.Tensor, weight: torch.Tensor, up: int) -> torch.Tensor:
    weight = weight.to(x.dtype)
    if up == 1:
        return F.conv2d(x, weight, padding=weight.shape[2] // 2)
    return F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)  # [N, O, up*(H-1)+k, up*(W-1)+k]


def _filter(taps: int, up: int, k: int) -> Resampling:
    """Pad the transposed convolution's result so that the filtered image has ``up`` times the input's size."""
    before = k // 2 + (taps + up - 1) // 2 - (k - 1)
    after = k // 2 + (taps - up) // 2 - (k - up)
    return Resampling(padding=(before, after, before, after), gain=up**2)


def _fused(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    bias: torch.Tensor | None,
    up: int,
    kernel: torch.Tensor | None,
    noise: torch.Tensor | None,
) -> bool:
    """Whether :func:`_on_gpu` takes these."""
    if up > 1 and (kernel is None or kernel.requires_grad):
        return False
    fits = cuda.noise_fits(noise, len(styles), up * x.shape[2], up * x.shape[3])
    return fits and cuda.takes(x, weight, styles, bias, kernel, noise)


def _on_gpu(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    bias: torch.Tensor | None,
    up: int,
    kernel: torch.Tensor | None,
    noise: torch.Tensor | None,
    epilogue: Epilogue,
) -> torch.Tensor:
    """A demodulated layer: cuDNN's convolution between one pass before it and one after."""
    weight, styles = _in_range(x, weight, styles)
    demodulation = _demodulation(weight, styles)
    y = _convolved(cuda.bias_act(x, scale=styles), weight, up)
    if up == 1:
        return cuda.bias_act(y, bias, epilogue, scale=demodulation, noise=noise)
    assert kernel is not None
    how = _filter(kernel.shape[-1], up, weight.shape[2])
    return cuda.filter_bias_act(y, kernel, how, bias, epilogue, scale=demodulation, noise=noise)


def _channels_last_rgb(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """ToRGB without the copy that laying out in planes would be: [N, O, I] weights times [N, H*W, I] pixels."""
    n, in_channels, h, w = x.shape
    per_sample = (weight.reshape(1, -1, in_channels) * styles.reshape(n, 1, in_channels)).to(x.dtype)
    y = torch.bmm(x.permute(0, 2, 3, 1).reshape(n, h * w, in_channels), per_sample.transpose(1, 2))
    return y.reshape(n, h, w, -1).permute(0, 3, 1, 2)
