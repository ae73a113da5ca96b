"""Writing pictures beside the work that makes them."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from ..data.images import write_png

_WAITING = 128
_WAITING_BYTES = 64 * 2**20


class OrderedWorker:
    """One thread that does jobs in order behind the caller.

    Its queue is bounded, so that slow work slows the caller down and does not fill the memory. Leaving the ``with``
    block waits for all jobs and raises the first error of any.
    """

    def __init__(self, depth: int, most_bytes: float = math.inf) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._depth, self._most_bytes = max(1, depth), most_bytes
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._bytes = 0

    def submit(self, job: Callable[[], None], size: int = 0) -> None:
        """Queue a job that holds ``size`` bytes. Raises the error of an earlier one."""
        self._waiting.append((self._pool.submit(job), size))
        self._bytes += size
        while self._waiting and (
            self._waiting[0][0].done() or len(self._waiting) > self._depth or self._bytes > self._most_bytes
        ):
            self._wait_for_first()

    def flush(self) -> None:
        """Wait until everything queued is done."""
        while self._waiting:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        future, size = self._waiting.popleft()
        self._bytes -= size
        future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self.flush()


class PictureWriter(OrderedWorker):
    """A thread that encodes and writes PNGs; each appears complete or not at all.

    Encoding is numpy's and zlib's work, which release Python's lock, so one thread keeps up beside the computing: 25 ms
    of one core for a 1024-pixel face (see :func:`fergan.data.images.fast_png`), which takes all cores many times that.
    More threads would only take cores from the network.
    """

    def __init__(self) -> None:
        super().__init__(_WAITING, _WAITING_BYTES)

    def write(self, path: Path, picture: np.ndarray) -> None:
        """Queue a picture, uint8 [H, W, C]. Raises the error of an earlier one."""
        self.submit(partial(write_png, path, picture), picture.nbytes)


_T = TypeVar("_T")


class ReadAhead(Iterator[_T]):
    """The items of an iterator, which a thread of its own computes up to ``depth`` ahead."""

    def __init__(self, items: Iterator[_T], depth: int) -> None:
        self._items, self._queue = items, queue.Queue[Any](max(1, depth))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put((item, None)):
                    break
            else:
                self._put((None, StopIteration()))
        except BaseException as error:  # it belongs to whoever takes the items
            self._put((None, error))
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> _T:
        item, error = self._queue.get()
        if error is not None:
            self._queue.put((None, error))  # asked again, it ends again
            raise error
        return item

    def close(self) -> None:
        self._closed.set()
        self._thread.join()


def until(items: Iterator[_T], stop: threading.Event) -> Iterator[_T]:
    for item in items:
        if stop.is_set():
            return
        yield item
