"""Several processes that torchrun started, one a GPU: each takes its share of a batch, and gradients are averaged.

All processes hold the same weights and go the same way; only the first one writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from ..backend import keras


def rank() -> int:
    """The number of this process, 0 where there is only one."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the other processes if torchrun started several; yields the device that is this process's own."""
    if world_size() == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield device
        dist.barrier()  # a process that leaves while another still sends makes that one abort
    finally:
        dist.destroy_process_group()


def average(tensors: Sequence[torch.Tensor]) -> None:
    """Replace every float32 tensor by its mean over the processes, in one message."""
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def averaging(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Make an optimizer average gradients over the processes before it looks at them."""
    if world_size() > 1:
        optimizer.__class__ = type(type(optimizer).__name__, (_Averaging, type(optimizer)), {})
    return optimizer


class _Averaging:
    def apply(self, grads: Sequence[torch.Tensor], trainable_variables: Any = None) -> None:
        average(grads)
        super().apply(grads, trainable_variables)  # type: ignore[misc]


class SameEverywhere(keras.callbacks.Callback):
    """Keeps the processes together: batch statistics become their mean before they are used, decisions the first's.

    Args:
        monitor: the score that decides.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        statistics = [weight.value for weight in self.model.non_trainable_weights if weight.dtype == "float32"]
        if statistics:
            average(statistics)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        score = torch.tensor([logs[self.monitor]], dtype=torch.float64, device=self.model.weights[0].value.device)
        dist.broadcast(score, src=0)
        logs[self.monitor] = float(score)
