"""Weight modulation and demodulation, StyleGAN2's replacement for AdaIN (arXiv:1912.04958, section 2.2)."""

import torch
import torch.nn.functional as F

from .upfirdn2d import upfirdn2d


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
    n, in_channels = styles.shape
    out_channels, k = weight.shape[0], weight.shape[2]

    if x.dtype == torch.float16 and demodulate:
        # Keep sums of 9*512 products inside float16's range: w and s each to at most 1. The demodulation undoes it.
        weight = weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)

    if not demodulate and k == 1 and up == 1:
        # ToRGB: [N, O, I] weights for a handful of outputs are far smaller than the activations.
        per_sample = (weight.reshape(1, out_channels, in_channels) * styles.reshape(n, 1, in_channels)).to(x.dtype)
        y = torch.bmm(per_sample, x.flatten(2)).reshape(n, out_channels, *x.shape[2:])
        return y if noise is None else y + noise.to(y.dtype)

    demodulation = None
    if demodulate:
        # sum over i, k, k of (s_i * w_oikk)^2 = s^2 @ (sum over k, k of w^2)
        power = weight.square().sum(dim=(2, 3))  # [O, I]
        demodulation = (styles.square() @ power.t() + 1e-8).rsqrt()  # [N, O]
        demodulation = demodulation.to(x.dtype).reshape(n, out_channels, 1, 1)

    x = x * styles.to(x.dtype).reshape(n, in_channels, 1, 1)
    weight = weight.to(x.dtype)
    if up == 1:
        y = F.conv2d(x, weight, padding=k // 2)
    else:
        if kernel is None:
            raise ValueError("upsampling needs the FIR kernel")
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)  # [N, O, up*(H-1)+k, up*(W-1)+k]
        taps = kernel.shape[-1]
        before = k // 2 + (taps + up - 1) // 2 - (k - 1)
        after = k // 2 + (taps - up) // 2 - (k - up)
        y = upfirdn2d(y, kernel, padding=(before, after, before, after), gain=up**2)

    if demodulation is not None and noise is not None:
        return torch.addcmul(noise.to(y.dtype), y, demodulation)
    if demodulation is not None:
        return y * demodulation
    return y if noise is None else y + noise.to(y.dtype)
