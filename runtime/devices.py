"""The choice of a processor, made in one place so that ``--device`` means the same in every command."""

from __future__ import annotations

import re
import time

import torch

from .errors import UsageError


def choose_device(name: str, *, numbered: bool = True) -> torch.device:
    """Resolve a device name.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``: the first GPU if there is one, else the CPU.
        numbered: whether ``cuda:1`` and its like are accepted.

    Raises:
        UsageError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (
        ":" in name and not (numbered and kind == "cuda" and re.fullmatch("[0-9]{1,9}", index))
    ):
        accepted = "auto, cpu, cuda" + (", cuda:1 ..." if numbered else "")
        raise UsageError(f"device {name!r} is none of {accepted}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {name!r} here ({torch.cuda.device_count()} GPUs); use auto or cpu")
    return torch.device(name)


def bfloat16_is_faster() -> bool:
    """Whether this machine's CPU trains convolutions in bfloat16 in less than 5/6 of the time that float32 takes.

    It is measured, within a quarter of a second: some CPUs with ``avx512_bf16`` are slower at it than at float32.
    """
    found = torch.cpu.get_capabilities()
    if not (found.get("avx512_bf16") or found.get("amx_bf16")):
        return False
    pairs = [[_convolution_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)] for _ in range(4)]
    single, half = (min(seconds) for seconds in zip(*pairs, strict=True))
    return half * 6 < single * 5


def _convolution_seconds(dtype: torch.dtype) -> float:
    """The time of a 3x3 convolution of 64 channels and of its gradients, after one that is not timed."""
    images = torch.ones(8, 64, 24, 24, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    kernels = torch.ones(64, 64, 3, 3, dtype=dtype, requires_grad=True)
    for _ in range(2):
        start = time.perf_counter()
        torch.autograd.grad(torch.nn.functional.conv2d(images, kernels, padding=1).sum(), (images, kernels))
        seconds = time.perf_counter() - start
    return seconds
