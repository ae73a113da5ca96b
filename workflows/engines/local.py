"""The shards of a run on this machine: in this process, or in several that are pinned to cores or GPUs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from ...runtime.errors import DataError, UsageError
from ...runtime.memory import tune_malloc
from .shard import Job, Parts, ShardWorker, Task

_MOST_DEATHS = 3
"""A shard whose worker dies so often is given up: it is the shard that kills them, or there is no memory for it."""


def run_here(worker: ShardWorker, tasks: Iterable[Task]) -> Generator[tuple[Task, Parts]]:
    """Tasks one after another in this process."""
    for task in tasks:
        yield task, worker(task)


def run_processes(job: Job, tasks: Iterable[Task], workers: int) -> Generator[tuple[Task, Parts]]:
    """Tasks by processes, each with networks of its own, in the order in which they are done.

    A process that is lost is replaced and its task given out again. If this process is lost, the others find their
    pipes closed and end.

    Raises:
        DataError, UsageError: of a worker; or a task ended its worker three times.
    """
    waiting = iter(tasks)
    deaths: dict[int, int] = {}
    staff: dict[Connection, _Worker] = {}
    try:
        for index in range(workers):
            worker = _Worker(job, index, workers)
            staff[worker.pipe] = worker
            worker.give(next(waiting, None))
        while any(worker.task for worker in staff.values()):
            for pipe in wait([pipe for pipe, worker in staff.items() if worker.task]):
                worker = staff[pipe]  # type: ignore[index]
                task = worker.task
                assert task is not None
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):  # killed; by its pipe it is known at once
                    deaths[task.number] = deaths.get(task.number, 0) + 1
                    if deaths[task.number] >= _MOST_DEATHS:
                        raise DataError(
                            f"shard {task.number} ended its worker {_MOST_DEATHS} times ({worker.cause()}); "
                            "is there memory for so many workers?"
                        ) from None
                    del staff[worker.pipe]
                    worker.close()
                    replacement = _Worker(job, worker.index, workers)
                    staff[replacement.pipe] = replacement
                    replacement.give(task)
                    continue
                if isinstance(answer, Exception):
                    raise answer
                worker.give(next(waiting, None))  # before its result is stored, so that it does not wait
                yield task, answer
    finally:
        for worker in staff.values():
            worker.close()


class _Worker:
    """A process with a pipe: tasks in, results or an error out."""

    def __init__(self, job: Job, index: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share CUDA and the threads of torch
        self.index, self.task = index, None  # type: tuple[int, Task | None]
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, job, index, workers), daemon=True)
        self._process.start()
        theirs.close()  # the process has its own copy, so its end closes the pipe

    def give(self, task: Task | None) -> None:
        self.task = task
        if task is not None:
            with contextlib.suppress(OSError):  # it is dead already; so says the next attempt to read from it
                self.pipe.send(task)

    def cause(self) -> str:
        self._process.join(5)
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _work(pipe: Connection, job: Job, index: int, workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    try:
        pin(index, workers)
        tune_malloc()
        worker: Any = ShardWorker(job)
    except (DataError, UsageError) as error:
        worker = error
    try:
        while True:
            task = pipe.recv()
            try:
                if isinstance(worker, Exception):
                    raise worker
                answer: object = worker(task)
            except (DataError, UsageError) as error:
                answer = error
            pipe.send(answer)
    except (EOFError, OSError):
        return  # the first process has what it wants, or is gone


def pin(index: int, workers: int) -> None:
    """Give this process its share of the machine: one GPU where there are any, and its part of the cores.

    Call it before torch is used.
    """
    import torch

    gpus = torch.cuda.device_count()
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index % gpus]
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        mine = cores[index % len(cores) :: workers] or cores
        os.sched_setaffinity(0, mine)
        torch.set_num_threads(len(mine))
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
