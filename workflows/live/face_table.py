"""The table that ``fergan annotate`` writes: a row a face and frame."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from ...runtime.files import writing
from .panel import Crops, Panel

COLUMNS = ("source", "frame", "time_s", "track", "x", "y", "width", "height", "score", "label", "confidence")
"""Columns of the table, one row for each face in each frame; a column for each class follows, named by it.

source: name of the film or picture. frame: from 0. time_s: seconds from the film's start, empty for pictures. track:
number of the face, the same for as long as it is followed; pictures number their faces on. x, y, width, height: the
square that was judged, in whole pixels from the top left. score: of the detector
(:class:`fergan.data.detection.face.Face`).
label, confidence: the likeliest class and its probability; these and the probabilities are of this frame alone, not
smoothed. With several classifiers, those of each further one follow: ``NAME:label``, ``NAME:confidence``, its classes.
"""


@dataclass
class Frame:
    """A frame or picture on its way through the threads."""

    name: str
    number: int
    seconds: float | None
    picture: np.ndarray
    squares: np.ndarray
    scores: list[float]
    tracks: list[int]
    crops: Crops
    lost: list[tuple[int, np.ndarray]] = field(default_factory=list)  # followed, but not found here: track and square


class FaceTable:
    """The CSV file: rows go to ``NAME.part``, which is flushed frame by frame and gets its name at the end."""

    def __init__(self, path: Path, panel: Panel) -> None:
        self._path, self._labels = path, [judge.labels for judge in panel.judges.values()]
        self._part = path.with_name(f"{path.name}.part")
        with writing(path):
            self._file = open(self._part, "w", encoding="utf-8", newline="")  # noqa: SIM115  (closed in __exit__)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*COLUMNS, *self._labels[0], *panel.more_columns])

    def write(self, frame: Frame, said: Sequence[np.ndarray]) -> None:
        """Add the faces of a frame; ``said`` are each judge's probabilities [N, K] of them."""
        time = "" if frame.seconds is None else f"{frame.seconds:.3f}"
        faces = zip(frame.tracks, frame.squares.tolist(), frame.scores, *(rows.tolist() for rows in said), strict=True)
        with writing(self._path):
            for track, (x, y, side), score, *rows in faces:
                place = [frame.name, frame.number, time, track, x, y, side, side, f"{score:.3f}"]
                for labels, row in zip(self._labels, rows, strict=True):
                    best = max(range(len(row)), key=row.__getitem__)
                    place += [labels[best], *(f"{value:.6f}" for value in (row[best], *row))]
                self._writer.writerow(place)
            self._file.flush()

    def __enter__(self) -> FaceTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self._path):
            self._file.close()
            if kind is None:
                os.replace(self._part, self._path)
