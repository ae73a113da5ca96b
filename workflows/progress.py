"""Progress on the error stream, so that standard output stays clean for results.

A bar where the stream is a terminal, a line now and then in a notebook, nothing elsewhere and with ``--quiet``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.distributed import rank
from ..runtime.downloads import OnProgress as OnProgress
from ..runtime.files import printable

if TYPE_CHECKING:
    from ..stylegan.training.loop import Progress

Stage = Callable[[str, str], AbstractContextManager[OnProgress]]
"""Called with a title and a unit when a long piece of work begins."""


QUIET = "fergan.quiet"
"""Where a command's click context keeps whether ``--quiet`` was given."""
_SECONDS_A_LINE = 10.0
"""Between two lines of progress in a notebook."""
Tell = Callable[[str], None]
"""Called with a line that a person should read."""


def say_nothing(line: str) -> None:
    """For callers who do not want to read."""


def warn(line: str) -> None:
    """Tell a line on the error stream, also with ``--quiet``."""
    click.echo(f"fergan: {line}", err=True)


def no_progress(done: float, total: float) -> None:
    """For callers who do not want to know."""


def silent(title: str, unit: str) -> AbstractContextManager[OnProgress]:
    """A :data:`Stage` that shows nothing."""
    return nullcontext(no_progress)


def quiet() -> bool:
    """Whether the command that runs was given ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(QUIET))


def say(line: str) -> None:
    """A line about work in progress; unlike warnings and errors, ``--quiet`` leaves it out."""
    if not quiet():
        click.echo(line, err=True)


@contextmanager
def progress(title: str, unit: str = "faces", into: Path | str | None = None) -> Iterator[OnProgress]:
    """Show how far a long piece of work is, how fast it goes and how long it will take.

    Args:
        title: the stage, such as "Generating".
        into: where the work is written, to be shown too.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeToGo

    console = Console(stderr=True)
    if quiet() or not console.is_terminal or rank() > 0:
        yield no_progress
        return
    text = title if into is None else f"{title}: {printable(into)}"
    if "JPY_PARENT_PID" in os.environ:  # a notebook keeps each state of a bar as text
        yield _lines(text, unit)
        return
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, rate, TimeElapsedColumn(), TimeToGo(), console=console) as bar:
        task = bar.add_task(text, total=None, rate="")

        def show(done: float, total: float) -> None:
            bar.update(task, completed=done, total=total)
            speed = bar.tasks[task].finished_speed or bar.tasks[task].speed
            bar.update(task, rate=_rate(speed, unit))

        yield show


def _rate(speed: float | None, unit: str) -> str:
    """``"88 faces/s"``, or ``"2.5 s for each face"`` for slow work; empty while it is not known."""
    if not speed:
        return ""
    return f"{speed:,.0f} {unit}/s" if speed >= 1 else f"{1 / speed:,.1f} s for each {unit.removesuffix('s')}"


def _lines(text: str, unit: str) -> OnProgress:
    """Progress as lines of text, one in ten seconds."""
    started = last = time.monotonic()

    def show(done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_A_LINE or not done:
            return
        last = now
        speed = done / (now - started)
        minutes, seconds = divmod(round((total - done) / speed), 60)
        left = f"{minutes}:{seconds:02d} to go"
        click.echo(f"{text}  {done:,.0f} of {total:,.0f} {unit}, {_rate(speed, unit)}, {left}", err=True)

    return show


@contextmanager
def gan_display() -> Iterator[Callable[[Progress], None]]:
    """A bar in kimg, a line of losses a minute, and warnings."""
    with progress("Training", unit="kimg") as show:
        last = 0.0

        def on_step(now: Progress) -> None:
            nonlocal last
            show(now.kimg, now.total_kimg)
            if now.warning:
                say(now.warning)
                return
            if time.monotonic() - last > 60 or now.kimg >= now.total_kimg:
                last = time.monotonic()
                values = "  ".join(f"{name} {value:.3f}" for name, value in now.scalars.items())
                say(f"{now.kimg:8.1f} kimg  {values}")

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
            say(f"epoch {epoch + 1} of {epochs}: {_epoch_line(logs or {})}; {took}")

    with progress("Training", unit="epochs") as show:
        yield EpochDisplay()


def _epoch_line(logs: Mapping[str, float]) -> str:
    """The same of a network with a second head, whose logs are told apart by the heads' names."""
    head = "expression_" if "val_expression_accuracy" in logs else ""
    fitted, judged = logs["train_accuracy_plain"], logs[f"val_{head}accuracy"]
    losses = f"{logs[f'{head}loss']:.3f}, {logs[f'val_{head}loss']:.3f}"
    return f"right on {fitted:.1%} of training faces, {judged:.1%} of validation faces; loss {losses}"
