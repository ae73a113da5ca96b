"""OpenCV, imported once and safely, keeping its own messages to itself; and its writers of films for browsers."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FILMS = {".webm": ("VP80",), ".mp4": ("vp09", "mp4v")}
"""Endings of films and the codecs of each, of which the first that this OpenCV has is taken.

Browsers play VP8 and VP9, and VP8 takes a sixth of VP9's time. OpenCV comes without H.264; ``mp4v`` (MPEG-4 Part 2),
the last resort, is for players alone.
"""

_importing = threading.Lock()


def opencv() -> Any:
    """The ``cv2`` module, complete.

    OpenCV replaces itself in ``sys.modules`` while it is imported, so that a second thread that imports it meanwhile
    gets its inner module, which lacks ``cv2.data`` and more: every use in fergan goes through this lock.

    Raises:
        ImportError: it is not installed, or is damaged.
    """
    with _importing:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first film is opened
        cv2 = importlib.import_module("cv2")  # not 'import': its type stubs lack what only some versions have
        with suppress(AttributeError):
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        return cv2


def film_writer(place: str, fps: float, width: int, height: int) -> Any:
    """A ``cv2.VideoWriter`` of a film that browsers play; not open where this OpenCV cannot write it.

    Args:
        place: path of the file, in UTF-8; its ending is one of :data:`FILMS`.
        fps: frames a second.
        width, height: of a frame in pixels, both even.
    """
    cv2 = opencv()
    for codec in FILMS[Path(place).suffix.lower()]:
        with _silence():
            writer = cv2.VideoWriter(place, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if writer.isOpened():
            break
    return writer


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back what OpenCV's C code prints about WebM, which has no tags for codecs."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
