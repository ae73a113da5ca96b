"""Which face in a frame is which in the one before, and expressions that do not flicker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.detection.face import Face

PATIENCE = 1.5
"""Seconds for which a face that is not found keeps its number: a blink of the detector, or someone who walks past.

Of 12 trials in which two faces crossed slowly, 11 kept their numbers with this, none with 0.7 s.
"""

_FAR = 0.6  # of a side: how far from where it was expected a face may be found, and in log size how much it may change
_FOLLOW, _STEER = 0.85, 0.35  # shares of an error by which the place and the speed are put right (alpha-beta filter)


@dataclass
class Track:
    """A face over time.

    Attributes:
        number: counted from 1.
        x, y: its centre when last seen, filtered, in pixels; side: of its box.
        vx, vy: its speed in pixels a second.
        seen: when it was last found, in seconds.
        score: of the detector, then.
    """

    number: int
    x: float
    y: float
    side: float
    seen: float
    score: float
    vx: float = 0.0
    vy: float = 0.0

    def at(self, time: float) -> Face:
        """Where it is expected at a later time."""
        x, y = self.x + self.vx * (time - self.seen), self.y + self.vy * (time - self.seen)
        return Face(x - self.side / 2, y - self.side / 2, self.side, self.side, self.score)


class Tracker:
    """Gives the faces of a film numbers that they keep.

    Every face moves at about its last speed and keeps about its size. Faces found are assigned to those expected so
    that the sum of what differs is least (Hungarian method, Kuhn 1955); what is too far from all is new. How faces look
    was tried as well and changed no assignment.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._count = 0

    def expected(self, time: float) -> list[Face]:
        """The boxes of all faces that are followed, at this time."""
        self.tracks = [track for track in self.tracks if time - track.seen <= PATIENCE]
        return [track.at(time) for track in self.tracks]

    def update(self, time: float, faces: Sequence[Face]) -> list[int]:
        """The numbers of the faces found in a frame; ``time`` is in seconds, later than in the call before."""
        expected = self.expected(time)
        taken = _assign(expected, faces)
        numbers = []
        for row, face in enumerate(faces):
            x, y = face.x + face.width / 2, face.y + face.height / 2
            side = max(face.width, face.height)
            if row not in taken:
                self._count += 1
                self.tracks.append(Track(self._count, x, y, side, time, face.score))
                numbers.append(self._count)
                continue
            track, place = self.tracks[taken[row]], expected[taken[row]]
            past = max(time - track.seen, 1e-3)
            off_x, off_y = x - (place.x + place.width / 2), y - (place.y + place.height / 2)
            track.x, track.y = x - off_x * (1 - _FOLLOW), y - off_y * (1 - _FOLLOW)
            track.vx += _STEER * off_x / past
            track.vy += _STEER * off_y / past
            track.side += 0.5 * (side - track.side)
            track.seen, track.score = time, face.score
            numbers.append(track.number)
        return numbers


def _assign(expected: Sequence[Face], faces: Sequence[Face]) -> dict[int, int]:
    """Row of each face found -> index of the face expected."""
    if not expected or not faces:
        return {}
    from scipy.optimize import linear_sum_assignment

    costs = np.full((len(faces), len(expected)), 1e3)
    for row, face in enumerate(faces):
        side = max(face.width, face.height)
        for column, place in enumerate(expected):
            distance = math.hypot(
                face.x - place.x + (face.width - place.width) / 2, face.y - place.y + (face.height - place.height) / 2
            ) / max(side, place.width)
            grown = abs(math.log(side / place.width))
            if distance <= _FAR and grown <= _FAR:
                costs[row, column] = distance + grown
    rows, columns = linear_sum_assignment(costs)
    return {
        row: column for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if costs[row, column] < 1e3
    }


class Smoother:
    """Exponential smoothing of each face's probabilities, with a time constant in seconds.

    After ``constant`` seconds of a new expression 63 % of what is shown is the new one (1 - 1/e), whatever the frame
    rate. 0 smooths nothing.
    """

    def __init__(self, constant: float) -> None:
        self._constant = constant
        self._state: dict[int, tuple[float, np.ndarray]] = {}

    def __call__(self, number: int, time: float, probabilities: np.ndarray) -> np.ndarray:
        """Smoothed probabilities float [K] of face ``number`` with ``probabilities`` [K] at ``time`` in seconds."""
        if number in self._state and self._constant > 0:
            before, shown = self._state[number]
            probabilities = shown + (1 - math.exp(-(time - before) / self._constant)) * (probabilities - shown)
        self._state[number] = time, probabilities
        if len(self._state) > 1000:  # a day in front of a camera
            self._state = {key: value for key, value in self._state.items() if time - value[0] <= PATIENCE}
        return probabilities

    def last(self, number: int) -> np.ndarray | None:
        """The last result for face ``number``."""
        return self._state[number][1] if number in self._state else None
