"""The shards of a run on a Ray cluster: tasks -> generating actors -> prepared faces -> judging actors -> parts.

Each actor loads its network once. Between the two stages travel prepared faces, 2.3 kB each where they are 48x48 gray;
the parts come back to the process that started the run, which alone writes labels. Ray Data holds the stages in step (a
slow one holds up the ones before it), restarts lost actors, gives out their tasks again and makes lost results anew.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ...runtime.errors import DataError, UsageError, first_line
from ...runtime.memory import tune_malloc
from ..run_folder.faces import FacePlan
from ..run_folder.seeds import shard_size
from ..run_folder.selection import Scanned
from ..steps.want import SearchJob, SearchTask
from .options import EngineOptions
from .shard import Job, Labeller, Maker, Results, Task, shard_faces

_CPU_SHARE = 0.25
"""The share of a core that each actor claims. Two actors a core would be 0.5; claiming half of that lets the actors of
a lost node start again on the others, more slowly, where a full claim would have them wait for a node that may never
come."""

_BLOCK = 256

_STORE_BYTES = 256 * 2**20
"""Object store of a cluster that this process starts; what travels is small."""


def run_ray(job: Job, tasks: Sequence[Task], options: EngineOptions) -> Results:
    """Tasks by the actors of a cluster, in the order in which they are done.

    Args:
        job: what to do; files that it names must be at the same path on every machine.
        tasks: to be done.
        options: ``workers``, ``address`` and ``gpus_per_worker`` count.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
        DataError: a worker found something wrong, or the cluster was lost.
    """
    if not tasks:
        return
    ray = load_ray()
    by_number = {task.number: task for task in tasks}
    with _cluster(ray, options), _one_line_errors(ray):
        for row in _pipeline(ray, job, tasks, options).iter_rows():
            yield by_number[int(row["number"])], pickle.loads(row["parts"])  # of our own actors


def load_ray() -> Any:
    """Ray, quiet. Raises a UsageError where it is not installed."""
    # read by Ray when it is imported or started
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray Data gives actors their arguments through the object store, of which Ray's core warns as of an error
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("--engine ray needs Ray; run: pip install 'fergan[ray]'") from error
    return ray


def search_by_ray(
    job: SearchJob, tasks: Iterator[SearchTask], options: EngineOptions
) -> Generator[tuple[SearchTask, Scanned]]:
    """Tasks of a search by actors of a cluster, in the order in which they are done.

    A task is asked for when an actor is free, so that nothing is judged long after the last face was found. Ray starts
    lost actors again and gives out their tasks again.

    Raises:
        UsageError, DataError: as :func:`run_ray`.
    """
    ray = load_ray()
    from ray.util import ActorPool

    with _cluster(ray, options), _one_line_errors(ray):
        workers, gpus = _staff(ray, options)
        actor = ray.remote(_Searching).options(
            num_cpus=_CPU_SHARE, max_restarts=-1, max_task_retries=-1, **({"num_gpus": gpus} if gpus else {})
        )
        pool = ActorPool([actor.remote(job) for _ in range(workers)])

        def give(count: int) -> None:
            for task in islice(tasks, count):
                pool.submit(lambda one, given: one.search.remote(given), task)

        give(2 * workers)  # each has the next one waiting
        while pool.has_next():
            task, scanned = pool.get_next_unordered()
            yield task, scanned
            give(1)


def _pipeline(ray: Any, job: Job, tasks: Sequence[Task], options: EngineOptions) -> Any:
    workers, gpus = _staff(ray, options)
    rows = [{"number": task.number, "judges": bytes(task.judges), "files": "/".join(task.files)} for task in tasks]
    # A block is what an actor takes at a time: a few hundred faces, so that judging begins early and all end together.
    shard = shard_size(job.made.n)
    blocks = math.ceil(len(rows) / max(1, _BLOCK // shard))
    workers = min(workers, blocks)
    stages = ((_Generating, workers, 0.75 * gpus), (_Judging, workers, 0.25 * gpus))
    data = ray.data.from_items(rows, override_num_blocks=blocks)
    for stage, size, gpu in stages:
        data = data.map(
            stage,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=_CPU_SHARE,
            **({"num_gpus": gpu} if gpu else {}),
        )
    return data


def _staff(ray: Any, options: EngineOptions) -> tuple[int, float]:
    """How many generating actors there are, each with a judging one, and the GPUs of such a pair."""
    cluster = ray.cluster_resources()
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if cluster.get("GPU") else 0.0
    if gpus > cluster.get("GPU", 0):
        raise UsageError(f"--gpus-per-worker {gpus:g}: the cluster has {cluster.get('GPU', 0):g} GPUs")
    return options.workers or max(1, int(cluster["GPU"] / gpus if gpus else cluster.get("CPU", 1))), gpus


class _Generating:
    """An actor: the task of a shard in, its prepared faces out."""

    def __init__(self, job: Job) -> None:
        _settle()
        self._make = Maker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        files = tuple(row["files"].split("/")) if row["files"] else ()
        prepared = self._make(Task(int(row["number"]), tuple(row["judges"]), files))
        return {"number": row["number"], "judges": row["judges"], "faces": pickle.dumps(prepared)}


class _Judging:
    """An actor: prepared faces of a shard in, its Parquet parts out; none where only pictures were missing."""

    def __init__(self, job: Job) -> None:
        _settle()
        self._label = Labeller(job)
        self._plan = FacePlan.of(job.made)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = Task(int(row["number"]), tuple(row["judges"]), ())
        parts = self._label(task, shard_faces(self._plan, task.number), pickle.loads(row["faces"]))
        return {"number": task.number, "parts": pickle.dumps(parts)}


class _Searching:
    """An actor: seeds in, what the judges say of them out."""

    def __init__(self, job: SearchJob) -> None:
        _settle()
        self._searcher = job.worker()

    def search(self, task: SearchTask) -> tuple[SearchTask, Scanned]:
        return task, self._searcher(task)


def _settle() -> None:
    """Make this process an actor: one thread, for on CPUs every core has actors of its own."""
    import torch

    tune_malloc()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)


@contextmanager
def _cluster(ray: Any, options: EngineOptions) -> Iterator[None]:
    """A connection to the cluster that was asked for; one that is started for the purpose ends with it."""
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    mine = not ray.is_initialized()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if mine:
        own: dict[str, Any] = {}
        if address == "local":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
            own = {"num_cpus": cores, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        try:
            ray.init(address=address, **quiet, **own)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise UsageError(f"--address {address}: no Ray cluster answers ({first_line(error)})") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _one_line_errors(ray: Any) -> Iterator[None]:
    """Errors of workers as they were raised there, those of the cluster in one line."""
    try:
        yield
    except (DataError, UsageError):
        raise
    except Exception as error:
        # Ray tells what an actor raised, in its constructor too, as the text of a traceback
        raised = re.findall(r"(DataError|UsageError): (.+)", str(error))
        if raised:
            kind, text = raised[-1]
            raise (DataError if kind == "DataError" else UsageError)(text.strip()) from error
        if isinstance(error, ray.exceptions.RayError | ConnectionError):
            raise DataError(
                f"the Ray cluster failed ({first_line(error)}); run the same command again to go on"
            ) from error
        raise
