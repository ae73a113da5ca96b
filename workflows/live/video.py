"""Films, cameras and windows through OpenCV: frames with their times."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, utf8_text
from ...runtime.films import reachable
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
        camera = source.isdecimal() and len(source) < 10
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
            self._capture = cv2.VideoCapture(source if self.live else reachable(Path(source)), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DataError(f"{label}: " + ("cannot be opened" if camera else "is not a film that OpenCV can read"))
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
    cameras = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    known = f"there is: {', '.join(cameras)}" if cameras else "this machine has none"
    raise DataError(f"camera {number}: is not there ({known}); give another number, or a film")


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
