"""Several classifiers that label the same faces of films and pictures; the first is the one whose labels are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...classify.card import GivenRange, View, refuse_for_several
from ...classify.classifier import Classifier, load_classifier
from ...data.faces import Preparation, cut_faces
from ...runtime.errors import UsageError

Crops = dict[Preparation, np.ndarray]
"""The faces of a frame, uint8 [N, *shape], in each way in which a classifier is shown them."""


@dataclass(frozen=True)
class Panel:
    """Classifiers by name, the first one first."""

    judges: dict[str, Classifier]

    @property
    def first(self) -> Classifier:
        return next(iter(self.judges.values()))

    @property
    def remarks(self) -> list[str]:
        """Remarks that a person should read, a line each."""
        return [remark for judge in self.judges.values() for remark in judge.remarks]

    @property
    def more_columns(self) -> list[str]:
        """Columns of the table for all judges but the first: its label, its confidence, and its classes."""
        return [
            f"{name}:{column}"
            for name, judge in list(self.judges.items())[1:]
            for column in ("label", "confidence", *judge.labels)
        ]

    def cut(self, picture: np.ndarray, squares: np.ndarray) -> Crops:
        """The faces in squares of a picture, as each classifier is shown them."""
        wanted = dict.fromkeys(judge.preparation() for judge in self.judges.values())
        return {preparation: cut_faces(picture, squares, preparation) for preparation in wanted}

    def predict(self, frames: Sequence[Crops]) -> list[list[np.ndarray]]:
        """For each frame the probabilities float32 [N, K] of its faces by each judge; all frames in one batch."""
        found = []
        for judge in self.judges.values():
            crops = [frame[judge.preparation()] for frame in frames]
            faces = np.concatenate(crops)
            rows = judge.predict(faces) if len(faces) else np.empty((0, len(judge.labels)), np.float32)
            found.append(np.split(rows, np.cumsum([len(part) for part in crops])[:-1]))
        return [list(rows) for rows in zip(*found, strict=True)]


def open_panel(
    models: Sequence[tuple[str | None, str | None]],
    device: str,
    labels: tuple[str, ...] | None = None,
    input_range: GivenRange | None = None,
    view: View | None = None,
) -> Panel:
    """Open classifiers.

    Args:
        models: (name, source) pairs; a missing name is the model's own, a missing source the default's.
        device, labels, input_range, view: as :func:`fergan.classify.classifier.load_classifier` takes them; labels and
            range of a single model only.

    Raises:
        DataError: a model cannot be used.
        UsageError: two have one name, or labels or a range were given for several.
    """
    if len(models) > 1:
        refuse_for_several(labels, input_range)
    judges: dict[str, Classifier] = {}
    for name, source in models:
        judge = load_classifier(source, device, labels=labels, input_range=input_range, view=view)
        key = name or judge.name
        if key in judges:
            raise UsageError(f"--model: two models are called {key!r}; name them apart: --model NAME=FILE")
        judges[key] = judge
    return Panel(judges)
