"""How many? Faces, validation faces and answers by people for shares that are known to within a few points."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, Ints


@dataclass(frozen=True)
class Plan:
    """Numbers [K] that bring the interval of each share to +- `target`.

    `faces` are needed with the validation faces there are, infinite where those alone leave more than the target;
    `floor` is that remaining half-width, with endless faces. `validation_factor` is how many times the validation
    faces are needed for half of the allowed variance, the other half left to `faces_then` faces. `answers` by people
    on a plain random sample of faces need no validation faces at all. `half_width` is what the faces there are give.
    """

    target: float
    level: float
    half_width: Floats
    floor: Floats
    faces: Floats
    validation_factor: Floats
    faces_then: Floats
    answers: Ints

    @property
    def answers_at_most(self) -> int:
        """Answers for a share of one half, the hardest: they suffice whatever the shares are."""
        z = NormalDist().inv_cdf(0.5 + self.level / 2)
        return int(np.ceil(0.25 * (z / self.target) ** 2))


def plan(
    classes: Sequence[str],
    confusion: ArrayLike,
    shares: ArrayLike,
    *,
    n: int | None = None,
    target: float = 0.02,
    level: float = 0.95,
) -> Plan:
    """Plan a run whose corrected shares (ACC) are to be known to within `target`.

    With u = M^-1 e_i, the 'unmixed' vote of a face labelled i, the corrected shares are the mean vote. Its variance has
    one part that falls with the number of faces and one that falls with the number of validation faces alone.

    Args:
        classes: K names.
        confusion: validation faces [K, K] by label (row) and true class (column), see
            :func:`fergan.reports.statistics.correction.confusion.answers_by_class`.
        shares: the shares [K] that are expected; equal ones if nothing is known.
        n: faces that there are, for the half-width of today; None before a run, for endless ones.
        target: half the width of an interval, as a fraction: 0.02 is two points.

    Raises:
        ValueError: shapes that do not fit, a target outside (0, 1), a class without validation faces, or classes that
            the classifier cannot tell apart.
    """
    counts, p = np.asarray(confusion, np.float64), np.asarray(shares, np.float64)
    k = len(classes)
    if counts.shape != (k, k) or p.shape != (k,) or not 0 < target < 1:
        raise ValueError(
            f"confusion {counts.shape} and shares {p.shape} do not fit {k} classes, or no target in (0, 1)"
        )
    m = _confusion_rates(classes, counts)
    per_class = counts.sum(axis=0)
    votes = np.linalg.inv(m)  # [class, label]
    square = votes**2 @ m  # mean squared vote for a class (row), over faces of a true class (column)
    of_face = np.maximum(square @ p - p**2, p * (1 - p))
    of_validation = np.maximum(square - np.eye(k), 0) @ (p**2 / per_class)
    allowed = (target / NormalDist().inv_cdf(0.5 + level / 2)) ** 2
    scale = target / np.sqrt(allowed)
    left = allowed - of_validation
    with np.errstate(divide="ignore"):
        faces = np.where(left > 0, np.ceil(of_face / np.where(left > 0, left, 1)), np.inf)
    return Plan(
        target=target,
        level=level,
        half_width=scale * np.sqrt(of_validation + (0 if n is None else of_face / n)),
        floor=scale * np.sqrt(of_validation),
        faces=faces,
        validation_factor=of_validation / (allowed / 2),
        faces_then=np.ceil(of_face / (allowed / 2)),
        answers=np.ceil(np.maximum(p * (1 - p), target * (1 - target)) / allowed).astype(np.int64),
    )


def _confusion_rates(classes: Sequence[str], counts: Floats) -> Floats:
    """How often a face of a class (column) gets a label (row); refuses counts that no shares can be corrected by."""
    per_class = counts.sum(axis=0)
    lacking = [str(name) for name, count in zip(classes, per_class.tolist(), strict=True) if not count]
    if lacking:
        raise ValueError(f"no validation faces for {', '.join(lacking)}")
    rates = counts / per_class
    if np.linalg.matrix_rank(rates) < len(classes):
        raise ValueError("the classifier cannot tell some classes apart, so nothing corrects its shares")
    return rates
