"""YuNet: a small convolutional network that OpenCV runs, fetched once and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...runtime.cache import cache_folder
from ...runtime.downloads import Remote, download
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from ...runtime.opencv import opencv
from .face import WINDOW, Face, largest_first, scaled, shrunk

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Checksum in the Git LFS pointer of opencv/opencv_zoo. Licence of the file: MIT."""


def yunet_path() -> Path:
    """The path of YuNet's file in the cache."""
    return cache_folder() / YUNET_FILE


def fetch_yunet() -> Path:
    """YuNet's file, downloaded if it is not there yet (0.2 MB), and checked.

    Raises:
        DataError: it cannot be downloaded, or is not the file that OpenCV publishes.
    """
    notice = "YuNet is published by opencv/opencv_zoo under the licence MIT"
    note = {"url": YUNET_URL, "licence": "MIT"}
    remote = Remote("yunet", "network", YUNET_URL, notice, note, (b"\x08",), 2**20, YUNET_SHA256)
    try:
        return download(remote, yunet_path())
    except DataError as error:
        raise DataError(f"{error}; or choose another detector: haar comes with fergan") from error


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
            raise DataError(f"{printable(path)}: is not a YuNet that OpenCV can run; fetch {YUNET_URL}") from error

    def find(self, picture: np.ndarray) -> list[Face]:
        small, scale = shrunk(picture, self._side)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(np.ascontiguousarray(small[:, :, ::-1]))  # it was trained on BGR
        rows = np.empty((0, 15)) if rows is None else rows
        faces = [Face(row[0], row[1], row[2], row[3], row[14]) for row in rows.tolist()]
        return largest_first([scaled(face, scale) for face in faces if face.width > 0 and face.height > 0])

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        return self.find(picture)
