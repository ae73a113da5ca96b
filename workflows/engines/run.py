"""All three steps at once: shards are made, judged and labelled without reading the pictures back from the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...runtime.files import write_atomically
from ..progress import OnProgress, no_progress
from ..run_folder.faces import FacePlan
from ..run_folder.folder import RunFolder, make_faces_folder
from ..run_folder.labels import keep_part, merge_parts, part_name, whole_part
from ..run_folder.pictures import KeptPictures
from ..run_folder.seeds import shard_size, shards
from ..run_folder.store import Store
from ..steps.classify import ClassifyOptions, Judge
from ..steps.generate import FaceMaker, GenerateOptions, claim_faces
from ..steps.report import report
from ..steps.want import WantOptions
from .local import run_here, run_processes
from .options import EngineOptions
from .search import absolute, everywhere, find_wanted
from .shard import Job, Labeller, Maker, Results, ShardWorker, Task

_HELD_BYTES = 256 * 2**20
"""Pictures kept in memory for the report; those of larger runs are read back when the report shows them."""

_SUMMARY = (
    "run.json",
    "selection.json",
    "manifest.csv",
    "labels.csv",
    "skipped.csv",
    "validation.npz",
    "report.html",
    "report.json",
)


def run_all(
    run: RunFolder,
    generate: GenerateOptions,
    classify: ClassifyOptions,
    on_progress: OnProgress = no_progress,
    engine: EngineOptions | None = None,
    want: WantOptions | None = None,
) -> Path:
    """Generate, classify and report; what an earlier call has finished is not done again.

    Whatever the engine, labels are written by this process alone, a part a shard, whole or not at all; a part that is
    damaged or belongs to other faces is done again.

    With ``want``, the seeds are found first, by the same workers; faces that are kept are then drawn once more.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError, UsageError: as :func:`fergan.workflows.steps.generate.generate`,
            :func:`~.steps.classify.classify` and :func:`~.steps.report.report`; an engine is not
            installed or lost too many workers.
    """
    started, engine = time.monotonic(), engine or EngineOptions()
    away = Store(engine.storage) if engine.storage else None
    if away:
        _fetch(run, away)
    maker, judge = _networks(run, generate, classify, engine, want, on_progress)
    generate = replace(generate, seeds=maker.options.seeds, chosen=maker.options.chosen)
    plan, made, judged = maker.faces, maker.record, judge.record()
    kept = KeptPictures.parse(engine.keep, len(plan))
    claim_faces(run, made)
    run.claim(judged)
    run.put("images", str(kept))
    if away:
        run.put("storage", away.uri)
    judge.keep_validation(run)
    if kept.mode != "none":
        make_faces_folder(run)

    job = Job(
        everywhere(generate),
        replace(classify, model=absolute(classify.model)),
        made,
        judged,
        kept,
        engine.storage or str(run.path.resolve()),
    )
    tasks = list(missing_tasks(run, plan, kept, away or Store(run.path)))
    held = _Held(kept)
    if engine.here:
        results = run_here(ShardWorker(job, Maker(job, maker, held.add), Labeller(job, judge)), tasks)
    else:
        del maker, judge
        results = _elsewhere(job, tasks, engine)
    _collect(run, results, tasks, plan, away, on_progress)
    if tasks:
        run.note("run", time.monotonic() - started)
    page = report(run, held.pictures)
    if away:
        _send(run, away)
    return page


def _networks(
    run: RunFolder,
    generate: GenerateOptions,
    classify: ClassifyOptions,
    engine: EngineOptions,
    want: WantOptions | None,
    on_progress: OnProgress,
) -> tuple[FaceMaker, Judge]:
    """Generator and judge; where others compute, they only tell what they are. Wanted faces are found on the way."""
    judge = Judge(classify if engine.here else replace(classify, device="cpu"))
    if want is None:
        return FaceMaker(generate if engine.here else replace(generate, device="cpu")), judge
    chooses = judge if want.judge == classify else None
    return find_wanted(run, generate, want, engine, chooses, on_progress), judge


class _Held:
    """The first pictures of a run, for its report; none where the run keeps none."""

    def __init__(self, kept: KeptPictures) -> None:
        self._wanted = kept.mode != "none"
        self.pictures: dict[str, np.ndarray] = {}

    def add(self, name: str, picture: np.ndarray) -> None:
        if self._wanted and len(self.pictures) * picture.nbytes < _HELD_BYTES:
            self.pictures[name] = picture


def _collect(
    run: RunFolder,
    results: Results,
    tasks: list[Task],
    plan: FacePlan,
    away: Store | None,
    on_progress: OnProgress,
) -> None:
    """Write down the labels of the shards as they come in, then the tables made of all of them."""
    size = shard_size(len(plan))

    def length(task: Task) -> int:
        return min(size, len(plan) - task.number * size)

    done = len(plan) - sum(map(length, tasks))
    on_progress(done, len(plan))
    with closing(results):
        for task, part in results:
            if part is not None:
                keep_part(run, task.number, part)
                if away:
                    away.write(f"labels/{part_name(task.number)}", part)
            done += length(task)
            on_progress(done, len(plan))
    merge_parts(run, -(-len(plan) // size))


def missing_tasks(run: RunFolder, plan: FacePlan, kept: KeptPictures, store: Store) -> Iterator[Task]:
    """What there is still to do of a run, shard by shard."""
    pictures = store.pictures() if kept.mode != "none" else set()
    size = shard_size(len(plan))
    for number, faces in shards(plan):
        # a face that was skipped lacked its picture then; here it is drawn again
        label = not whole_part(run, number, [face.name for face in faces], lambda name: True)
        wanted = kept.files(number, number * size, faces, len(plan))
        files = tuple(name for name in wanted if name not in pictures)
        if label or files:
            yield Task(number, label, files)


def _elsewhere(job: Job, tasks: list[Task], engine: EngineOptions) -> Results:
    if engine.engine == "local":
        return run_processes(job, tasks, min(engine.workers or 1, len(tasks) or 1))
    from .ray_data import run_ray

    return run_ray(job, tasks, engine)


def _send(run: RunFolder, away: Store) -> None:
    """Bring what was made of all shards to the storage."""
    for name in _SUMMARY:
        if (run.path / name).exists():
            away.write(name, (run.path / name).read_bytes())


def _fetch(run: RunFolder, away: Store) -> None:
    """Bring what the storage holds of the run and this machine does not."""
    names = away.names()
    if "run.json" in names and not run.record:
        write_atomically(run.path / "run.json", away.read("run.json"))
        run.reread()
    if "selection.json" in names and not run.selection.exists():
        write_atomically(run.selection, away.read("selection.json"))
    for name in sorted(away.names("labels")):
        if name.startswith("part-") and not (run.labels / name).exists():
            number = int(name.removeprefix("part-").partition(".")[0])
            keep_part(run, number, away.read(f"labels/{name}"))
