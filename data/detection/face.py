"""A detected face, the interface of all detectors, and what their implementations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ...runtime.opencv import opencv

WINDOW = 24
"""Side in pixels of the smallest face in the picture that is searched: what OpenCV's cascades were trained on."""


class Face(NamedTuple):
    """A detected face.

    Attributes:
        x, y, width, height: its box in pixels of the picture (x to the right, y down, origin at the top left).
        score: of the detector. yunet: its confidence, 0 to 1. Cascades: how many of their windows agree, 1 or more.
    """

    x: float
    y: float
    width: float
    height: float
    score: float


class FaceDetector(Protocol):
    """The interface of detectors. One thread at a time: they keep state while they search.

    Attributes:
        name: ``haar``, ``lbp``, ``yunet``, or the name of a file.
        enlarge: how much larger than the box the square is that a classifier should see
            (:func:`.squares.face_squares`).
        quick: a search of the whole picture costs little enough to be done for every frame of a film.
    """

    name: str
    enlarge: float
    quick: bool

    def find(self, picture: np.ndarray) -> list[Face]:
        """All faces in a picture, uint8 [H, W, 3] RGB, the largest first."""
        ...

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        """The faces at about the places and sizes of ``boxes``: cheaper than :meth:`find`; at most one for each."""
        ...


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (a.width * a.height + b.width * b.height - across * down)


def scaled(face: Face, scale: float) -> Face:
    return Face(face.x / scale, face.y / scale, face.width / scale, face.height / scale, face.score)


def largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.width * face.height, face.x, face.y))


def shrunk(picture: np.ndarray, shorter: float) -> tuple[np.ndarray, float]:
    """A picture whose shorter side has at most so many pixels, and what its coordinates are divided by to go back."""
    height, width = picture.shape[:2]
    scale = min(1.0, shorter / min(height, width))
    if scale == 1.0:
        return picture, 1.0
    cv2 = opencv()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale
