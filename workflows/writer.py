"""Writing pictures beside the work that makes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..data.images import write_png

_WAITING = 128
_WAITING_BYTES = 64 * 2**20


class PictureWriter:
    """A thread that encodes and writes PNGs; each appears complete or not at all.

    Encoding is numpy's and zlib's work, which release Python's lock, so one thread keeps up beside the computing: 25 ms
    of one core for a 1024-pixel face (see :func:`fergan.data.images.fast_png`), which takes all cores many times that.
    More threads would only take cores from the network.

    The queue is bounded, in pictures and in bytes, so a slow disk slows the caller down and does not fill the memory.
    Leaving the ``with`` block waits for all pictures and raises the first error of any.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._bytes = 0

    def write(self, path: Path, picture: np.ndarray) -> None:
        """Queue a picture, uint8 [H, W, C]. Raises the error of an earlier one."""
        self.submit(picture.nbytes, write_png, path, picture)

    def submit(self, size: int, work: Callable[..., None], *arguments: Any) -> None:
        """Queue any other work on a picture of ``size`` bytes. Raises the error of an earlier one."""
        self._pending.append((self._pool.submit(work, *arguments), size))
        self._bytes += size
        while self._pending and (
            self._pending[0][0].done() or len(self._pending) > _WAITING or self._bytes > _WAITING_BYTES
        ):
            self._wait_for_first()

    def flush(self) -> None:
        """Wait until everything queued is on disk."""
        while self._pending:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        future, size = self._pending.popleft()
        self._bytes -= size
        future.result()

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self.flush()
