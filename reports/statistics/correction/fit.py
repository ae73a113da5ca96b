"""Can label shift be true: would any shares of expressions give these labels, if the classifier erred as it did?

Under label shift the expected labels are `M p`, a mixture of the columns of the confusion matrix M, so they lie in the
hull of these columns. Labels outside the hull, further than luck takes them, refute the assumption that every corrected
share rests on (:data:`~.prevalence.ASSUMPTION`). The converse does not hold. Inside the hull
other mistakes are answered by other shares, not by a misfit: the test is blind where every expression is common, and to
a fifth of the faces being answered like those of another expression. So a verdict of 'holds' is given only where fewer
mistakes would have been noticed.

The statistic is the likelihood ratio of the label counts against the best `M p`. Its distribution is drawn, for the
best p lies on an edge as a rule and the validation faces that M comes from are a sample too: a two-level parametric
bootstrap draws new validation answers and new labels from the fitted model.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats, Ints

Verdict = Literal["holds", "refuted", "cannot tell"]

ALARM = 0.05
"""P-values below this refute the correction."""

FEWER_MISTAKES = 0.2
"""The departure by which the power is judged: this share of the mistakes on validation faces."""

_POWER = 0.8  # what makes the absence of an alarm a finding
_DRAWS = 999
_ALTERNATIVES = 199
_CERTAIN = 3.0  # standard errors above 0 from which a share is not 0
_STEPS = 40  # of the interior point method; each divides the gap by about 5
_TINY = 1e-12
_ZERO = 1e-6  # a statistic below this is 0: the counts are inside the hull


@dataclass(frozen=True)
class LabelShiftTest:
    """The test of label shift.

    `statistic` is the likelihood ratio (0 inside the hull), `expected_counts` [K] the labels that the best shares
    explain, `power` the chance of an alarm if the shares were the fitted ones and the mistakes a fifth of those on
    validation faces. `verdict` is 'refuted' for a p-value below 0.05, 'holds' where there is none and the power is 80 %
    or more, and else 'cannot tell'.
    """

    statistic: float
    p_value: float
    power: float
    verdict: Verdict
    expected_counts: Floats


def label_shift_test(
    counts: ArrayLike, answers_by_class: ArrayLike, *, draws: int = _DRAWS, seed: int = 0
) -> LabelShiftTest:
    """Test whether labels can come from validation faces in other proportions.

    Args:
        counts: labels of the faces in question, whole numbers [K], not all 0.
        answers_by_class: [K, K], validation faces by answer (row) and true class (column); every class has some.
        draws: of the bootstrap.
        seed: of the draws; the same counts and seed give the same p-value.

    Raises:
        ValueError: shapes that do not fit, no faces, or a class without validation faces.
    """
    c, v = np.asarray(counts, np.int64), np.asarray(answers_by_class, np.int64)
    if v.shape != (len(c), len(c)) or c.ndim != 1 or not c.sum():
        raise ValueError(f"shapes do not fit or no faces: counts {c.shape}, confusion {v.shape}")
    if (v.sum(axis=0) == 0).any():
        raise ValueError(f"no validation faces for the classes {np.flatnonzero(v.sum(axis=0) == 0).tolist()}")
    rng = np.random.default_rng(seed)
    matrix = smoothed_columns(v)
    statistic, shares = _misfit(c[None], matrix[None])
    n, sizes = int(c.sum()), v.sum(axis=0)
    _, drawn = _drawn_misfits(n, matrix @ shares[0], matrix, sizes, _ALTERNATIVES, rng)
    # A share that may be 0 is taken as 0 under the null: there the statistic is largest, and at a limit a bootstrap
    # from the estimate itself gives too many alarms (Andrews 2000, Econometrica 68:399).
    sure = shares[0] > _CERTAIN * drawn.std(axis=0)
    sure[shares[0].argmax()] = True
    edge = np.zeros(len(c))
    edge[sure] = best_mixture(c[None] / n, matrix[None, :, sure])[0]
    null, _ = _drawn_misfits(n, matrix @ edge, matrix, sizes, draws, rng)
    p_value = float((1 + (null >= statistic[0] - _ZERO).sum()) / (1 + draws))
    fewer = FEWER_MISTAKES * matrix + (1 - FEWER_MISTAKES) * np.eye(len(c))
    other, _ = _drawn_misfits(n, fewer @ shares[0], matrix, sizes, _ALTERNATIVES, rng)
    power = float((other > max(np.quantile(null, 1 - ALARM), _ZERO)).mean())
    verdict: Verdict = "refuted" if p_value < ALARM else "holds" if power >= _POWER else "cannot tell"
    return LabelShiftTest(float(statistic[0]), p_value, power, verdict, n * matrix @ shares[0])


def smoothed_columns(answers_by_class: ArrayLike) -> Floats:
    """Answers by true class [.., K, K] as columns that sum to 1, with half a face more in each cell (Jeffreys' prior).

    An answer that a few validation faces never got is then rare, not impossible.
    """
    v = np.asarray(answers_by_class, np.float64) + 0.5
    return v / v.sum(axis=-2, keepdims=True)


def _drawn_misfits(
    n: int, expected: Floats, matrix: Floats, validation: Ints, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Statistics [draws] and shares [draws, K] of n labels by `expected` [K], each with validation answers anew."""
    labels = rng.multinomial(n, expected / expected.sum(), draws)
    answers = np.stack(
        [rng.multinomial(size, column, draws) for size, column in zip(validation, matrix.T, strict=True)], axis=2
    )
    return _misfit(labels, smoothed_columns(answers))


def _misfit(counts: Ints, matrices: Floats) -> tuple[Floats, Floats]:
    """Likelihood ratios [B] of counts [B, K] against the best mixtures of columns [B, K, K], and the shares [B, K]."""
    n = counts.sum(axis=1, keepdims=True)
    q = counts / n
    shares = best_mixture(q, matrices)
    explained = np.maximum((matrices @ shares[:, :, None])[:, :, 0], _TINY)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(q > 0, q * np.log(q / explained), 0.0)
    statistic = 2 * n[:, 0] * terms.sum(axis=1)
    return np.where(statistic < _ZERO, 0.0, statistic), shares


def best_mixture(frequencies: Floats, matrices: Floats) -> Floats:
    """The shares p [B, K] that maximise `sum q log(M p)`, for many q [B, R] and M [B, R, K] at once.

    With columns that sum to 1 the constraint sum p = 1 is a penalty of sum p: only p >= 0 remains, and a primal-dual
    interior point method needs some twenty small linear systems (Nocedal & Wright 2006, chapter 19).
    """
    k = matrices.shape[2]
    p = np.full((len(frequencies), k), 1 / k)
    slack = np.ones_like(p)
    for _ in range(_STEPS):
        mean = np.maximum((matrices @ p[:, :, None])[:, :, 0], _TINY)
        gradient = (np.swapaxes(matrices, 1, 2) @ (frequencies / mean)[:, :, None])[:, :, 0] - 1
        gap = (p * slack).sum(axis=1, keepdims=True) / k
        if gap.max() < 1e-13:
            break
        target = 0.1 * gap
        scaled = matrices * (np.sqrt(frequencies) / mean)[:, :, None]
        system = np.swapaxes(scaled, 1, 2) @ scaled
        system[:, np.arange(k), np.arange(k)] += slack / p
        step = _solve(system, (gradient + target / p)[:, :, None])[:, :, 0]
        dual = target / p - slack - slack / p * step
        p = p + step * _reach(p, step)
        slack = slack + dual * _reach(slack, dual)
    return p / p.sum(axis=1, keepdims=True)


def _solve(systems: Floats, right: Floats) -> NDArray[np.float64]:
    """Solutions [B, K, 1] of `systems` [B, K, K], also where a classifier of one answer makes columns equal."""
    try:
        return np.asarray(np.linalg.solve(systems, right), np.float64)
    except np.linalg.LinAlgError:
        k = systems.shape[2]
        ridge = 1e-12 * np.trace(systems, axis1=1, axis2=2)[:, None, None] * np.eye(k)
        return np.linalg.solve(systems + ridge, right)


def _reach(values: Floats, step: Floats) -> NDArray[np.float64]:
    """The share [B, 1] of each step that leaves all values positive, at most 1."""
    ratio = np.where(step < 0, -values / np.minimum(step, -_TINY * _TINY), np.inf)
    return np.minimum(1.0, 0.99 * ratio.min(axis=1, keepdims=True))
