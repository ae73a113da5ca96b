"""Score intervals of shares behind a classifier's confusion."""

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats

_TINY = 1e-12
_STEPS = 32  # of the bisection: limits are found to 1e-9


def score_interval(
    matrix: Floats,
    mean: Floats,
    squares: Floats,
    cubes: Floats,
    shares: Floats,
    n: int,
    validation: Floats,
    z: float,
) -> tuple[Floats, Floats]:
    """Limits [K] of the shares c that a test of (estimate - c)² <= z² variance(c) does not refuse.

    With u = M^-1 output, the 'unmixed' vote of a face, the estimate M^-1 q is the mean vote, and on validation faces of
    class y it averages to e_y. Let the other shares keep their proportions r when share k is c. Then the vote for k has
    the variance c s_k + (1 - c) sum r_y s_y - c² over faces, s_y its mean square in class y, and the error of M adds
    c² v_k + (1 - c)² sum r_y² v_y, v_y the variance of its mean over the validation faces of class y. For M = 1 and
    endless validation faces this is Wilson's interval.

    Where a face or none is expected of a label, votes are far from normal: one chance vote makes Wilson's lower limit
    exceed the share, and a nominal 95 % are 84 (Brown, Cai & DasGupta 2001). So the test is corrected for
    skewness (Gart & Nam 1988, Biometrics 44:323): the estimate is moved by (z² - 1) / 6 of third central moment over
    variance, but only where that takes a limit outwards. Inwards it would undo what Wilson's interval does well, shares
    of which no face was seen.

    Args:
        matrix: M [K, K].
        mean: q [K], the mean output of the faces in question.
        squares: [y, k], the mean squared vote for k of faces of class y.
        cubes: the same of the third power.
        shares: the estimate [K], for the proportions r.
        n: faces.
        validation: [K], labelled faces of each class.
        z: the normal quantile.
    """
    k = len(mean)
    if np.linalg.matrix_rank(matrix) < k:
        return np.zeros(k), np.ones(k)  # some classes cannot be told apart
    # An estimate outside 0..1 is moved to the limit: further from it, a test would refuse every share.
    estimate = np.clip(np.linalg.inv(matrix) @ mean, 0, 1)
    variance, third = _moments(squares, cubes, shares, n, validation)
    side = np.array([[1.0], [-1.0]])  # the lower and the upper limit

    def refused(c: Floats) -> NDArray[np.bool_]:
        """Whether shares c [2, K] are too low, or too high, for the estimate."""
        spread = np.maximum(_polynomial(variance, c), _TINY)
        shift = (z * z - 1) / 6 * side * _polynomial(third, c) / spread
        return np.asarray(side * (estimate - c) - np.maximum(shift, 0) > z * np.sqrt(spread))

    inside, end = np.stack([estimate, estimate]), np.repeat([[0.0], [1.0]], k, axis=1)
    outside = end
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        wrong = refused(middle)
        inside, outside = np.where(wrong, inside, middle), np.where(wrong, middle, outside)
    low, high = np.where(refused(end), inside, end)
    return low, high


def _moments(
    squares: Floats, cubes: Floats, shares: Floats, n: int, validation: Floats
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Variance and third central moment of the estimates as polynomials of the shares: coefficients [K] from c^0 on."""
    k = len(shares)
    own = np.eye(k)
    rest = np.where(own == 1, 0.0, shares)  # [k, y], the proportions of the other shares where share k is c
    total = rest.sum(axis=1, keepdims=True)
    rest = np.where(total > _TINY, rest / np.maximum(total, _TINY), (1 - own) / (k - 1))
    sizes = np.maximum(validation - 1, 1)[:, None]
    spread = np.maximum(squares - own, 0) / sizes  # [y, k], the variance of the mean vote in class y
    skew = (cubes - 3 * own * squares + 2 * own) / sizes**2

    def parts(table: Floats, power: int = 1) -> tuple[Floats, Floats]:
        """Sums over class k itself, and over the others together."""
        return np.diag(table), np.einsum("ky,yk->k", rest**power, table)

    (s, s_rest), (t, t_rest), (v, v_rest), (w, w_rest) = parts(squares), parts(cubes), parts(spread, 2), parts(skew, 3)
    # c s + (1 - c) s_rest - c², over n, and c² v + (1 - c)² v_rest
    variance = s_rest / n + v_rest, (s - s_rest) / n - 2 * v_rest, v + v_rest - 1 / n
    # c t + (1 - c) t_rest - 3 c (c s + (1 - c) s_rest) + 2 c³, over n², less c³ w + (1 - c)³ w_rest: errors of M count
    # the other way
    third = (
        t_rest / n**2 - w_rest,
        (t - t_rest - 3 * s_rest) / n**2 + 3 * w_rest,
        -3 * (s - s_rest) / n**2 - 3 * w_rest,
        2 / n**2 - w + w_rest,
    )
    return variance, third


def _polynomial(coefficients: tuple[Floats, ...], c: Floats) -> Floats:
    value = np.zeros_like(c)
    for coefficient in reversed(coefficients):
        value = value * c + coefficient
    return value
