"""The choice of a processor, made in one place so that ``--device`` means the same in every command."""

from __future__ import annotations

import re

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
