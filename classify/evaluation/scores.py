"""How good a classifier is, from its answers on labelled faces: pure functions of arrays.

Wherever they appear, ``probabilities`` are float [N, K] with rows that sum to 1, and ``labels`` int [N] in 0..K-1.
Scores of a class without any face are NaN, and means over classes are over those with faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.face_set import confusion_counts

BINS = 15
"""Bins of confidence of the calibration errors, as in Guo et al. 2017 (arXiv:1706.04599)."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, float64 [K] but for ``support``, int64 [K], the faces that have it.

    ``precision`` is 0 for a class that no face was given, as scikit-learn has it.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True)
class Roc:
    """One class against the rest: rates float64 [P] from (0, 0) to (1, 1), and the area under the curve."""

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float


@dataclass(frozen=True)
class Calibration:
    """How well confidences match how often the answer is right.

    Attributes:
        ece, mce: expected and maximum calibration error: the gap between mean confidence and accuracy in equal bins of
            confidence, averaged by the faces in them, and the largest.
        nll: mean negative log-likelihood, in nats.
        brier: mean squared distance of the probabilities from the truth, 0..2 (Brier 1950).
        confidence, accuracy: float64 [B], means in each bin; NaN where it is empty.
        counts: int64 [B]. Bins are (0, 1/B], (1/B, 2/B], ...
    """

    ece: float
    mce: float
    nll: float
    brier: float
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray


def summary(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Number of faces, accuracy, log loss and confusion matrix, as cards hold them."""
    predicted = probabilities.argmax(axis=1)
    likelihood = probabilities[np.arange(len(labels)), labels].clip(1e-12)
    return {
        "n": len(labels),
        "accuracy": round(float((predicted == labels).mean()), 4),
        "log_loss": round(float(-np.log(likelihood).mean()), 4),
        "confusion": confusion_counts(labels, predicted, probabilities.shape[1]).tolist(),
    }


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion matrix [K, K]."""
    right = np.diag(confusion).astype(np.float64)
    support, given = confusion.sum(axis=1), confusion.sum(axis=0)
    missing = np.where(support > 0, 0.0, np.nan)
    return ClassScores(
        precision=np.divide(right, given, out=missing.copy(), where=given > 0) + missing,
        recall=np.divide(right, support, out=missing.copy(), where=support > 0),
        f1=np.divide(2 * right, support + given, out=missing.copy(), where=support > 0),
        support=support,
    )


def accuracy_interval(correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of right answers, as fractions (Wilson 1927, JASA 22:209)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def roc_curve(scores: np.ndarray, positive: np.ndarray) -> Roc:
    """The receiver operating characteristic of scores [N] for a class, bool [N] ``positive``.

    Faces of one score are one step of the curve. All rates are NaN, and so is the area, where one of the two sides is
    empty.
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1]
    true = np.r_[0, np.cumsum(positive)[last]].astype(np.float64)
    false = np.r_[0, 1 + last] - true
    if true[-1] == 0 or false[-1] == 0:
        return Roc(np.full(2, np.nan), np.full(2, np.nan), float("nan"))
    true, false = true / true[-1], false / false[-1]
    return Roc(false, true, float(np.trapezoid(true, false)))


def roc_curves(probabilities: np.ndarray, labels: np.ndarray) -> list[Roc]:
    """Each class against the rest, by its probability."""
    return [roc_curve(probabilities[:, k], labels == k) for k in range(probabilities.shape[1])]


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Calibration of the given answers' confidences; see :class:`Calibration`."""
    p = np.asarray(probabilities, np.float64)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    empty = np.where(counts > 0, 0.0, np.nan)
    mean = np.divide(np.bincount(place, confidence, bins), counts, out=empty.copy(), where=counts > 0)
    accuracy = np.divide(np.bincount(place, right, bins), counts, out=empty.copy(), where=counts > 0)
    gaps = np.abs(accuracy - mean)
    truth = np.eye(p.shape[1])[labels]
    return Calibration(
        ece=float(np.nansum(gaps * counts) / len(p)),
        mce=float(np.nanmax(gaps)),
        nll=float(-np.log(np.maximum(p[np.arange(len(p)), labels], 1e-12)).mean()),
        brier=float(((p - truth) ** 2).sum(axis=1).mean()),
        confidence=mean,
        accuracy=accuracy,
        counts=counts,
    )


def on_common_classes(probabilities: np.ndarray, model_labels: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Probabilities given that one of the ``wanted`` classes is right, float64 [N, len(wanted)], in their order."""
    chosen = np.asarray(probabilities, np.float64)[:, [model_labels.index(name) for name in wanted]]
    total = chosen.sum(axis=1, keepdims=True)
    return np.where(total > 0, chosen / np.where(total > 0, total, 1), 1 / len(wanted))
