"""OpenCV, imported once and safely, keeping its own messages to itself."""

from __future__ import annotations

import importlib
import os
import threading
from contextlib import suppress
from typing import Any

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
