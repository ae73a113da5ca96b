"""Films that browsers play, written through OpenCV: a file appears complete or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .errors import DataError
from .files import printable, temporary_path, utf8_text, writing
from .opencv import opencv
from .stderr import silenced

FILMS = {".webm": ("VP80",), ".mp4": ("vp09", "mp4v")}
"""Endings of films and the codecs of each, of which the first that this OpenCV has is taken.

Browsers play VP8 and VP9, and VP8 takes a sixth of VP9's time. OpenCV comes without H.264; ``mp4v`` (MPEG-4 Part 2),
the last resort, is for players alone.
"""


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
    """A .webm or .mp4 in the making: it gets its name when it is complete.

    Leaving the ``with`` block finishes it; after an error nothing is left behind. A frame of another size than the
    first is fitted into that, with black beside it.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._cv2 = opencv()
        self._path, self._frames = path, 0
        self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # the encoder takes even sides only
        self._temporary = temporary_path(path, path.suffix.lower())
        self._place = f"{reachable(path.parent)}/{self._temporary.name}"
        self._writer = film_writer(self._place, fps, *self._size)
        if not self._writer.isOpened():
            self._temporary.unlink(missing_ok=True)
            raise DataError(f"{printable(path)}: OpenCV cannot write it here (no codec, or no right to the folder)")

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
            found = written.get(self._cv2.CAP_PROP_FRAME_COUNT)  # WebM does not count them: from its length
            while found < self._frames and written.grab():  # nor is that told below one frame a second
                found += 1
            complete = written.isOpened() and abs(found - self._frames) <= (self._path.suffix.lower() == ".webm")
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


def film_writer(place: str, fps: float, width: int, height: int) -> Any:
    """A ``cv2.VideoWriter`` of a film that browsers play; not open where this OpenCV cannot write it.

    Args:
        place: path of the file, in UTF-8; its ending is one of :data:`FILMS`.
        fps: frames a second.
        width, height: of a frame in pixels, both even.
    """
    cv2 = opencv()
    for codec in FILMS[Path(place).suffix.lower()]:
        with silenced():  # of what OpenCV prints about WebM, which has no tags for codecs
            writer = cv2.VideoWriter(place, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if writer.isOpened():
            break
    return writer
