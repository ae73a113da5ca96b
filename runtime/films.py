"""Films written through OpenCV: a file appears complete or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np

from .errors import DataError
from .files import printable, temporary_path, utf8_text, writing
from .opencv import opencv


@cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fergan-")


def reachable(path: Path) -> str:
    """A name of a file or folder that OpenCV can take: its process ends by a fault on one that is not UTF-8."""
    if utf8_text(str(path)) == str(path):
        return str(path)
    link = Path(_links().name, hashlib.sha256(bytes(path.absolute())).hexdigest())
    if not link.is_symlink():
        link.symlink_to(path.absolute())
    return str(link)


class VideoFile:
    """An mp4 in the making: it gets its name when it is complete.

    Leaving the ``with`` block finishes it; after an error nothing is left behind. A frame of another size than the
    first is fitted into that, with black beside it. The first of ``codecs`` that OpenCV has here is used: ``mp4v`` is
    MPEG-4 Part 2, and browsers play ``vp09``.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, codecs: tuple[str, ...] = ("mp4v",)) -> None:
        self._cv2 = opencv()
        self._path, self._frames = path, 0
        self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # the encoder takes even sides only
        self._temporary = temporary_path(path, ".mp4")
        self._place = f"{reachable(path.parent)}/{self._temporary.name}"
        for codec in codecs:
            fourcc = self._cv2.VideoWriter.fourcc(*codec)
            self._writer = self._cv2.VideoWriter(self._place, self._cv2.CAP_FFMPEG, fourcc, fps, self._size)
            if self._writer.isOpened():
                break
        else:
            self._temporary.unlink(missing_ok=True)
            raise DataError(f"{printable(path)}: OpenCV can write no mp4 here (no codec, or no right to the folder)")

    def write(self, picture: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB or [H, W, 1] gray."""
        width, height = self._size
        if picture.shape[:2] != (height, width):
            picture = self._fitted(picture)
        colours = self._cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else self._cv2.COLOR_GRAY2BGR
        self._writer.write(self._cv2.cvtColor(picture, colours))
        self._frames += 1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        try:
            if kind is None:
                self._check()
                with writing(self._path):
                    os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _check(self) -> None:
        written = self._cv2.VideoCapture(self._place, self._cv2.CAP_FFMPEG)
        try:  # a full disk goes unmentioned by the writer
            complete = written.isOpened() and int(written.get(self._cv2.CAP_PROP_FRAME_COUNT)) == self._frames
        finally:
            written.release()
        if not complete:
            raise DataError(f"{printable(self._path)}: the film came out incomplete; look at the free space")

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        width, height = self._size
        tall, wide = picture.shape[:2]
        if 0 <= tall - height <= 1 and 0 <= wide - width <= 1:  # an odd side loses its last row or column
            return np.ascontiguousarray(picture[:height, :width])
        scale = min(width / wide, height / tall)
        size = max(1, min(width, round(wide * scale))), max(1, min(height, round(tall * scale)))
        canvas = np.zeros((height, width, 3), np.uint8)
        left, top = (width - size[0]) // 2, (height - size[1]) // 2
        canvas[top : top + size[1], left : left + size[0]] = self._cv2.resize(
            picture, size, interpolation=self._cv2.INTER_AREA
        )
        return canvas
