"""Do ACC, PACC and EM agree, as they must if labels and confidences both carry over from the validation faces?

All three estimate the same shares if a face of an expression is answered here as on validation faces: ACC from the
labels, PACC and EM from the confidences as well. If labels carry over and confidences do not, ACC holds and the others
do not; the difference between them shows it (a test of Hausman's kind, 1978, Econometrica 46:1251). Differences are
taken without the constraint that shares lie in 0..1, which would hide them, and are judged by joint draws: one draw of
faces and of validation faces for all three methods.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from .prevalence import Validation, method_outputs

_DRAWS = 499
_BATCH = 100  # draws at a time


@dataclass(frozen=True)
class Agreement:
    """The test: `statistic` is the squared Mahalanobis length of PACC - ACC and EM - ACC together."""

    statistic: float
    p_value: float


def agreement_test(
    probabilities: ArrayLike, validation: Validation, shares: ArrayLike, *, draws: int = _DRAWS, seed: int = 0
) -> Agreement:
    """Test whether ACC, PACC and EM differ by more than luck.

    Args:
        probabilities: [N, K] on the faces in question.
        validation: labelled faces, answered by the same classifier.
        shares: the ACC shares [K], by which faces are drawn from the validation faces under the null.
        draws: of the joint bootstrap; EM's calibration and weights are not found anew.
        seed: of the draws; the same inputs and seed give the same p-value.

    Raises:
        ValueError: shapes that do not fit, or a class without validation faces.
    """
    rng = np.random.default_rng(seed)
    labels, n = np.asarray(validation.labels, np.int64), len(np.asarray(probabilities))
    found = [method_outputs(method, probabilities, validation) for method in ("ACC", "PACC", "EM")]
    k = len(found[0].mean)
    outputs = np.concatenate([one.validation for one in found], axis=1).astype(np.float64)  # [M, 3K]
    per_class = np.bincount(labels, minlength=k)
    wanted = np.asarray(shares, np.float64)[labels] / per_class[labels]
    members = [np.flatnonzero(labels == c) for c in range(k)]

    def differences(means: Floats, matrices: Floats) -> Floats:
        """PACC - ACC and EM - ACC, [B, 2K], from mean outputs [B, 3K] and matrices [B, 3K, K]."""
        parts = [
            (np.linalg.pinv(matrices[:, part]) @ means[:, part, None])[:, :, 0]
            for part in (slice(0, k), slice(k, 2 * k), slice(2 * k, 3 * k))
        ]
        return np.concatenate([parts[1] - parts[0], parts[2] - parts[0]], axis=1)

    drawn = []
    for start in range(0, draws, _BATCH):
        size = min(_BATCH, draws - start)
        faces = rng.multinomial(n, wanted / wanted.sum(), size)
        matrices = np.empty((size, 3 * k, k))
        for c, rows in enumerate(members):
            weights = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size)
            matrices[:, :, c] = weights @ outputs[rows] / len(rows)
        drawn.append(differences(faces @ outputs / n, matrices))
    null = np.concatenate(drawn)
    matrix = np.concatenate([outputs[rows].mean(axis=0)[:, None] for rows in members], axis=1)
    seen = differences(np.concatenate([one.mean for one in found])[None], matrix[None])
    # the differences sum to 0 for each method, so their covariance has no inverse
    inverse = np.linalg.pinv(np.cov(null.T), hermitian=True, rcond=1e-8)
    lengths = np.einsum("bi,ij,bj->b", null, inverse, null)
    statistic = float((seen @ inverse @ seen.T)[0, 0])
    return Agreement(statistic, float((1 + (lengths >= statistic).sum()) / (1 + draws)))
