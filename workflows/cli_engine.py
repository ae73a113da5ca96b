"""Options of ``fergan run`` that say who does the work and what is kept of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .engines.options import EngineOptions

_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who does the work: this machine or a Ray cluster.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Processes, pinned to cores or GPUs.  [default: this one; with Ray all that the cluster holds]",
    ),
    click.option(
        "--address", metavar="ADDRESS", help="Of the Ray cluster: local (a new one here), auto or ray://HOST."
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(0, 1),
        metavar="G",
        help="With Ray.  [default: 1 where the cluster has GPUs]",
    ),
    click.option(
        "--images",
        "kept",
        metavar="WHICH",
        help="Pictures to keep: all, none, tar (a WebDataset), sample:1000.  [default: all; a sample beyond 100,000]",
    ),
    click.option("--storage", metavar="URI", help="Keep the run at s3://, gs:// or file:// too; pictures only there."),
)


def engine_options(command: Any) -> Any:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def to_engine(options: dict[str, Any]) -> EngineOptions:
    """What :func:`engine_options` were given."""
    from .engines.options import EngineOptions

    return EngineOptions(
        engine=options["engine"],
        workers=options["workers"],
        address=options["address"],
        gpus_per_worker=options["gpus_per_worker"],
        images=options["kept"],
        storage=options["storage"],
    )


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
