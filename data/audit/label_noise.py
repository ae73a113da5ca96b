"""Likely wrong labels, by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelNoise:
    """The verdict of confident learning on a set of labels.

    Attributes:
        joint: int64 [K, K], the confident joint: rows by given label and confidently predicted one.
        rows: int64 [I], the rows off its diagonal whose own label is less probable, the most doubtful first.
        suggested: int64 [I], the confidently predicted class of each.
        margin: float64 [I], probability of the suggested class less that of the given one.
    """

    joint: np.ndarray
    rows: np.ndarray
    suggested: np.ndarray
    margin: np.ndarray


def find_label_noise(labels: np.ndarray, probabilities: np.ndarray) -> LabelNoise:
    """Count confident predictions against given labels (section 3.1 of the paper, its ``C_confusion``).

    A class's threshold is its mean probability over the rows that carry its label, so a class that a model is timid
    about has a low one. A row counts as the most probable of the classes whose threshold it reaches, and as nothing if
    it reaches none. Rows that count as another class than their label are the issues, but for those whose label is no
    less probable after all.

    Args:
        labels: int64 [N], 0..K-1.
        probabilities: [N, K], out-of-fold: no row may have been seen by the model that judges it.
    """
    n, classes = probabilities.shape
    # the threshold of a class that no row has stays out of reach
    thresholds = np.array(
        [probabilities[labels == k, k].mean() if (labels == k).any() else 2.0 for k in range(classes)]
    )
    reached = np.where(probabilities >= thresholds - 1e-9, probabilities, -1.0)
    confident = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[confident >= 0], confident[confident >= 0]), 1)
    rows = np.flatnonzero((confident >= 0) & (confident != labels))
    margin = probabilities[rows, confident[rows]].astype(np.float64) - probabilities[rows, labels[rows]]
    rows, margin = rows[margin > 0], margin[margin > 0]
    order = np.argsort(-margin, kind="stable")
    return LabelNoise(joint, rows[order], confident[rows][order], margin[order])
