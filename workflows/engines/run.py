"""All three steps at once: shards are made, judged and labelled without reading the pictures back from the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.run_record.settings import GenerateRecord
from ...runtime.errors import DataError
from ...runtime.files import make_folder, write_atomically
from ..generators.edited import measure_edited
from ..progress import OnProgress, Tell, no_progress, say_nothing
from ..run_folder.faces import FacePlan
from ..run_folder.folder import PART, RunFolder
from ..run_folder.labels import keep_part, merge_parts, part_name, read_part, whole_part
from ..run_folder.pictures import KeptPictures
from ..run_folder.seats import seats as seats_of
from ..run_folder.seeds import shard_size, shards
from ..run_folder.store import Store
from ..steps.generate import FaceMaker, GenerateOptions, claim_faces
from ..steps.judge import ClassifyOptions, Judge, Seat, claim_seats, close, fail, open_judges, take_seats
from ..steps.report import report
from ..steps.want import WantOptions
from .local import run_here, run_processes
from .options import EngineOptions
from .search import HELD_BYTES, absolute, everywhere, find_wanted
from .shard import Job, Labeller, Maker, Results, ShardWorker, Task

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
    tell: Tell = say_nothing,
) -> Path:
    """Generate, classify and report, up to the path of the page; what an earlier call has finished is not done again.

    ``tell`` gets what a person should know, a line each. Whatever the engine, labels are written by this process alone,
    a part a shard, whole or not at all; a part that is damaged or belongs to other faces is done again.

    With ``want``, the seeds are found first, by the same workers; where they are processes of their own, they draw the
    faces that are kept once more.

    Raises:
        DataError, UsageError: as the three steps; an engine is not installed or lost too many workers.
    """
    started, engine = time.monotonic(), engine or EngineOptions()
    store = Store(engine.storage) if engine.storage else None
    run.storage = store
    if store and not run.starts_over:
        _fetch(run, store)
    if engine.engine == "ray":
        from .ray_data import load_ray

        load_ray()
    KeptPictures.parse(engine.pictures, 1)  # a slip is told before a search, not after it
    maker, judges = _networks(run, generate, classify, engine, want, on_progress)
    generate = replace(generate, seeds=maker.options.seeds, chosen=maker.options.chosen)
    plan, made = maker.faces, maker.record
    kept = KeptPictures.parse(engine.pictures, len(plan))
    seats = take_seats(run, judges, tell)
    claim_seats(seats, between=lambda: claim_faces(run, made))
    run.put(images=str(kept))
    if store:
        run.put(storage=store.uri)
    if kept.mode != "none":
        make_folder(run.faces)
    job = _job(generate, classify, made, seats, kept, engine.storage or str(run.path.resolve()))
    tasks = list(missing_tasks(plan, kept, store or Store(run.path), seats))
    held = _Held(kept)
    if engine.here:
        results = run_here(ShardWorker(job, Maker(job, maker, held.add), Labeller(job, judges)), tasks)
    else:
        del maker
        results = _elsewhere(job, tasks, engine)
    _collect(run, seats, results, tasks, plan, store, on_progress)
    close(seats, tell)
    if tasks:
        run.note("run", time.monotonic() - started)
    measure_edited(run, held.pictures, job.generate.device)
    page = report(run, held.pictures)
    if store:
        _send(run, seats, store)
    return page


def _networks(
    run: RunFolder,
    generate: GenerateOptions,
    classify: ClassifyOptions,
    engine: EngineOptions,
    want: WantOptions | None,
    on_progress: OnProgress,
) -> tuple[FaceMaker, list[Judge]]:
    """Generator and judges; where others compute, they only tell what they are. Wanted faces are found on the way."""
    judges = open_judges(classify if engine.here else replace(classify, device="cpu"))
    if want is None:
        return FaceMaker(generate if engine.here else replace(generate, device="cpu")), judges
    chooses = judges[0] if want.judge == classify.each()[0] else None
    return find_wanted(run, generate, want, engine, chooses, on_progress), judges


def _job(
    generate: GenerateOptions,
    classify: ClassifyOptions,
    made: GenerateRecord,
    seats: Sequence[Seat],
    kept: KeptPictures,
    store: str,
) -> Job:
    """The job of all workers."""
    return Job(
        everywhere(generate),
        tuple(one.with_model(absolute(one.model)) for one in classify.each()),
        tuple(seat.judge.preparation for seat in seats),
        made,
        tuple(seat.judge.record() for seat in seats),
        kept,
        store,
    )


class _Held:
    """The first pictures of a run, for its report; none where the run keeps none."""

    def __init__(self, kept: KeptPictures) -> None:
        self._wanted = kept.mode != "none"
        self.pictures: dict[str, np.ndarray] = {}

    def add(self, name: str, picture: np.ndarray) -> None:
        if self._wanted and len(self.pictures) * picture.nbytes < HELD_BYTES:
            self.pictures[name] = picture


def _collect(
    run: RunFolder,
    seats: Sequence[Seat],
    results: Results,
    tasks: list[Task],
    plan: FacePlan,
    store: Store | None,
    on_progress: OnProgress,
) -> None:
    """Write down the labels of the shards as they come in, then the tables made of all of them."""
    size = shard_size(len(plan))

    def length(task: Task) -> int:
        return min(size, len(plan) - task.number * size)

    done = len(plan) - sum(map(length, tasks))
    on_progress(done, len(plan))
    with closing(results):
        for task, parts in results:
            for judge, part in parts.items():
                _take_in(seats, seats[judge], task, part, run, store)
            done += length(task)
            on_progress(done, len(plan))
    for seat in seats:
        if not seat.failed:
            merge_parts(seat.folder, -(-len(plan) // size))


def _take_in(
    seats: Sequence[Seat], seat: Seat, task: Task, part: bytes | str, run: RunFolder, store: Store | None
) -> None:
    """Keep the part of a shard that a judge's labels make, or note why there is none."""
    if isinstance(part, str):
        fail(seats, seat, DataError(part))
        return
    name = part_name(task.number)
    keep_part(seat.folder, task.number, part)
    if seat.look.open:
        seat.look(read_part(part, name).to_pandas())
    if store:
        store.write(_within(run, seat.folder.labels / name), part)


