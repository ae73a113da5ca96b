"""How far two distributions are apart: the total variation, with an interval that noise does not push away from 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats, Ints
from ..correction.prevalence import Validation, estimate_prevalence, unmixed_shares
from .references import Reference

NOISE_DRAWS = 2000
"""Draws behind the interval of a distance."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence limits."""

    value: float
    low: float
    high: float
    level: float


def corrected_distance(
    ours: tuple[ArrayLike, Validation],
    theirs: Reference | tuple[ArrayLike, Validation],
    *,
    means: tuple[Floats, Floats] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Total variation between shares that are corrected for the classifier's confusion (ACC).

    The value is the distance of ACC's shares, which are never negative. The limits are those of the shares without that
    constraint, which would bias them, cut to what is possible: with a reference 1 - its smallest share, else 1. So the
    value can lie beside its limits, mostly where the labels refute the correction; neither then says anything.

    Args:
        ours: probabilities [N, K] of a set of faces, and labelled faces of the same classifier.
        theirs: the same of another set, or a reference for true expressions, which needs no correction.
        means: draws [2000, K] of the label shares of both, where faces belong together (of the second one ignored for
            a reference): see :func:`.clusters.clustered_shares`. By default all faces are independent.

    Raises:
        ValueError: as for :func:`fergan.reports.statistics.correction.prevalence.estimate_prevalence`.
    """
    first, second = means or (None, None)
    shares, draws = unmixed_shares(*ours, replicates=NOISE_DRAWS, seed=seed, means=first)
    noise, best = draws - shares, _acc(*ours)
    if isinstance(theirs, Reference):
        other = other_best = theirs.shares
        if theirs.counts is not None:
            noise = noise - share_noise(theirs.counts, np.random.default_rng(seed))
    else:
        # what one classifier is unsure of is the same on both sides, so the same validation faces are drawn
        same = all(
            np.array_equal(getattr(ours[1], field), getattr(theirs[1], field)) for field in ("labels", "probabilities")
        )
        other, other_draws = unmixed_shares(
            *theirs, replicates=NOISE_DRAWS, seed=seed if same else seed + 1, sample=1, means=second
        )
        noise, other_best = noise - (other_draws - other), _acc(*theirs)
    limits = total_variation_interval(shares - other, noise, level)
    value = float(np.abs(best - other_best).sum() / 2)
    most = float(1 - other.min()) if isinstance(theirs, Reference) else 1.0
    return Interval(value, min(limits.low, most), min(limits.high, most), level)


def _acc(probabilities: ArrayLike, validation: Validation) -> Floats:
    estimate = estimate_prevalence(probabilities, validation.labels, validation.probabilities, methods=("ACC",))
    return estimate["ACC"].shares


def total_variation_interval(difference: ArrayLike, noise: ArrayLike, level: float = 0.95) -> Interval:
    """The total variation distance of two estimated distributions, half the sum of |difference|, with its interval.

    Noise alone makes a distance, so the usual bootstrap intervals lie too high and never reach 0. Here the true
    difference is taken as s times the observed one, and the limits are those s at which the observed distance would
    be just too large or just too small under the noise (a test inversion). How the difference is spread over the
    labels is estimated too, which the draws do not hold; for that the tails are halved (``python -m
    benchmarks.coverage`` measures what remains).

    Args:
        difference: [K], estimate minus estimate, or minus a reference.
        noise: [B, K] draws of the error of `difference`, for example bootstrap replicates minus the estimate.
    """
    d, e = np.asarray(difference, np.float64), np.asarray(noise, np.float64)
    distance = float(np.abs(d).sum() / 2)
    tail = (1 - level) / 4

    def quantile(scale: float, at: float) -> float:
        return float(np.quantile(np.abs(scale * d + e).sum(axis=1) / 2, at))

    def scale_at(at: float, low: float, high: float) -> float:
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if quantile(middle, at) > distance else (middle, high)
        return (low + high) / 2

    if distance == 0:
        return Interval(0.0, 0.0, min(quantile(0, 1 - tail), 1.0), level)
    low = 0.0 if quantile(0, 1 - tail) >= distance else scale_at(1 - tail, 0, 1) * distance
    top = 1.0
    while quantile(top, tail) < distance and top * distance < 1:
        top *= 2
    # a distance that the noise alone would make tells nothing of where the truth lies below the noise
    high = max(scale_at(tail, 0, top) * distance, quantile(0, 1 - tail))
    return Interval(distance, min(low, distance), min(max(high, distance), 1.0), level)


def share_noise(counts: Ints, rng: np.random.Generator) -> Floats:
    """Draws [B, K] of the error of the shares of `counts` [K]; one more face of each label lets absent ones vary."""
    n, shares = int(counts.sum()), (counts + 1) / (counts.sum() + len(counts))
    return rng.multinomial(n, shares, NOISE_DRAWS) / n - shares
