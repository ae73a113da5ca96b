"""Writing pictures beside the work that makes them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from ..data.images import write_png

_WAITING = 128


class PictureWriter:
    """A thread that encodes and writes PNGs; each appears complete or not at all.

    The queue is bounded, so a slow disk slows the caller down and does not fill the memory. Leaving the ``with`` block
    waits for all pictures and raises the first error of any.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: list[Future[None]] = []

    def write(self, path: Path, picture: np.ndarray) -> None:
        """Queue a picture, uint8 [H, W, C]. Raises the error of an earlier one."""
        self._pending.append(self._pool.submit(write_png, path, picture))
        if len(self._pending) >= _WAITING:
            self._wait(self._pending[: _WAITING // 2])
            del self._pending[: _WAITING // 2]

    def flush(self) -> None:
        """Wait until everything queued is on disk."""
        self._wait(self._pending)
        self._pending.clear()

    @staticmethod
    def _wait(futures: list[Future[None]]) -> None:
        for future in futures:
            future.result()

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self.flush()
