"""Several processes started by torchrun, one a GPU: each takes its share of a batch, and gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """The number of this process, 0 where there is only one."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _several() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes if torchrun started several; yields the device that is this process's own."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        dist.barrier()  # a process that leaves while another still sends makes that one abort
    finally:
        dist.destroy_process_group()


def average_gradients(module: nn.Module) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    if not _several():
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean of a scalar over the processes."""
    if not _several():
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
