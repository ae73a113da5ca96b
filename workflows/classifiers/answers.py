"""A classifier's answers to labelled faces, on the classes that it shares with the data."""

from __future__ import annotations

import time

import numpy as np

from ...classify.classifier import Classifier
from ...classify.evaluation.scores import on_common_classes
from ...classify.evaluation.views import predict_views
from ...data.face_set import FaceSet
from ...data.image_source import ImageSource
from ...data.labels import KNOWN, canonical_label
from ...data.origins import prepared_again
from ...runtime.errors import UsageError
from ..progress import OnProgress, no_progress

_CHUNK = 512  # faces between two reports of progress; a multiple of every network's batch


class Answers:
    """A classifier's answers about the evaluated rows, on the classes that it shares with the data.

    Attributes:
        faces: all of the data.
        rows: int64 [N], the evaluated ones.
        names: the K classes in common, in the order of the data.
        labels: int64 [N], indices into them.
        single: float [N, K], probabilities of the single view.
        left_out: rows of other classes, by name.
        faces_per_second: of the single view.
        model_names: the model's classes in the house spelling, in its order.
        preparation: of the faces that the classifier was shown.
        all_codes: int64, the class of every row of the data; -1 for one that the model does not know.
    """

    def __init__(
        self, classifier: Classifier, faces: FaceSet, rows: np.ndarray, show: OnProgress = no_progress
    ) -> None:
        self.classifier, self.faces, self._show = classifier, faces, show
        self.preparation = classifier.preparation()
        self._sources: dict[str, ImageSource] = {}
        known = tuple(canonical_label(name) for name in classifier.labels)
        _check_labels(known, faces.label_names)
        self.model_names = known
        self.names = tuple(name for name in faces.label_names if name in known)
        place = np.array([self.names.index(name) if name in self.names else -1 for name in faces.label_names])
        codes = place[faces.labels]
        self.all_codes = codes
        lost = np.bincount(faces.labels[rows[codes[rows] < 0]], minlength=len(faces.label_names))
        self.left_out = {name: int(n) for name, n in zip(faces.label_names, lost, strict=True) if n}
        self.rows = rows[codes[rows] >= 0]
        if not len(self.rows):
            raise UsageError("none of the rows to evaluate has a class that the model knows")
        self.labels = codes[self.rows]
        started = time.perf_counter()
        self.single = self.predict(self.rows, "single")
        self.faces_per_second = len(self.rows) / max(time.perf_counter() - started, 1e-9)

    def predict(self, rows: np.ndarray, views: str) -> np.ndarray:
        """float [len(rows), K] on the classes in common."""
        parts = []
        for start in range(0, len(rows), _CHUNK):
            parts.append(predict_views(self.classifier, self.shown(rows[start : start + _CHUNK]), views))
            self._show(min(start + _CHUNK, len(rows)), len(rows))
        probabilities = np.concatenate(parts)
        if set(self.names) == set(self.model_names):
            return probabilities[:, [self.model_names.index(name) for name in self.names]]
        return on_common_classes(probabilities, self.model_names, self.names)

    def shown(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [len(rows), *preparation.shape]: what the classifier is shown of some rows of the data."""
        return prepared_again(self.faces, rows, self.preparation, self._sources)


def _check_labels(model: tuple[str, ...], data: tuple[str, ...]) -> None:
    strange = [name for name in model if name not in KNOWN and name not in data]
    if not set(model) & set(data):
        raise UsageError(
            f"the model's labels ({', '.join(model)}) and the data's ({', '.join(data)}) have none in common; "
            "--labels says what the model's outputs are called"
        )
    if strange:
        raise UsageError(
            f"the model's label {strange[0]!r} is neither one of the data's ({', '.join(data)}) nor one that fergan "
            "knows; --labels says what the model's outputs are called"
        )
