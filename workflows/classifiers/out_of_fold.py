"""Predictions on labelled faces by models that did not see them: what confident learning needs."""

from __future__ import annotations

import numpy as np

from ...classify.classifier import load_classifier
from ...data.audit.duplicates import exact_groups
from ...data.face_set import FaceSet
from ...runtime.errors import DataError, counted

_FOLDS = 5


def out_of_fold(faces: FaceSet, model: str | None = None, seed: int = 0) -> np.ndarray:
    """Cross-validated logistic regression on a classifier's features: float64 [N, K], in the order of ``label_names``.

    Faces of the same pixels are in one fold. The features themselves may have been learnt from these faces: on the
    Training rows of FER2013 the bundled classifier is then surer of given labels than a stranger would be, and fewer of
    them look wrong. Predictions of networks trained by folds are better, if there is time for them.

    Args:
        faces: with at least 5 rows of each label.
        model: a classifier's name or file; None for the default.
        seed: of the 5 parts; each is judged by a regression fitted on the others.

    Raises:
        DataError: a label has too few rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(faces.labels, minlength=len(faces.label_names))
    if counts.min() < _FOLDS:
        rare = faces.label_names[counts.argmin()]
        raise DataError(f"{rare} has {counted(int(counts.min()), 'face')}; {_FOLDS} folds need that many of each label")
    features = load_classifier(model).features(faces.images)
    probabilities = np.zeros((len(faces), len(faces.label_names)))
    parts = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for fitted, judged in parts.split(features, faces.labels, exact_groups(faces.images)):
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        regression.fit(features[fitted], faces.labels[fitted])
        columns = regression.classes_.astype(int)
        probabilities[judged[:, None], columns] = regression.predict_proba(features[judged])
    return probabilities
