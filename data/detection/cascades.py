"""Viola and Jones' cascades: OpenCV's Haar one, which the crop ``detect`` uses too, and scikit-image's LBP one."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.opencv import opencv
from .face import WINDOW, Face, largest_first, overlap, scaled, shrunk

HAAR = "haarcascade_frontalface_alt2"
"""Finds 1002 of 1004 StyleGAN2 (FFHQ) faces. Of OpenCV's three frontal cascades it erred least on a quarter of them."""

HAAR_ENLARGE = 1.08
"""Its square is enlarged about its centre: the mean face then correlates with FER2013's by 0.930, as found by 0.908."""

LBP_ENLARGE = 1.06
"""Its boxes are 1.02 times as wide as those of haar, in the median over 160 StyleGAN2 faces."""

_NEAR_FACE = 48  # pixels of a face where it is searched for near a known place: sizes are then found to 2 %
_NEAR_SIDE = 1.7  # side of the part that is searched then, in sides of the face


class Cascade:
    """Viola and Jones' detector (2001, doi:10.1109/CVPR.2001.990517), on Haar-like features or binary patterns."""

    quick = False

    def __init__(self, cascade: Any, name: str, enlarge: float, smallest: float) -> None:
        self.name, self.enlarge = name, enlarge
        self._cascade, self._side = cascade, WINDOW / smallest

    def find(self, picture: np.ndarray) -> list[Face]:
        small, scale = shrunk(picture, self._side)
        return largest_first([scaled(face, scale) for face in self._search(small, 1.1, WINDOW, 0)])

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        height, width = picture.shape[:2]
        found: list[Face] = []
        for box in boxes:
            side = max(box.width, box.height)
            reach = side * _NEAR_SIDE / 2
            centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2
            left, top = max(0, math.floor(centre_x - reach)), max(0, math.floor(centre_y - reach))
            right, bottom = min(width, math.ceil(centre_x + reach)), min(height, math.ceil(centre_y + reach))
            if right - left < side / 2 or bottom - top < side / 2:
                continue  # it has left the picture
            part = picture[top:bottom, left:right]
            small, scale = shrunk(part, min(part.shape[:2]) * _NEAR_FACE / side)
            here = self._search(small, 1.05, max(WINDOW, round(side * scale / 1.25)), round(side * scale * 1.25))
            if here:
                best = max(here, key=lambda face: face.score)
                moved = scaled(best, scale)
                face = moved._replace(x=moved.x + left, y=moved.y + top)
                if all(overlap(face, other) < 0.5 for other in found):  # two searches may end at one face
                    found.append(face)
        return found

    def _search(self, picture: np.ndarray, step: float, smallest: int, largest: int) -> list[Face]:
        cv2 = opencv()
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes, counts = self._cascade.detectMultiScale2(
            gray, scaleFactor=step, minNeighbors=3, minSize=(smallest, smallest), maxSize=(largest, largest)
        )
        pairs = zip(np.asarray(boxes).tolist(), np.asarray(counts).tolist(), strict=True)
        return [Face(float(x), float(y), float(w), float(h), float(count)) for (x, y, w, h), count in pairs]


def haar_cascade() -> Any:
    """OpenCV's frontal face cascade.

    Raises:
        UsageError: OpenCV is missing, or too new to have cascades.
    """
    try:
        cv2 = opencv()
        return read_cascade(Path(f"{cv2.data.haarcascades}{HAAR}.xml").read_text(encoding="utf-8"))
    except (ImportError, AttributeError, OSError, ValueError) as error:  # OpenCV 5 has no cascades
        raise UsageError(
            "detector haar and crop 'detect' need the cascade classifier of OpenCV 4, which is not installed; "
            "run: pip install 'opencv-python-headless<5'"
        ) from error


def lbp_cascade() -> Any:
    """The cascade on local binary patterns that comes with scikit-image.

    Raises:
        UsageError: scikit-image is missing.
    """
    try:
        text = Path(importlib.import_module("skimage.data").lbp_frontal_face_cascade_filename()).read_text()
    except (ImportError, AttributeError, OSError) as error:
        raise UsageError(
            "detector lbp needs the cascade that comes with scikit-image; run: pip install 'fergan[annotate]'"
        ) from error
    # In scikit-image's copy of OpenCV's lbpcascade_frontalface.xml a name is misspelt, so that OpenCV refuses it.
    return read_cascade(text.replace("featuhreParams", "featureParams"))


def read_cascade(text: str) -> Any:
    """A cascade classifier from the text of its XML file; ValueError if it is none."""
    cv2 = opencv()
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        cascade = cv2.CascadeClassifier()
        loaded = cascade.read(storage.getFirstTopLevelNode()) and not cascade.empty()
    except (cv2.error, SystemError) as error:
        raise ValueError("it is damaged") from error
    if not loaded:
        raise ValueError("it holds no cascade")
    return cascade
