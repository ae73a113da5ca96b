"""The operations on a GPU: the kernels in ``csrc/cuda`` with their gradients, and whether they can be used.

Every function here gives what the reference of the same operation gives, to rounding: float16 is computed with in
float32 and rounded once at the end. Callers ask :func:`takes` first. The kernels index with 64 bits, so tensors of more
than 2**31 elements are taken too.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from ...runtime.errors import first_line
from . import build
from .cuda_kernels import (
    DTYPES,
    LINEAR,
    Epilogue,
    Resampling,
    count_maps,
    launch_bias_act,
    launch_upfirdn2d,
)


def takes(x: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Whether the kernels compute with these: on one GPU, of a dtype they know, the library is there and trusted."""
    return (
        x.is_cuda
        and x.dtype in DTYPES
        and all(other is None or other.device == x.device for other in others)
        and not torch.compiler.is_compiling()
        and build.library("cuda") is not None
        and _trusted(x.device)
    )


@lru_cache
def _trusted(device: torch.device) -> bool:
    """Whether the kernels agree with PyTorch on this GPU; tried once a process, and told where they do not."""
    problem = disagreement(device)
    if problem:
        reason = f"they disagree with PyTorch on {device} ({problem}); please report this"
        print(f"fergan: PyTorch's operations run in place of our CUDA ones: {reason}", file=sys.stderr)
    return problem is None


@torch.inference_mode(False)
def disagreement(device: torch.device) -> str | None:
    """Error of the kernels in a small layer and its gradient, held against PyTorch's; None if there is none."""
    rng = torch.Generator().manual_seed(0)
    kernel = torch.tensor([[1.0, 3.0, 2.0, 1.0]]).t() @ torch.tensor([[1.0, 2.0, 4.0, 1.0]]) / 56  # not symmetric
    epilogue, how = Epilogue(0.2, math.sqrt(2), 1.5), Resampling(padding=(2, 1, 1, 2), gain=4.0)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float16, 2e-2)):
        for layout in (torch.contiguous_format, torch.channels_last):
            shapes = ((2, 16, 13, 11), (16,), (2, 16), (2, 1, 13, 11))
            x, bias, scale, noise = (torch.randn(shape, generator=rng).to(device) for shape in shapes)
            x = x.to(dtype).contiguous(memory_format=layout)
            taps = kernel.to(device)
            try:
                with torch.no_grad():
                    once = filter_bias_act(x, taps, how, bias, epilogue, scale=scale, noise=noise)
                x.requires_grad_(True)
                with torch.enable_grad():
                    twice = filter_bias_act(x, taps, how, bias, epilogue, scale=scale, noise=noise)
                    (gradient,) = torch.autograd.grad(twice.float().square().sum(), x)
            except RuntimeError as error:
                return first_line(error)
            with torch.enable_grad():
                exact = x.detach().double().requires_grad_(True)
                weight = taps.double().flip([0, 1]).expand(16, 1, 4, 4) * how.gain
                y = F.conv2d(F.pad(exact, how.padding), weight, groups=16) * scale[:, :, None, None]
                y = F.leaky_relu(y + noise + bias[:, None, None], epilogue.slope) * epilogue.gain
                y = y.clamp(-1.5, 1.5)
                (slope,) = torch.autograd.grad(y.square().sum(), exact)
            for what, found, wanted in (("one pass", once, y), ("two passes", twice, y), ("gradient", gradient, slope)):
                error_size = float((found - wanted).detach().abs().max() / wanted.detach().abs().max())
                if not error_size < tolerance:
                    return f"{what}, {dtype}, {layout}: off by {error_size:.1e} of the largest value"
    return None


