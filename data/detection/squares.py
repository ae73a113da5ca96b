"""Squares in pictures: the part of a face that a classifier should see, and the centre of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .face import Face


def centre_square(width: int, height: int) -> tuple[int, int, int]:
    """The largest square about the centre of a picture, rounded towards the top left: x, y, side."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def face_squares(faces: Sequence[Face], width: int, height: int, enlarge: float) -> np.ndarray:
    """The parts of a picture that a classifier should see: squares about the faces, inside the picture.

    They are int64 [N, 3]: x, y and side (at least 1) in whole pixels.

    FER2013 was cut out by OpenCV's frontal detector, so its square, enlarged as for the crop ``detect``
    (:data:`.cascades.HAAR_ENLARGE`), frames a face as the training faces are framed.
    """
    squares = np.empty((len(faces), 3), np.int64)
    for row, face in enumerate(faces):
        side = max(1, min(round(max(face.width, face.height) * enlarge), width, height))
        x = round(face.x + face.width / 2 - side / 2)
        y = round(face.y + face.height / 2 - side / 2)
        squares[row] = min(max(x, 0), width - side), min(max(y, 0), height - side), side
    return squares
