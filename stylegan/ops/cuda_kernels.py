"""Bindings of the kernels in ``csrc/cuda``: their arguments and their launch, without gradients.

The tensors must be dense and on one device; :mod:`~fergan.stylegan.ops.cuda` sees to that.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch

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
    """An activation by its slope below 0 (1 is linear), with gain and clamp: all above 0, so the output's sign is
    the input's, by which the kernels know the gradient."""

    slope: float = 1.0
    gain: float = 1.0
    clamp: float | None = None

    @property
    def is_scaling(self) -> bool:
        """Whether nothing but the gain is left of it."""
        return self.slope == 1 and self.clamp is None


LINEAR = Epilogue()


class Resampling(NamedTuple):
    """The numbers of an upfirdn2d: ``up`` zeros in between and ``down`` of decimation as (x, y); ``padding`` of the
    upsampled image at left, right, top, bottom, negative to crop; ``flip`` correlates; ``gain`` on the result."""

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
        """The arguments of the gradient by an input of h x w: up and down change places, and the filter is mirrored."""
        high, wide = self.size(h, w, kernel)
        rows, columns = kernel.shape
        left, top = columns - 1 - self.padding[0], rows - 1 - self.padding[2]
        right = w * self.up[0] - wide * self.down[0] + self.padding[0] - self.up[0] + 1
        bottom = h * self.up[1] - high * self.down[1] + self.padding[2] - self.up[1] + 1
        return Resampling(self.down, self.up, (left, right, top, bottom), not self.flip, self.gain)


def launch_bias_act(order: int, x: torch.Tensor, epilogue: Epilogue, **tensors: torch.Tensor | None) -> torch.Tensor:
    last = not x.is_contiguous()  # dense, so channels last
    inner = x.shape[2:].numel()
    noise = tensors.get("noise")
    y = torch.empty_like(x)
    arguments = _BiasActArguments(
        x=x.data_ptr(),
        y=y.data_ptr(),
        numel=x.numel(),
        inner=inner,
        channels=x.shape[1],
        noise_stride=0 if noise is None or count_maps(noise) == 1 else inner,
        alpha=epilogue.slope,
        gain=epilogue.gain,
        clamp=-1.0 if epilogue.clamp is None else epilogue.clamp,
        order=order,
        dtype=DTYPES[x.dtype],
        last=last or inner == 1,
        **{name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None},
    )
    launch_kernel("fergan_bias_act", arguments, x)
    return y


def launch_upfirdn2d(
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
        noise_stride=0 if "noise" not in tensors or count_maps(tensors["noise"]) == 1 else out_h * out_w,
        filter_gain=how.gain,
        alpha=end.slope,
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
    launch_kernel("fergan_upfirdn2d", arguments, x)
    return y


def count_maps(noise: torch.Tensor) -> int:
    """The number of maps, for as many samples; 0 if they differ between channels."""
    if noise.ndim <= 2:
        return 1
    return noise.shape[0] if noise.ndim == 4 and noise.shape[1] == 1 else 0


def launch_kernel(function: str, arguments: ctypes.Structure, x: torch.Tensor) -> None:
    """Start a kernel on PyTorch's current stream of ``x``'s device."""
    library = build.library("cuda")
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
