"""How far corrected shares depend on the confusion that they are corrected by."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from .confusion import answers_by_class, confusion_matrix, hard_outputs, simplex_least_squares, smoothing_for
from .prevalence import Validation
from .score import score_interval

_TINY = 1e-12


@dataclass(frozen=True)
class SensitivityRow:
    """ACC shares [K] with limits [K], had the classifier made `errors` times as many mistakes."""

    errors: float
    shares: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class SensitivityBand:
    """The corrected shares under other confusions: `low` and `high` [K] hold the intervals of `rows`."""

    rows: tuple[SensitivityRow, ...]
    low: Floats
    high: Floats


def sensitivity_band(
    codes: ArrayLike, validation: Validation, *, errors: Sequence[float] = (0.75, 1.0, 1.25)
) -> SensitivityBand:
    """The union of the 95 % ACC intervals under fewer and under more mistakes than on the validation faces.

    The mistakes are of the same kinds: an `errors` of 1.25 means that a face of any expression is a quarter more often
    mistaken.

    Args:
        codes: labels of the faces in question, int [N] in 0..K-1.
        validation: labelled faces, same classifier and classes.
        errors: factors on the off-diagonal of the confusion matrix; a class never gets more mistakes than faces.

    Raises:
        ValueError: a class without validation faces.
    """
    per_class = answers_by_class(validation.probabilities, validation.labels).sum(axis=0)
    k, labels, smoothing = len(per_class), np.asarray(codes, np.int64), smoothing_for(per_class)
    raw = np.bincount(labels, minlength=k) / labels.size
    matrix = confusion_matrix(hard_outputs(validation.probabilities), validation.labels, smoothing)
    wrong = matrix - np.diag(np.diag(matrix))
    z = NormalDist().inv_cdf(0.975)
    rows = []
    for factor in errors:
        scaled = wrong * np.minimum(factor, 1 / np.maximum(wrong.sum(axis=0), _TINY))
        changed = scaled + np.diag(1 - scaled.sum(axis=0))
        shares = simplex_least_squares(changed, raw)
        # an answer is one-hot, so the mean powers of its votes follow from the matrix
        votes = np.linalg.pinv(changed).T
        squares, cubes = changed.T @ votes**2, changed.T @ votes**3
        low, high = score_interval(changed, raw, squares, cubes, shares, labels.size, per_class + k * smoothing, z)
        rows.append(SensitivityRow(float(factor), shares, low, high))
    return SensitivityBand(
        tuple(rows), np.min([row.low for row in rows], axis=0), np.max([row.high for row in rows], axis=0)
    )
