"""How a classifier takes one expression for another, and the shares that this leaves of what it says."""

import numpy as np
from numpy.typing import ArrayLike

from ....data.face_set import confusion_counts
from ..arrays import Floats, Ints

FEW = 50
"""Validation faces of a class: with fewer its column of the confusion matrix is smoothed, and a report warns."""


def hard_outputs(probabilities: ArrayLike) -> Floats:
    """One-hot rows [N, K] of the most probable class; the first one wins a tie."""
    p = np.asarray(probabilities)
    return np.eye(p.shape[1])[p.argmax(axis=1)]


def confusion_matrix(outputs: ArrayLike, labels: ArrayLike, smoothing: ArrayLike = 0.0) -> Floats:
    """The mean output for each true class: M [K, K], `M[i, y] = E[output_i | true class y]`; columns sum to 1.

    Args:
        outputs: [M, K], probabilities or one-hot decisions on validation faces.
        labels: the true classes, int [M].
        smoothing: faces that are added to each cell, one number or one for each class [K]; see :func:`smoothing_for`.

    Raises:
        ValueError: a class without validation faces, for nothing can be said about how it is mistaken.
    """
    p, y = np.asarray(outputs, np.float64), np.asarray(labels, np.int64)
    k = p.shape[1]
    per_class = np.bincount(y, minlength=k)
    if np.any(per_class == 0):
        raise ValueError(f"no validation faces for the classes {np.flatnonzero(per_class == 0).tolist()}")
    extra = np.broadcast_to(np.asarray(smoothing, np.float64), k)
    return (p.T @ np.eye(k)[y] + extra) / (per_class + k * extra)


def answers_by_class(probabilities: ArrayLike, labels: ArrayLike) -> Ints:
    """Validation faces by answer (row) and true class (column): int [K, K], the transpose of a confusion's counts."""
    p = np.asarray(probabilities)
    return confusion_counts(np.asarray(labels), p.argmax(axis=1), p.shape[1]).T


def smoothing_for(per_class: ArrayLike) -> Floats:
    """Half a face [K] for each answer of a class with few faces (a Dirichlet prior of 1/2), none for the others.

    What a dozen faces were never taken for is rare, not impossible; with many faces the prior would only be a bias.
    """
    return np.where(np.asarray(per_class) < FEW, 0.5, 0.0)


def simplex_least_squares(matrix: ArrayLike, target: ArrayLike) -> Floats:
    """The p [K] with p >= 0 and sum 1 that minimises ||matrix @ p - target||.

    Since the entries of p sum to 1, the residual is E p with E = matrix - target 1', and the shortest E p over the
    simplex is the direction of the non-negative least squares solution of [E; 1'] x = [0; 1]: exact, without a penalty.
    (With x = t p the objective is t² ||E p||² + (t - 1)², whose minimum over t grows with ||E p||.)
    """
    from scipy.optimize import nnls

    m, q = np.asarray(matrix, np.float64), np.asarray(target, np.float64)
    system = np.vstack([m - q[:, None], np.ones((1, m.shape[1]))])
    x = nnls(system, np.append(np.zeros(len(q)), 1.0))[0]
    return x / x.sum()