def _within(run: RunFolder, path: Path) -> str:
    return path.relative_to(run.path).as_posix()


def missing_tasks(plan: FacePlan, kept: KeptPictures, store: Store, seats: Sequence[Seat]) -> Iterator[Task]:
    """The work that is left of a run, shard by shard."""
    pictures = store.pictures() if kept.mode != "none" else set()
    size = shard_size(len(plan))
    for number, faces in shards(plan):
        names = [face.name for face in faces]
        # a face that was skipped lacked its picture then; here it is drawn again
        judges = tuple(
            k for k, seat in enumerate(seats) if not whole_part(seat.folder, number, names, lambda name: True)
        )
        wanted = kept.files(number, number * size, faces, len(plan))
        tar = bool(judges) and kept.mode == "tar"  # with the pictures of fewer faces, if the run has grown
        files = tuple(name for name in wanted if tar or name not in pictures)
        if judges or files:
            yield Task(number, judges, files)


def _elsewhere(job: Job, tasks: list[Task], engine: EngineOptions) -> Results:
    if engine.engine == "local":
        return run_processes(job, tasks, min(engine.workers or 1, len(tasks) or 1))
    from .ray_data import run_ray

    return run_ray(job, tasks, engine)


def _send(run: RunFolder, seats: Sequence[Seat], store: Store) -> None:
    """Bring what was made of all shards to the storage."""
    for folder in (run, *(seat.folder for seat in seats if seat.folder is not run)):
        for name in _SUMMARY:
            if (folder.path / name).exists():
                store.write(_within(run, folder.path / name), (folder.path / name).read_bytes())


def _fetch(run: RunFolder, store: Store) -> None:
    """Bring what the storage holds of the run and this machine does not."""
    names = store.names()
    if "run.json" in names and not run.record.values:
        write_atomically(run.path / "run.json", store.read("run.json"))
        run.reread()
    if "selection.json" in names and not run.selection.exists():
        write_atomically(run.selection, store.read("selection.json"))
    for folder in seats_of(run):
        place = _within(run, folder.labels)
        for name in sorted(store.names(place)):
            if (part := PART.fullmatch(name)) and not (folder.labels / name).exists():
                keep_part(folder, int(part[1]), store.read(f"{place}/{name}"))
