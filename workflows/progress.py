"""Progress on the error stream, so that standard output stays clean for results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..stylegan.training.loop import Progress

OnProgress = Callable[[float, float], None]
"""Called with how much is done so far and how much there is to do in all."""


Stage = Callable[[str, str], AbstractContextManager[OnProgress]]
"""Called with a title and a unit when a long piece of work begins."""


Tell = Callable[[str], None]
"""Called with a line that a person should read."""


def say_nothing(line: str) -> None:
    """For callers who do not want to read."""


def say(line: str) -> None:
    """On the error stream."""
    click.echo(f"fergan: {line}", err=True)


def no_progress(done: float, total: float) -> None:
    """For callers who do not want to know."""


def silent(title: str, unit: str) -> AbstractContextManager[OnProgress]:
    """A :data:`Stage` that shows nothing."""
    return nullcontext(no_progress)


@contextmanager
def progress(title: str, unit: str = "faces") -> Iterator[OnProgress]:
    """A progress bar with rate and time to go; nothing is drawn where the error stream is not a terminal.

    Yields:
        What to call after each piece of work.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    with Progress(*columns, console=console, disable=not (console.is_terminal and first)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
