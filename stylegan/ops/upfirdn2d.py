"""Upsample, filter with a small FIR kernel, downsample: StyleGAN2's resampling (arXiv:1912.04958, appendix B)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from . import cuda
from .cuda_kernels import Resampling


def setup_filter(taps: Sequence[float]) -> torch.Tensor:
    """The resampling kernel for 1-D ``taps``, normalised to sum 1, as the published networks store it.

    Fewer than eight taps give the outer product, float32 [n, n]; eight or more stay separable, float32 [n].

    >>> setup_filter([1, 3, 3, 1])[0] * 64
    tensor([1., 3., 3., 1.])
    """
    kernel = np.asarray(taps, dtype=np.float32)
    if kernel.ndim != 1 or kernel.size == 0:
        raise ValueError(f"a resampling filter is a non-empty list of taps, not {taps!r}")
    if kernel.size < 8:
        kernel = np.outer(kernel, kernel)
    return torch.from_numpy(kernel / kernel.sum())


def upfirdn2d(x: torch.Tensor, kernel: torch.Tensor, how: Resampling) -> torch.Tensor:
    """Insert zeros, pad or crop, convolve every channel with ``kernel``, keep every ``down``-th pixel.

    Along each axis: ``out = (in * up + pad_before + pad_after - taps) // down + 1``. Differentiable twice.

    Args:
        x: [N, C, H, W], float16, float32 or float64.
        kernel: float32 [kh, kw], or [k] for a separable kernel (outer product with itself); cast to ``x.dtype``.
        how: factors, padding and gain; ``flip`` correlates instead of convolving.

    Returns:
        [N, C, H', W'] of ``x``'s dtype.
    """
    if not kernel.requires_grad:
        if cuda.takes(x, kernel):
            return cuda.upfirdn2d(x, kernel, how)
        if x.requires_grad and kernel.ndim == 2 and how.down != (1, 1):
            return _Decimation.apply(x, kernel, how)
    return upfirdn2d_reference(x, kernel, how)


class _Decimation(torch.autograd.Function):
    """A resampling whose gradient is taken as the resampling that is its adjoint: ``up`` and ``down`` change places.

    PyTorch's own backward pass of a strided depthwise convolution is slow on CPUs, most of all in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, how: Resampling) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(kernel)
        ctx.how, ctx.size = how, x.shape[2:]
        return upfirdn2d_reference(x, kernel, how)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        (kernel,) = ctx.saved_tensors
        return _Decimation.apply(gradient, kernel, ctx.how.backward(*ctx.size, kernel)), None, None


def upfirdn2d_reference(x: torch.Tensor, kernel: torch.Tensor, how: Resampling) -> torch.Tensor:
    """The reference for :func:`upfirdn2d`, in PyTorch's own operations."""
    n, c, h, w = x.shape
    (up_x, up_y), (down_x, down_y), (left, right, top, bottom), flip, gain = how

    if up_x > 1 or up_y > 1:
        zeros = x.new_zeros(n, c, h, up_y, w, up_x)
        zeros[:, :, :, 0, :, 0] = x
        x = zeros.reshape(n, c, h * up_y, w * up_x)

    kernel = kernel.to(x.dtype)
    kernel = kernel * (gain if kernel.ndim == 2 else gain**0.5)
    if not flip:  # conv2d correlates
        kernel = kernel.flip(list(range(kernel.ndim)))

    # A pad that is equal on both sides is cheapest inside the convolution; the rest needs a padded copy.
    inside = (top, left) if top == bottom >= 0 and left == right >= 0 else (0, 0)
    if inside == (0, 0) and any((left, right, top, bottom)):
        x = F.pad(x, (left, right, top, bottom))
    if kernel.ndim == 2:
        return F.conv2d(x, kernel.expand(c, 1, -1, -1), stride=(down_y, down_x), padding=inside, groups=c)
    row, column = kernel.expand(c, 1, 1, -1), kernel[:, None].expand(c, 1, -1, 1)
    x = F.conv2d(x, row, stride=(1, down_x), padding=(0, inside[1]), groups=c)
    return F.conv2d(x, column, stride=(down_y, 1), padding=(inside[0], 0), groups=c)


def upsample2d(x: torch.Tensor, kernel: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, factor*H, factor*W], brightness kept."""
    taps = kernel.shape[-1]
    before, after = (taps + factor - 1) // 2, (taps - factor) // 2
    return upfirdn2d(x, kernel, Resampling(up=(factor, factor), padding=(before, after, before, after), gain=factor**2))


def downsample2d(x: torch.Tensor, kernel: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, H/factor, W/factor], brightness kept."""
    taps = kernel.shape[-1]
    before, after = (taps - factor + 1) // 2, (taps - factor) // 2
    return upfirdn2d(x, kernel, Resampling(down=(factor, factor), padding=(before, after, before, after)))
