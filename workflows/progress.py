"""Progress on the error stream, so that standard output stays clean for results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[float, float], None]
"""Called with how much is done so far and how much there is to do in all."""


def no_progress(done: float, total: float) -> None:
    """For callers who do not want to know."""


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
