"""Rows of several requests, run together: a network is given batches of one size, full or not."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from .refusal import Refusal
from .tensors import Signature, Tensors

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    """The rows of one request. ``taken`` of them are, or were, on their way through the network."""

    signature: Signature
    inputs: Tensors
    rows: int
    answer: asyncio.Future[Tensors]
    taken: int = 0
    parts: dict[int, Tensors] = field(default_factory=dict)
    """Outputs by their first row; batches may be done in another order than they were taken."""
    done: int = 0

    @property
    def left(self) -> int:
        return self.rows - self.taken


@dataclass(frozen=True)
class _Slice:
    job: _Job
    start: int
    stop: int

    def inputs(self) -> Tensors:
        if self.stop - self.start == self.job.rows:
            return self.job.inputs
        return {key: array[self.start : self.stop] for key, array in self.job.inputs.items()}


class Batcher:
    """Runs the requests of one model. All of it but the network itself happens in the event loop's thread.

    As many batches are on their way at once as there are workers. A request of many rows takes turns with those behind
    it, a batch at a time. In a batch, a request that makes the network fail does not spoil the others: each is then
    run alone.

    Args:
        executor: has a thread for each worker.
        workers: batches at once.
        max_batch: rows at once.
        wait: seconds that an unfilled batch waits for more.
        max_queue: waiting rows from which on requests are refused.
        observe: told the rows of each batch.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        workers: int,
        max_batch: int,
        wait: float,
        max_queue: int,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._executor, self._max_batch, self._wait, self._max_queue = executor, max_batch, wait, max_queue
        self._observe = observe
        self._waiting: deque[_Job] = deque()
        self.queued = 0
        self._arrived = asyncio.Event()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(workers)]

    async def run(self, signature: Signature, inputs: Tensors) -> Tensors:
        """The outputs of a signature; array for array the rows belong together.

        Raises:
            Refusal: too much is waiting, or the model fails.
        """
        if self.queued >= self._max_queue:
            raise Refusal(
                "The batch scheduling queue to which this task was submitted is full; try again in a second",
                "UNAVAILABLE",
                retry_after=1,
            )
        rows = len(next(iter(inputs.values()))) if signature.batched else 1
        job = _Job(signature, inputs, rows, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self.queued += rows
        self._arrived.set()
        try:
            return await job.answer
        finally:
            if job in self._waiting:  # given up while it waited
                self._waiting.remove(job)
                self.queued -= job.left

    def close(self) -> None:
        """To be called when no request is left."""
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self.queued < self._max_batch:
                await asyncio.sleep(self._wait)
            batch = self._take()
            if not self._waiting:
                self._arrived.clear()
            if batch:
                await self._apply(batch)

    def _take(self) -> list[_Slice]:
        """The next rows, of requests with the same signature and the same sizes of a row."""
        batch: list[_Slice] = []
        free, passed = self._max_batch, []
        while self._waiting and free:
            job = self._waiting.popleft()
            if batch and not _alike(batch[0].job, job):
                passed.append(job)
                if not job.signature.batched or len(passed) > 16:
                    break
                continue
            count = min(job.left, free)
            batch.append(_Slice(job, job.taken, job.taken + count))
            job.taken += count
            free -= count
            self.queued -= count
            if job.left:
                self._waiting.append(job)  # to the end: the others come first
                break
            if not job.signature.batched:
                break
        self._waiting.extendleft(reversed(passed))
        return batch

    async def _apply(self, batch: list[_Slice]) -> None:
        loop = asyncio.get_running_loop()
        try:
            parts = await loop.run_in_executor(self._executor, _run, batch)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._apply([one])
                return
            self._fail(batch[0].job, error)
            return
        self._observe(sum(one.stop - one.start for one in batch))
        for one, outputs in zip(batch, parts, strict=True):
            job = one.job
            job.parts[one.start] = outputs
            job.done += one.stop - one.start
            if job.done == job.rows and not job.answer.done():
                job.answer.set_result(_joined([job.parts[start] for start in sorted(job.parts)]))

    def _fail(self, job: _Job, error: Exception) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self.queued -= job.left
        if not isinstance(error, Refusal):
            _log.error("the model failed on a request", exc_info=error)
            error = Refusal(f"The model failed: {type(error).__name__}", "INTERNAL")
        if not job.answer.done():
            job.answer.set_exception(error)


def _alike(first: _Job, second: _Job) -> bool:
    return (
        first.signature is second.signature
        and first.signature.batched
        and all(array.shape[1:] == second.inputs[key].shape[1:] for key, array in first.inputs.items())
    )


def _run(batch: Sequence[_Slice]) -> list[Tensors]:
    """In a thread of the network's: the outputs of each slice."""
    signature = batch[0].job.signature
    inputs = [one.inputs() for one in batch]
    if len(batch) == 1:
        return [signature.run(inputs[0])]
    together = {key: np.concatenate([part[key] for part in inputs]) for key in signature.inputs}
    outputs = signature.run(together)
    bounds = np.cumsum([one.stop - one.start for one in batch])[:-1]
    split = {key: np.split(array, bounds) for key, array in outputs.items()}
    return [{key: parts[index] for key, parts in split.items()} for index in range(len(batch))]


def _joined(parts: list[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
