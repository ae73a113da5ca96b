"""What a person sees while something trains: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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


def epoch_display() -> Any:
    """A Keras callback that prints one line an epoch: losses, accuracies, time, and time to go."""
    from ..classify.backend import keras

    class EpochDisplay(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.started = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            seconds = time.monotonic() - self.started
            left = (self.params["epochs"] - epoch - 1) * seconds / 60
            shown = {name: value for name, value in sorted((logs or {}).items()) if name != "seconds"}
            values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            click.echo(f"epoch {epoch + 1}: {values}  ({seconds:.0f} s, about {left:.0f} min to go)", err=True)

    return EpochDisplay()
