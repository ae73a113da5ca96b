"""Teachers of classifiers; their answers on the training faces are computed once and kept beside the training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...classify.classifier import Classifier, load_classifier
from ...classify.evaluation.views import predict_views
from ...data.face_set import FaceSet, role
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, npz_bytes, read_npz, write_atomically

FILE = "teacher.npz"
_PART = 2048


def load_teacher(teacher: str, labels: Sequence[str], device: str = "auto") -> Classifier:
    """A classifier's name or file, as it judges 48x48 faces.

    Raises:
        DataError: it cannot be opened.
        UsageError: it has other labels.
    """
    classifier = load_classifier(teacher, device=device, view="48")
    if tuple(classifier.labels) != tuple(labels):
        raise UsageError(
            f"--teacher {teacher}: tells {', '.join(classifier.labels)} apart, but the data hold {', '.join(labels)}"
        )
    return classifier


def teacher_probabilities(
    faces: FaceSet,
    folder: Path,
    teacher: Classifier,
    *,
    views: str = "single",
    show: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Judge the training rows by another classifier: float32 [N, K], zero for other rows.

    What a stopped call has done is taken from the folder.

    Args:
        faces: N rows; only those for training are judged.
        folder: receives ``teacher.npz``.
        teacher: with the labels of the faces.
        views: one of :data:`fergan.classify.evaluation.views.VIEWS`.
    """
    rows = np.flatnonzero(role(faces.usage) == "train")
    digest = hashlib.sha256(faces.images[rows].tobytes())
    digest.update(f"{teacher.sha256} {views}".encode())
    path, key = folder / FILE, digest.hexdigest()
    answers = np.zeros((len(faces), len(faces.label_names)), np.float32)
    done = _read(path, key, answers, rows)
    for start in range(done, len(rows), _PART):
        part = rows[start : start + _PART]
        answers[part] = predict_views(teacher, faces.images[part], views)
        done = start + len(part)
        make_folder(folder)
        write_atomically(path, npz_bytes(key=np.array(key), probabilities=answers[rows[:done]]))
        if show:
            show(done, len(rows))
    return answers


def _read(path: Path, key: str, answers: np.ndarray, rows: np.ndarray) -> int:
    """Fill in what the file holds of this teacher on these faces; returns how many rows that is."""
    try:
        stored = read_npz(path)
        if str(stored["key"]) != key:
            return 0
        found = stored["probabilities"]
    except (DataError, KeyError):
        return 0
    if found.ndim != 2 or found.shape[1] != answers.shape[1] or len(found) > len(rows) or not np.isfinite(found).all():
        return 0
    answers[rows[: len(found)]] = found
    return len(found)
