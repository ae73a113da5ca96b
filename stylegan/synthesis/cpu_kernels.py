"""The C++ kernels of ``csrc/cpu`` as Python functions over pointers; see ``csrc/cpu/synthesis.h``."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_void_p
from functools import lru_cache

import torch

from ..ops import build

GROUP = 16  # channels of a map are filled up to a multiple of it
IMAGE_LANES = 4  # at most so many image channels
INSTRUCTION_SETS = ("avx512", "avx2", "portable")  # the best first


class Layer(ctypes.Structure):
    """A modulated 3x3 convolution with its noise, bias, activation and, where there is one, ToRGB."""

    _fields_ = [
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("resolution", c_int32),
        ("upsample", c_int32),
        ("affine_weight", c_void_p),
        ("affine_bias", c_void_p),
        ("power", c_void_p),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("noise", c_void_p),
        ("noise_strength", c_float),
        ("clamp", c_float),
        ("rgb_affine_weight", c_void_p),
        ("rgb_affine_bias", c_void_p),
        ("rgb_weight", c_void_p),
        ("rgb_bias", c_void_p),
    ]


class Network(ctypes.Structure):
    """A skip or orig synthesis network."""

    _fields_ = [
        ("layers", POINTER(Layer)),
        ("num_layers", c_int32),
        ("w_dim", c_int32),
        ("image_channels", c_int32),
        ("threads", c_int32),
        ("input", c_void_p),
    ]


def grouped(x: torch.Tensor) -> torch.Tensor:
    """A feature map as the kernels have it: [C, H, W] -> [ceil(C / 16), H, W, 16], filled up with zeros."""
    channels, height, width = x.shape
    groups = -(-channels // GROUP)
    padded = x.new_zeros(groups * GROUP, height, width)
    padded[:channels] = x
    return padded.reshape(groups, GROUP, height, width).permute(0, 2, 3, 1).contiguous()


class Kernels:
    """The kernels of one instruction set."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library, self._handle = library, c_void_p(handle)
        self.name: str = library.fergan_kernels_name(self._handle).decode()

    def prepare_weight(self, weight: torch.Tensor, upsample: bool) -> torch.Tensor:
        """float32 [O, I, 3, 3] -> the transformed and packed weight that ``Layer.weight`` points to."""
        out_channels, in_channels = weight.shape[:2]
        packed = torch.empty(self._library.fergan_weight_floats(self._handle, in_channels, out_channels))
        self._library.fergan_prepare_weight(
            self._handle,
            weight.contiguous().data_ptr(),
            in_channels,
            out_channels,
            upsample,
            packed.data_ptr(),
            torch.get_num_threads(),
        )
        return packed

    def workspace_floats(self, network: Network) -> int:
        """Floats of memory that :meth:`draw` needs."""
        return self._library.fergan_workspace_floats(self._handle, ctypes.byref(network))

    def draw(self, network: Network, ws: torch.Tensor, workspace: torch.Tensor, image: torch.Tensor) -> None:
        """Contiguous float32 ws [num_ws, w_dim] -> image [C, R, R], written in place."""
        self._library.fergan_draw(
            self._handle, ctypes.byref(network), ws.data_ptr(), workspace.data_ptr(), image.data_ptr()
        )


def kernels(instruction_set: str = "auto") -> Kernels | None:
    """The kernels of an instruction set, ``auto`` = the best of this processor.

    None where there is no library (:func:`..ops.build.why_not` says why) or the processor lacks the instructions.
    """
    library = build.library("cpu")
    return None if library is None else _kernels(library, instruction_set)


@lru_cache
def _kernels(library: ctypes.CDLL, instruction_set: str) -> Kernels | None:
    functions = {
        "fergan_kernels": (c_void_p, [c_char_p]),
        "fergan_kernels_name": (c_char_p, [c_void_p]),
        "fergan_weight_floats": (c_int64, [c_void_p, c_int32, c_int32]),
        "fergan_prepare_weight": (None, [c_void_p, c_void_p, c_int32, c_int32, c_int32, c_void_p, c_int32]),
        "fergan_workspace_floats": (c_int64, [c_void_p, POINTER(Network)]),
        "fergan_draw": (None, [c_void_p, POINTER(Network), c_void_p, c_void_p, c_void_p]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    handle = library.fergan_kernels(instruction_set.encode())
    return Kernels(library, handle) if handle else None