def bias_act(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    epilogue: Epilogue = LINEAR,
    *,
    scale: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """``clamp(activation(x * scale + noise + bias) * gain)`` in one pass; differentiable twice.

    Args:
        x: [N, C, ...]; with ``scale`` or ``noise`` [N, C, H, W].
        bias: [C].
        epilogue: the activation.
        scale: [N, C].
        noise: [H, W] or [N, 1, H, W]; see :func:`noise_fits`.
    """
    accurate = torch.float64 if x.dtype == torch.float64 else torch.float32
    operands = [None if t is None else t.to(accurate).contiguous() for t in (scale, noise, bias)]
    return _BiasAct.apply(_dense(x), *operands, epilogue)


def noise_fits(noise: torch.Tensor | None, n: int, h: int, w: int) -> bool:
    """Whether a noise map is one for all channels, and for all samples or each."""
    return noise is None or (noise.shape[-2:] == (h, w) and count_maps(noise) in (1, n))


class _BiasAct(torch.autograd.Function):
    """Takes dense tensors: a copy made in here would cut the saved ones off from the graph of second gradients."""

    @staticmethod
    def forward(ctx: Any, x: Any, scale: Any, noise: Any, bias: Any, epilogue: Epilogue) -> torch.Tensor:  # type: ignore[override]
        y = launch_bias_act(0, x, epilogue, scale=scale, noise=noise, bias=bias)
        ctx.save_for_backward(x if scale is not None else None, scale, None if epilogue.is_scaling else y)
        ctx.epilogue, ctx.noise_shape = epilogue, None if noise is None else noise.shape
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:  # type: ignore[override]
        x, scale, y = ctx.saved_tensors
        epilogue, needs = ctx.epilogue, ctx.needs_input_grad
        accurate = torch.float64 if dy.dtype == torch.float64 else torch.float32
        if epilogue.is_scaling:
            du = dy if epilogue.gain == 1 else dy * epilogue.gain
        else:
            du = _Slope.apply(dy, y, epilogue)
        dx = dscale = dnoise = dbias = None
        if needs[0]:
            dx = du if scale is None else _BiasAct.apply(_dense(du), scale, None, None, LINEAR)
        if needs[1]:
            dscale = (du * x).sum(dim=(2, 3), dtype=accurate)
        if needs[2]:
            dnoise = (
                du.sum(dim=1, keepdim=True, dtype=accurate).sum_to_size(_four(ctx.noise_shape)).reshape(ctx.noise_shape)
            )
        if needs[3]:
            dbias = du.sum(dim=(0, *range(2, du.ndim)), dtype=accurate)
        return dx, dscale, dnoise, dbias, None


class _Slope(torch.autograd.Function):
    """dy * the activation's derivative, which the output ``y`` tells; linear in dy, so it is its own gradient."""

    @staticmethod
    def forward(ctx: Any, dy: Any, y: Any, epilogue: Epilogue) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(y)
        ctx.epilogue = epilogue
        return launch_bias_act(1, _as_laid_out(dy, y), epilogue, saved=y)

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> Any:  # type: ignore[override]
        return _Slope.apply(ddx, *ctx.saved_tensors, ctx.epilogue), None, None


def upfirdn2d(x: torch.Tensor, kernel: torch.Tensor, how: Resampling) -> torch.Tensor:
    """Insert zeros, pad or crop, filter, decimate; differentiable twice (and more) by ``x``.

    Args:
        x: [N, C, H, W].
        kernel: [kh, kw], or [k] for two passes; no gradient by it.
        how: the rest.
    """
    kernel = kernel.detach().to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    if kernel.ndim == 2:
        return _UpFirDn2d.apply(x, kernel.contiguous(), how)
    left, right, top, bottom = how.padding
    row = how._replace(up=(how.up[0], 1), down=(how.down[0], 1), padding=(left, right, 0, 0), gain=how.gain**0.5)
    column = how._replace(up=(1, how.up[1]), down=(1, how.down[1]), padding=(0, 0, top, bottom), gain=how.gain**0.5)
    kernel = kernel.contiguous()
    return _UpFirDn2d.apply(_UpFirDn2d.apply(x, kernel[None], row), kernel[:, None], column)


class _UpFirDn2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, kernel: Any, how: Resampling) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(kernel)
        ctx.how, ctx.size = how, x.shape[2:]
        return launch_upfirdn2d(_dense(x), kernel, how)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:  # type: ignore[override]
        (kernel,) = ctx.saved_tensors
        return _UpFirDn2d.apply(dy, kernel, ctx.how.backward(*ctx.size, kernel)), None, None


def filter_bias_act(
    x: torch.Tensor,
    kernel: torch.Tensor,
    how: Resampling,
    bias: torch.Tensor | None,
    epilogue: Epilogue,
    *,
    scale: torch.Tensor,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """:func:`upfirdn2d` and :func:`bias_act` behind it, in one pass where no gradient is asked for.

    Args:
        x: [N, C, H, W].
        kernel, how: without up and down; one pass where the kernel is [4, 4].
        bias, epilogue, scale, noise: as in :func:`bias_act`, of the filtered image.
    """
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, bias, scale, noise))
    if wanted or kernel.shape != (4, 4) or not _tiles(x):
        return bias_act(upfirdn2d(x, kernel, how), bias, epilogue, scale=scale, noise=noise)
    accurate = torch.float64 if x.dtype == torch.float64 else torch.float32
    operands = {"scale": scale, "noise": noise, "bias": bias}
    cast = {name: t.detach().to(accurate).contiguous() for name, t in operands.items() if t is not None}
    return launch_upfirdn2d(_dense(x), kernel.to(accurate).contiguous(), how, epilogue, **cast)


def _tiles(x: torch.Tensor) -> bool:
    """Whether the kernel for 4x4 filters takes it; upfirdn2d.cu has the same conditions."""
    width = 16 if x.dtype == torch.float64 else 4 * x.element_size()
    return _dense(x).is_contiguous() or (x.shape[1] * x.element_size() % width == 0 and x.data_ptr() % width == 0)


def _dense(x: torch.Tensor) -> torch.Tensor:
    """Itself where it is contiguous or channels last; else a contiguous copy."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _as_laid_out(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)


def _four(shape: torch.Size) -> tuple[int, ...]:
    """[H, W] as [1, 1, H, W]."""
    return (*(1,) * (4 - len(shape)), *shape)
