"""Boxes, labels and probability bars on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.opencv import opencv
from .text import put_text, text_size

COLOURS = (
    (230, 80, 60),
    (120, 170, 60),
    (170, 110, 220),
    (250, 200, 50),
    (80, 150, 240),
    (250, 140, 50),
    (200, 200, 200),
    (60, 200, 190),
)
"""RGB, one for each class in turn."""

Area = tuple[int, int, int, int]  # left, top, right, bottom
_BARS_FROM = 90  # pixels of a box beside which bars can be read


def draw_faces(picture: np.ndarray, faces: Sequence[tuple[int, np.ndarray, np.ndarray]], labels: Sequence[str]) -> None:
    """Draw faces into a picture: box, likeliest class and, beside it where that covers no face, a bar for every class.

    Args:
        picture: uint8 [H, W, 3] RGB; changed.
        faces: of each its number (0 is not shown), its square x, y, side in pixels, and probabilities float [K].
        labels: the K names.
    """
    cv2 = opencv()
    taken = [(x, y, x + side, y + side) for _, (x, y, side), _ in faces]
    for _, (x, y, side), probabilities in faces:
        area = _free_area(picture.shape[1], picture.shape[0], int(x), int(y), int(side), len(labels), taken)
        if area is not None:
            taken.append(area)
            _bars(cv2, picture, area, probabilities, labels)
    for number, (x, y, side), probabilities in faces:
        best = int(np.argmax(probabilities))
        colour = COLOURS[best % len(COLOURS)]
        thick = max(1, round(min(picture.shape[:2]) / 240))
        for width, shade in ((thick + 2, (0, 0, 0)), (thick, colour)):  # edged in black, to be seen on any face
            cv2.rectangle(picture, (int(x), int(y)), (int(x + side) - 1, int(y + side) - 1), shade, width)
        text = f"{number} " if number else ""
        text += f"{labels[best]} {100 * float(probabilities[best]):.0f}%"
        scale = min(max(side / 220, 0.35), max(0.35, picture.shape[0] / 600))
        _text(cv2, picture, text, int(x), int(y) - 4, scale, colour)


def _free_area(width: int, height: int, x: int, y: int, side: int, classes: int, taken: list[Area]) -> Area | None:
    """Where the bars of a face go: right of it, else left, else nowhere."""
    row = max(11, min(side // classes, 22 * max(1, height // 480)))
    wide, high = max(86, min(6 * row, side)), row * classes
    if side < _BARS_FROM or y + high > height:
        return None
    for left in (x + side + 4, x - 4 - wide):
        right, bottom = left + wide, y + high
        if (
            left >= 0
            and right <= width
            and all(right <= a or left >= c or bottom <= b or y >= d for a, b, c, d in taken)
        ):
            return left, y, right, bottom
    return None


def _bars(cv2: Any, picture: np.ndarray, area: Area, probabilities: np.ndarray, labels: Sequence[str]) -> None:
    left, top, right, bottom = area
    picture[top:bottom, left:right] //= 3
    row = (bottom - top) // len(labels)
    for k, (label, share) in enumerate(zip(labels, probabilities, strict=True)):
        upper = top + k * row
        end = left + round(float(share) * (right - left - 1))
        cv2.rectangle(picture, (left, upper + 1), (end, upper + row - 2), COLOURS[k % len(COLOURS)], cv2.FILLED)
        put_text(picture, label, left + 3, upper + row - max(3, row // 4), row / 40, (255, 255, 255), outlined=True)


def _text(cv2: Any, picture: np.ndarray, text: str, x: int, y: int, scale: float, colour: tuple[int, ...]) -> None:
    """A line of black text on a coloured strip, moved inside the picture; ``y`` is its lower edge."""
    wide, high, below = text_size(text, scale)
    x = max(0, min(x, picture.shape[1] - wide - 4))
    y = max(high + below + 2, y)
    cv2.rectangle(picture, (x, y - high - below - 2), (x + wide + 4, y), colour, cv2.FILLED)
    put_text(picture, text, x + 2, y - below, scale, (0, 0, 0), outlined=False)
