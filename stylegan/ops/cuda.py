"""The operations on a GPU: bindings of the kernels in ``csrc/cuda`` and their gradients.

Every function here gives what the reference of the same operation gives, to rounding: float16 is computed with in
float32 and rounded once at the end. Callers ask :func:`takes` first. The kernels index with 64 bits, so tensors of more
than 2**31 elements are taken too.
"""

from __future__ import annotations

import ctypes
import math
import sys
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from . import build

DTYPES = {torch.float16: 0, torch.float32: 1, torch.float64: 2}


class _BiasActArguments(ctypes.Structure):
    """``struct BiasAct`` of bias_act.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "scale", "noise", "bias", "saved", "y")),
        *((name, ctypes.c_int64) for name in ("numel", "inner", "channels", "noise_stride")),
        *((name, ctypes.c_double) for name in ("alpha", "gain", "clamp")),
        *((name, ctypes.c_int32) for name in ("order", "dtype", "last")),
    ]


class _UpFirDn2dArguments(ctypes.Structure):
    """``struct UpFirDn2d`` of upfirdn2d.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "filter", "y", "scale", "noise", "bias")),
        *((name, ctypes.c_int64) for name in ("samples", "channels", "in_h", "in_w", "out_h", "out_w", "noise_stride")),
        *((name, ctypes.c_double) for name in ("filter_gain", "alpha", "gain", "clamp")),
        *(
            (name, ctypes.c_int32)
            for name in ("taps_x", "taps_y", "up_x", "up_y", "down_x", "down_y", "pad_x", "pad_y")
        ),
        *((name, ctypes.c_int32) for name in ("flip", "epilogue", "dtype", "last")),
    ]


class Epilogue(NamedTuple):
    """An activation with its constants, and the axis that scale and bias run along."""

    activation: str = "linear"
    alpha: float = 0.0
    gain: float = 1.0
    clamp: float | None = None
    dim: int = 1

    @property
    def below(self) -> float:
        """The activation's slope below 0."""
        return self.alpha if self.activation == "lrelu" else 1.0

    @property
    def is_scaling(self) -> bool:
        """Whether nothing but the gain is left of it."""
        return self.below == 1 and self.clamp is None


LINEAR = Epilogue()


