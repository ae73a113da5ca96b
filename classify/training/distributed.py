"""A Keras training by several processes that torchrun started (see :mod:`fergan.runtime.distributed`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from ...runtime.distributed import average, world_size
from ..backend import keras


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
    """Keeps the processes together: batch statistics become their mean before they are used, decisions the first's."""

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        statistics = [weight.value for weight in self.model.non_trainable_weights if weight.dtype == "float32"]
        average(statistics)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        score = torch.tensor([logs[self.monitor]], dtype=torch.float64, device=self.model.weights[0].value.device)
        dist.broadcast(score, src=0)
        logs[self.monitor] = float(score)
