"""How long-running commands end when they are told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: tidily, so that workers end at once and the exit code says stopped."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second time the signal does what it did before."""
    stop = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])
        click.echo("fergan: finishing what has been read; Ctrl-C again drops it", err=True)

    try:
        for kind in (signal.SIGINT, signal.SIGTERM):
            before[kind] = signal.signal(kind, handle)
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
