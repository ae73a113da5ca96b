"""What a person sees while something trains: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .progress import progress

if TYPE_CHECKING:
    from ..stylegan.training.loop import Progress


@contextmanager
def gan_display() -> Iterator[Callable[[Progress], None]]:
    """A bar in kimg, and a line of losses a minute."""
    with progress("Training", unit="kimg") as show:
        last = 0.0

        def on_step(now: Progress) -> None:
            nonlocal last
            show(now.kimg, now.total_kimg)
            if time.monotonic() - last > 60 or now.kimg >= now.total_kimg:
                last = time.monotonic()
                values = "  ".join(f"{name} {value:.3f}" for name, value in now.scalars.items())
                click.echo(f"{now.kimg:8.1f} kimg  {values}", err=True)

        yield on_step


@contextmanager
def epoch_display() -> Iterator[Any]:
    """A Keras callback with a bar in epochs and a line after each."""
    from ..classify.backend import keras

    class EpochDisplay(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.epoch, self.started = epoch, time.monotonic()

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            show(self.epoch + (batch + 1) / self.params["steps"], self.params["epochs"])

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            seconds, epochs = time.monotonic() - self.started, self.params["epochs"]
            left = (epochs - epoch - 1) * seconds / 60
            took = f"{seconds:.0f} s, about {left:.0f} min to go"
            click.echo(f"epoch {epoch + 1} of {epochs}: {_epoch_line(logs or {})}; {took}", err=True)

    with progress("Training", unit="epochs") as show:
        yield EpochDisplay()


def _epoch_line(logs: Mapping[str, float]) -> str:
    """The same of a network with a second head, whose logs are told apart by the heads' names."""
    head = "expression_" if "val_expression_accuracy" in logs else ""
    fitted, judged = logs["train_accuracy_plain"], logs[f"val_{head}accuracy"]
    losses = f"{logs[f'{head}loss']:.3f}, {logs[f'val_{head}loss']:.3f}"
    return f"right on {fitted:.1%} of training faces, {judged:.1%} of validation faces; loss {losses}"
