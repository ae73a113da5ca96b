"""The search for wanted faces by the workers of any engine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..progress import OnProgress, no_progress
from ..run_folder.folder import RunFolder
from ..run_folder.seeds import face_name
from ..run_folder.selection import Kept, Scanned
from ..steps.generate import FaceMaker, GenerateOptions
from ..steps.judge import Judge
from ..steps.want import SearchTask, Wanted, WantOptions
from .local import run_processes
from .options import EngineOptions

HELD_BYTES = 256 * 2**20
"""Pictures that are kept in memory; more are drawn once more or read back."""


def find_wanted(
    run: RunFolder,
    generate: GenerateOptions,
    want: WantOptions,
    engine: EngineOptions,
    judge: Judge | None = None,
    on_progress: OnProgress = no_progress,
) -> FaceMaker:
    """Find wanted faces of a run whose lock is held; no picture is written.

    Returns:
        The generator for the seeds that are kept; pictures that were drawn here are not drawn again.

    Raises:
        DataError, UsageError: as :class:`..steps.want.Wanted` says, or the engine is lost.
    """
    here = engine.here
    wanted = Wanted(
        run,
        generate if here else replace(generate, device="cpu"),
        want if here else replace(want, judge=replace(want.judge, device="cpu")),
        judge,
    )
    held: dict[int, np.ndarray] = {}
    known: dict[str, np.ndarray] = {}

    def keep(one: Kept) -> None:
        if one.seed in held and len(known) * held[one.seed].nbytes < HELD_BYTES:
            known[face_name(one.seed)] = held[one.seed]

    def search(tasks: Iterator[SearchTask]) -> Generator[tuple[SearchTask, Scanned]]:
        judges = replace(
            want, judge=want.judge.with_model(absolute(want.judge.model)), second_judge=absolute(want.second_judge)
        )
        job = replace(wanted.job, generate=everywhere(generate), want=judges)
        if engine.engine == "local":
            return run_processes(job, tasks, engine.workers or 1)
        from .ray_data import search_by_ray

        return search_by_ray(job, tasks, engine)

    maker = wanted.search(wanted.here(held) if here else search, keep, on_progress)
    maker.known = known
    return maker


def everywhere(generate: GenerateOptions) -> GenerateOptions:
    """The options for workers in other folders."""
    return replace(generate, network=absolute(generate.network), projected_w=absolute(generate.projected_w))


def absolute(source: str | None) -> str | None:
    """A file by its whole path, for workers in other folders; names of bundled networks as they are."""
    return str(Path(source).absolute()) if source and Path(source).suffix and Path(source).exists() else source
