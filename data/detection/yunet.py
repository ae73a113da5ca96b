"""YuNet: a small convolutional network that OpenCV runs, fetched once and checked."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import platformdirs

from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable, write_atomically
from ...runtime.opencv import opencv
from .face import WINDOW, Face, largest_first, scaled, shrunk

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_BYTES = 232_589
"""Both as in the Git LFS pointer of opencv/opencv_zoo. Licence of the file: MIT."""

_TIMEOUT = 20.0


def yunet_path() -> Path:
    """The path of YuNet's file: in the environment's FERGAN_CACHE, else in ``~/.cache/fergan`` (on Linux)."""
    return Path(os.environ.get("FERGAN_CACHE") or platformdirs.user_cache_dir("fergan")) / YUNET_FILE


def fetch_yunet() -> Path:
    """YuNet's file, downloaded if it is not there yet (0.2 MB), and checked.

    Raises:
        DataError: it cannot be downloaded, or is not the file that OpenCV publishes.
    """
    path = yunet_path()
    by_hand = f"put {YUNET_URL} there by hand, or choose another detector: haar comes with fergan"
    try:
        here = path.is_file()
        if here:
            content = path.read_bytes()
        else:
            with urllib.request.urlopen(YUNET_URL, timeout=_TIMEOUT) as answer:
                content = answer.read(YUNET_BYTES + 1)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{printable(path)}: cannot be fetched ({printable(reason)}); {by_hand}") from error
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        raise DataError(f"{printable(path)}: is not the file that OpenCV publishes (SHA-256 differs); {by_hand}")
    if not here:
        make_folder(path.parent)
        write_atomically(path, content)
    return path


class YuNet:
    """OpenCV's ``FaceDetectorYN``."""

    quick = True
    enlarge = 1.1
    """Its boxes reach from the hairline to the chin and from cheek to cheek. (Chosen by that, not measured.)"""

    def __init__(self, path: Path, name: str, smallest: float) -> None:
        self.name, self._side = name, WINDOW / smallest
        cv2 = opencv()
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=0.7)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except AttributeError as error:
            raise UsageError(
                "detector yunet needs OpenCV 4.8 or later; run: pip install 'opencv-python-headless>=4.8,<5'"
            ) from error
        except cv2.error as error:
            raise DataError(f"{printable(path)}: is no YuNet that OpenCV can run; fetch {YUNET_URL}") from error

    def find(self, picture: np.ndarray) -> list[Face]:
        small, scale = shrunk(picture, self._side)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(np.ascontiguousarray(small[:, :, ::-1]))  # it was trained on BGR
        rows = np.empty((0, 15)) if rows is None else rows
        faces = [Face(row[0], row[1], row[2], row[3], row[14]) for row in rows.tolist()]
        return largest_first([scaled(face, scale) for face in faces if face.width > 0 and face.height > 0])

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        return self.find(picture)
