"""Several processes that torchrun started, one a GPU: each takes its share of a batch, and gradients are averaged.

All processes hold the same weights and take the same steps; only the first one writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def rank() -> int:
    """The number of this process; 0 where there is only one."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes if torchrun started several; yields the device that is this process's own."""
    if world_size() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        dist.barrier()  # a process that leaves while another still sends makes that one abort
    finally:
        dist.destroy_process_group()


def average(tensors: Sequence[torch.Tensor]) -> None:
    """Replace every tensor (all of one dtype) by its mean over the processes, in one message."""
    if world_size() == 1 or not tensors:
        return
    import torch
    import torch.distributed as dist

    with torch.no_grad():
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= world_size()
        for tensor, part in zip(tensors, flat.split_with_sizes([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes."""
    value = value.clone()
    average([value])
    return value
