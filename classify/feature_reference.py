"""``NAME.features.npz`` beside a classifier: where its training faces lie in its features, to tell what is far away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.face_set import FaceSet
from ..runtime.errors import DataError
from ..runtime.files import npz_bytes, printable, read_npz, write_atomically

if TYPE_CHECKING:
    from .classifier import Classifier

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StoredReference:
    """The training faces, and the distances float64 [M] of the validation faces to them."""

    training: FeatureReference
    validation_distances: np.ndarray


def write_feature_reference(model: Path, classifier: Classifier, training: FaceSet, validation: FaceSet) -> None:
    """Write ``NAME.features.npz`` beside a ``.keras`` file; too few training faces for a covariance leave it away.

    Args:
        validation: the faces of its ``NAME.validation.npz``, in the same order.
    """
    try:
        reference = feature_reference(classifier.features(training.images), training.labels)
    except ValueError:  # the report then does without distances
        return
    distances = mahalanobis(classifier.features(validation.images), reference)
    arrays = {"means": reference.means, "whitener": reference.whitener, "validation_distances": distances}
    content = npz_bytes(**{name: array.astype(np.float32) for name, array in arrays.items()})
    write_atomically(_path(model), content)


def read_feature_reference(model: Path) -> StoredReference | None:
    """Read what :func:`write_feature_reference` wrote; None where the classifier comes without it.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(model)
    if not path.exists():
        return None
    advice = "delete it, or train again"
    try:
        stored = read_npz(path, advice)
        means, whitener, distances = (
            stored[name].astype(np.float64) for name in ("means", "whitener", "validation_distances")
        )
        if whitener.shape != (means.shape[1], means.shape[1]) or distances.ndim != 1:
            raise ValueError("its arrays do not fit")
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{printable(path)}: is damaged ({error}); {advice}") from error
    return StoredReference(FeatureReference(means, whitener), distances)


def _path(model: Path) -> Path:
    return model.with_suffix(".features.npz")


@dataclass(frozen=True)
class FeatureReference:
    """Training faces in a classifier's feature space: `means` [K, D] by class, and `whitener` [D, D] with
    `whitener @ whitener.T` the inverse of their shared covariance."""

    means: Floats
    whitener: Floats


def feature_reference(features: ArrayLike, labels: ArrayLike) -> FeatureReference:
    """Class means and shared covariance of training features [M, D] (Lee et al. 2018, arXiv:1807.03888, eq. 1).

    Raises:
        ValueError: fewer faces than would give a covariance, or a class without faces.
    """
    x, y = np.asarray(features, np.float64), np.asarray(labels, np.int64)
    per_class = np.bincount(y)
    if (per_class == 0).any() or len(x) <= x.shape[1] + len(per_class):
        raise ValueError("too few training faces for a covariance, or a class without any")
    means = np.stack([x[y == c].mean(axis=0) for c in range(len(per_class))])
    centred = x - means[y]
    covariance = centred.T @ centred / (len(x) - len(per_class))
    ridge = 1e-6 * np.trace(covariance) / len(covariance)
    root = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
    return FeatureReference(means, np.linalg.inv(root).T)


def mahalanobis(features: ArrayLike, reference: FeatureReference) -> Floats:
    """Distance [N] of features [N, D] to the nearest class mean, in standard deviations of the training faces."""
    x = np.asarray(features, np.float64) @ reference.whitener
    centres = reference.means @ reference.whitener
    squares = (x**2).sum(axis=1)[:, None] - 2 * x @ centres.T + (centres**2).sum(axis=1)
    return np.sqrt(np.maximum(squares.min(axis=1), 0))