def takes(x: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Whether the kernels compute with these: on one GPU, of a dtype they know, the library is there and trusted."""
    return (
        x.is_cuda
        and x.dtype in DTYPES
        and all(other is None or other.device == x.device for other in others)
        and not torch.compiler.is_compiling()
        and build.cuda_library() is not None
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
    """Run a small layer through the kernels, its gradient too, and compare with PyTorch's own operations.

    Returns:
        What went wrong, None if nothing did.
    """
    rng = torch.Generator().manual_seed(0)
    kernel = torch.tensor([[1.0, 3.0, 2.0, 1.0]]).t() @ torch.tensor([[1.0, 2.0, 4.0, 1.0]]) / 56  # not symmetric
    epilogue, how = Epilogue("lrelu", 0.2, math.sqrt(2), 1.5), Resampling(padding=(2, 1, 1, 2), gain=4.0)
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
                return str(error).strip().splitlines()[0]
            with torch.enable_grad():
                exact = x.detach().double().requires_grad_(True)
                weight = taps.double().flip([0, 1]).expand(16, 1, 4, 4) * how.gain
                y = F.conv2d(F.pad(exact, how.padding), weight, groups=16) * scale[:, :, None, None]
                y = F.leaky_relu(y + noise + bias[:, None, None], epilogue.alpha) * epilogue.gain
                y = y.clamp(-1.5, 1.5)
                (slope,) = torch.autograd.grad(y.square().sum(), exact)
            for what, found, wanted in (("one pass", once, y), ("two passes", twice, y), ("gradient", gradient, slope)):
                error_size = float((found - wanted).detach().abs().max() / wanted.detach().abs().max())
                if not error_size < tolerance:
                    return f"{what}, {dtype}, {layout}: off by {error_size:.1e} of the largest value"
    return None


def supports(activation: str, alpha: float, gain: float, clamp: float | None) -> bool:
    """Whether the output tells the gradient, as the kernels want it: its sign must be the input's."""
    return (clamp is None or clamp > 0) and gain > 0 and (alpha >= 0 or activation == "linear")


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
        x: any shape; with ``scale`` or ``noise`` [N, C, H, W].
        bias: [x.shape[epilogue.dim]].
        epilogue: the activation.
        scale: [N, C].
        noise: [H, W] or [N, 1, H, W]; see :func:`noise_fits`.
    """
    accurate = torch.float64 if x.dtype == torch.float64 else torch.float32
    operands = [None if t is None else t.to(accurate).contiguous() for t in (scale, noise, bias)]
    return _BiasAct.apply(_dense(x, epilogue.dim), *operands, epilogue)


def noise_fits(noise: torch.Tensor | None, n: int, h: int, w: int) -> bool:
    """Whether a noise map is one for all channels, and for all samples or each."""
    return noise is None or (noise.shape[-2:] == (h, w) and _maps(noise) in (1, n))


def _maps(noise: torch.Tensor) -> int:
    """The number of maps, for as many samples; 0 if they differ between channels."""
    if noise.ndim <= 2:
        return 1
    return noise.shape[0] if noise.ndim == 4 and noise.shape[1] == 1 else 0


class _BiasAct(torch.autograd.Function):
    """Takes dense tensors: a copy made in here would cut the saved ones off from the graph of second gradients."""

    @staticmethod
    def forward(ctx: Any, x: Any, scale: Any, noise: Any, bias: Any, epilogue: Epilogue) -> torch.Tensor:  # type: ignore[override]
        y = _launch_bias_act(0, x, epilogue, scale=scale, noise=noise, bias=bias)
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
            dbias = _sum_but(du, epilogue.dim)
        return dx, dscale, dnoise, dbias, None


class _Slope(torch.autograd.Function):
    """dy * the activation's derivative, which the output ``y`` tells; linear in dy, so it is its own gradient."""

    @staticmethod
    def forward(ctx: Any, dy: Any, y: Any, epilogue: Epilogue) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(y)
        ctx.epilogue = epilogue
        return _launch_bias_act(1, _as_laid_out(dy, y), epilogue, saved=y)

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> Any:  # type: ignore[override]
        return _Slope.apply(ddx, *ctx.saved_tensors, ctx.epilogue), None, None


def _launch_bias_act(order: int, x: torch.Tensor, epilogue: Epilogue, **tensors: torch.Tensor | None) -> torch.Tensor:
    dim = epilogue.dim % x.ndim
    last = x.ndim == 4 and dim == 1 and not x.is_contiguous()  # dense, so channels last
    inner = x.shape[2:].numel() if last else x.shape[dim + 1 :].numel()
    noise = tensors.get("noise")
    y = torch.empty_like(x)
    arguments = _BiasActArguments(
        x=x.data_ptr(),
        y=y.data_ptr(),
        numel=x.numel(),
        inner=inner,
        channels=x.shape[dim],
        noise_stride=0 if noise is None or _maps(noise) == 1 else inner,
        alpha=epilogue.below,
        gain=epilogue.gain,
        clamp=-1.0 if epilogue.clamp is None else epilogue.clamp,
        order=order,
        dtype=DTYPES[x.dtype],
        last=last or inner == 1,
        **{name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None},
    )
    _launch("fergan_bias_act", arguments, x)
    return y


class Resampling(NamedTuple):
    """The numbers of an upfirdn2d; pairs are (x, y), the padding is left, right, top, bottom."""

    up: tuple[int, int] = (1, 1)
    down: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    flip: bool = False
    gain: float = 1.0

    def size(self, h: int, w: int, kernel: torch.Tensor) -> tuple[int, int]:
        """(height, width) of the result."""
        left, right, top, bottom = self.padding
        rows, columns = kernel.shape
        high = (h * self.up[1] + top + bottom - rows) // self.down[1] + 1
        wide = (w * self.up[0] + left + right - columns) // self.down[0] + 1
        return high, wide

    def backward(self, h: int, w: int, kernel: torch.Tensor) -> Resampling:
        """Of the gradient by an input of h x w: up and down change places, and the filter is mirrored."""
        high, wide = self.size(h, w, kernel)
        rows, columns = kernel.shape
        left, top = columns - 1 - self.padding[0], rows - 1 - self.padding[2]
        right = w * self.up[0] - wide * self.down[0] + self.padding[0] - self.up[0] + 1
        bottom = h * self.up[1] - high * self.down[1] + self.padding[2] - self.up[1] + 1
        return Resampling(self.down, self.up, (left, right, top, bottom), not self.flip, self.gain)


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
        return _launch_upfirdn2d(_dense(x), kernel, how)

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
    return _launch_upfirdn2d(_dense(x), kernel.to(accurate).contiguous(), how, epilogue, **cast)


def _tiles(x: torch.Tensor) -> bool:
    """Whether the kernel for 4x4 filters takes it; upfirdn2d.cu has the same conditions."""
    width = 16 if x.dtype == torch.float64 else 4 * x.element_size()
    return _dense(x).is_contiguous() or (x.shape[1] * x.element_size() % width == 0 and x.data_ptr() % width == 0)


def _launch_upfirdn2d(
    x: torch.Tensor, kernel: torch.Tensor, how: Resampling, epilogue: Epilogue | None = None, **tensors: torch.Tensor
) -> torch.Tensor:
    n, c, in_h, in_w = x.shape
    out_h, out_w = how.size(in_h, in_w, kernel)
    if out_h < 1 or out_w < 1:
        raise RuntimeError(f"an image of {in_h} x {in_w} pixels is too small for this filter, factors and padding")
    last = not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    y = torch.empty((n, c, out_h, out_w), dtype=x.dtype, device=x.device, memory_format=layout)
    end = epilogue or LINEAR
    arguments = _UpFirDn2dArguments(
        x=x.data_ptr(),
        filter=kernel.data_ptr(),
        y=y.data_ptr(),
        samples=n,
        channels=c,
        in_h=in_h,
        in_w=in_w,
        out_h=out_h,
        out_w=out_w,
        noise_stride=0 if "noise" not in tensors or _maps(tensors["noise"]) == 1 else out_h * out_w,
        filter_gain=how.gain,
        alpha=end.below,
        gain=end.gain,
        clamp=-1.0 if end.clamp is None else end.clamp,
        taps_x=kernel.shape[1],
        taps_y=kernel.shape[0],
        up_x=how.up[0],
        up_y=how.up[1],
        down_x=how.down[0],
        down_y=how.down[1],
        pad_x=how.padding[0],
        pad_y=how.padding[2],
        flip=how.flip,
        epilogue=epilogue is not None,
        dtype=DTYPES[x.dtype],
        last=last,
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    _launch("fergan_upfirdn2d", arguments, x)
    return y


def _dense(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """Itself where it is contiguous, or channels last and ``dim`` is its channels; else a contiguous copy."""
    if x.ndim == 4 and dim % 4 == 1 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _as_laid_out(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)


def _four(shape: torch.Size) -> tuple[int, ...]:
    """[H, W] as [1, 1, H, W]."""
    return (*(1,) * (4 - len(shape)), *shape)


def _sum_but(x: torch.Tensor, dim: int) -> torch.Tensor:
    """The sum over all axes but one, in float32 for float16."""
    axes = [axis for axis in range(x.ndim) if axis != dim % x.ndim]
    return x.sum(dim=axes, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32) if axes else x


def _launch(function: str, arguments: ctypes.Structure, x: torch.Tensor) -> None:
    """Start a kernel on PyTorch's current stream of ``x``'s device."""
    library = build.cuda_library()
    assert library is not None
    launch = getattr(library, function)
    if x.device.type == "cpu":  # the kernels compiled for a CPU, in tests
        error = launch(ctypes.byref(arguments), None)
    else:
        with torch.cuda.device(x.device):
            stream = torch.cuda.current_stream().cuda_stream
            error = launch(ctypes.byref(arguments), ctypes.c_void_p(stream))
    if error:
        raise RuntimeError(f"{function} was not launched: CUDA error {error}")
