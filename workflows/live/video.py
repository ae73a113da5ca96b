"""Films in and out through OpenCV: frames with their times, and a file that appears complete or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, temporary_path, utf8_text
from ...runtime.opencv import opencv

FPS = 25.0
"""Frames a second where a source does not know its own."""


class VideoSource:
    """A film or a camera, frame by frame.

    Attributes:
        name: of the file; ``camera 0``.
        live: a camera or a stream, which has no end of its own.
        width, height: of the first frame, upright: rotation that the container notes is applied.
        fps: mean frames a second.
        total: frames, as the container says; None where it does not.
        complaint: after the last frame, what went wrong before the end; None where nothing did.

    Raises:
        DataError: there is no such camera or file, or nothing in it can be decoded.
    """

    def __init__(self, source: str) -> None:
        cv2 = opencv()
        self._cv2 = cv2
        self.complaint: str | None = None
        camera = source.isdecimal()
        self.live = camera or "://" in source
        self.name = f"camera {source}" if camera else source if self.live else utf8_text(Path(source).name)
        label = printable(f"camera {source}" if camera else source)
        if camera:
            _check_camera(int(source))
            self._capture = cv2.VideoCapture(int(source))
        else:
            if not self.live and not Path(source).is_file():
                raise DataError(
                    f"{label}: there is no such file; give a film, a folder, a picture or a camera's number"
                )
            self._capture = cv2.VideoCapture(source if self.live else _reachable(Path(source)), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DataError(f"{label}: " + ("cannot be opened" if camera else "is no film that OpenCV can read"))
        self._first = self._read()
        if self._first is None:
            self._capture.release()
            raise DataError(f"{label}: not one frame of it can be decoded; it is damaged or in an unknown format")
        self._time = self._position()
        self.height, self.width = self._first.shape[:2]
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 0.1 <= fps <= 1000 else FPS
        total = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.total = int(total) if not self.live and math.isfinite(total) and 0 < total < 2**40 else None

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds, uint8 [H, W, 3] RGB) of every frame, once.

        Seconds are the container's, which need not be evenly spaced, or the clock's for what is live; they never go
        back. The size may change on the way.
        """
        started, before, count = time.monotonic(), 0.0, 0
        frame: np.ndarray | None = self._first
        while frame is not None:
            seconds = time.monotonic() - started if self.live else self._time
            if count and not self.live and seconds <= before:  # no timestamps, or damaged ones
                seconds = before + 1 / self.fps
            yield seconds, self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
            before, count = seconds, count + 1
            frame = self._read()
            self._time = self._position()
        if self.total is not None and self.total - count > max(2, 0.02 * self.total):  # some containers only estimate
            self.complaint = f"{self.name}: ends after {count} of {self.total} frames: the rest cannot be decoded"

    def close(self) -> None:
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        try:
            good, frame = self._capture.read()
        except self._cv2.error:
            return None
        if not good or frame is None or frame.size == 0:
            return None
        return frame if frame.ndim == 3 else self._cv2.cvtColor(frame, self._cv2.COLOR_GRAY2BGR)

    def _position(self) -> float:
        """Seconds of the frame just read."""
        milliseconds = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))
        return milliseconds / 1000 if math.isfinite(milliseconds) else 0.0


def _check_camera(number: int) -> None:
    """On Linux, whether there is such a camera at all."""
    if not sys.platform.startswith("linux") or Path(f"/dev/video{number}").exists():
        return
    there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    known = f"there is: {', '.join(there)}" if there else "this machine has none"
    raise DataError(f"camera {number}: is not there ({known}); give another number, or a film")


@cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fergan-")


def _reachable(path: Path) -> str:
    """A name of a file or folder that OpenCV can take: its process ends by a fault on one that is not UTF-8."""
    if utf8_text(str(path)) == str(path):
        return str(path)
    link = Path(_links().name, hashlib.sha256(bytes(path.absolute())).hexdigest())
    if not link.is_symlink():
        link.symlink_to(path.absolute())
    return str(link)


class VideoFile:
    """An mp4 (MPEG-4 Part 2) in the making: it gets its name when it is complete.

    Leaving the ``with`` block finishes it; after an error nothing is left behind. A frame of another size than the
    first is fitted into that, with black beside it.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._cv2 = opencv()
        self._path, self._frames = path, 0
        self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # the encoder takes even sides only
        self._temporary = temporary_path(path, ".mp4")
        self._place = f"{_reachable(path.parent)}/{self._temporary.name}"
        fourcc = self._cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = self._cv2.VideoWriter(self._place, self._cv2.CAP_FFMPEG, fourcc, fps, self._size)
        if not self._writer.isOpened():
            self._temporary.unlink(missing_ok=True)
            raise DataError(f"{printable(path)}: OpenCV can write no mp4 here (no codec, or no right to the folder)")

    def write(self, picture: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB."""
        width, height = self._size
        if picture.shape[:2] != (height, width):
            picture = self._fitted(picture)
        self._writer.write(self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))
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
                os.replace(self._temporary, self._path)
        except OSError as failure:
            raise DataError(f"{printable(self._path)}: cannot be written ({failure.strerror})") from failure
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


class Window:
    """A window that shows frames, for OpenCV builds that have one.

    Raises:
        UsageError: this OpenCV has no windows, or there is no screen.
    """

    def __init__(self, title: str) -> None:
        self._cv2, self._title = opencv(), title
        screen = not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        try:
            if not screen:
                raise OSError("no screen")
            self._cv2.namedWindow(title)
        except (OSError, self._cv2.error, AttributeError) as error:
            raise UsageError(
                "--show: there is no screen here, or OpenCV came without windows (opencv-python-headless; "
                "opencv-python has them); leave it out and give --out"
            ) from error

    def show(self, picture: np.ndarray) -> bool:
        """Show a frame, uint8 [H, W, 3] RGB; False once the person pressed q or Escape."""
        self._cv2.imshow(self._title, self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))
        return (self._cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)

    def close(self) -> None:
        self._cv2.destroyAllWindows()
