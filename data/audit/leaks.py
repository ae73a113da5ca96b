"""Which of the faces that a classifier is judged by are among those it was fitted on."""

from __future__ import annotations

import numpy as np

from ..face_set import FaceSet, role
from .duplicates import exact_groups, near_duplicates


def copies_in_training(faces: FaceSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Which rows show a face that the training rows show too, as the data audit counts them.

    Args:
        faces: N rows; takes a few seconds of one core for 30,000.
        rows: of those in question, bool [N] or int [M]; none of them for training.

    Returns:
        bool [M] each: whether there is a copy, and whether one has the very same pixels. Pictures of one gray have no
        copies. None where ``faces`` have no training rows.
    """
    training = faces.images[role(faces.usage) == "train"]
    if not len(training):
        return None
    judged = faces.images[rows]
    n, images = len(judged), np.concatenate([judged, training])
    copied, exact = np.zeros(n, bool), np.zeros(n, bool)
    groups, pairs = exact_groups(images), near_duplicates(images, between=n)
    copied[pairs.first] = True
    exact[pairs.first[groups[pairs.first] == groups[pairs.second]]] = True
    return copied, exact
