"""How often each expression occurs, corrected for the classifier's own confusion.

A classifier that takes a fifth of the sad faces for neutral ones reports too many neutral faces, however many it
judges. If it errs on these faces as it does on labelled validation faces (:data:`ASSUMPTION`), the true shares can be
recovered:

- CC, 'classify and count', and PCC, its probabilistic twin: the raw shares, for comparison;
- ACC and PACC: solve `M p = q`, where column y of M is the mean output on validation faces that truly show y and q is
  the mean output on the faces in question (Saerens et al. 2002, section 2.2; Forman 2008; Bella et al. 2010; Lipton
  et al. 2018, arXiv:1802.03916), here by least squares over the simplex: shares are never negative and sum to 1;
- EM: the maximum likelihood shares by re-weighting the posteriors (Saerens, Latinne & Decaestecker 2002, eq. 2.9),
  after bias-corrected temperature scaling on the validation faces (Alexandari et al. 2020, arXiv:1901.06852). What
  calibration leaves is then taken out as in PACC, with the posteriors under the found shares as outputs. (With the
  bundled classifier and 5000 faces of equal shares, maximum likelihood alone says 3.8 points too much disgust.)

All functions are pure; shares are fractions, probabilities float [N, K] with rows that sum to 1, labels int [M] in
0..K-1.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats, Ints
from ..shares import share_interval
from .confusion import confusion_matrix, hard_outputs, simplex_least_squares, smoothing_for
from .likelihood import CHUNK, calibrate, chunks, expectation_maximisation, fit_calibration
from .score import score_interval

METHODS = ("CC", "PCC", "ACC", "PACC", "EM")

ASSUMPTION = (
    "The correction assumes that the classifier answers a face of a given expression here as it answers a validation "
    "face of that expression, so that only how often each expression occurs may differ; for generated faces that is "
    "a guess, which only labels by people can check."
)
"""Prior probability shift, in plain words; whoever shows a corrected share shows this with it."""

Limits = tuple[Floats, Floats]

_SMOOTHING = 0.1  # share of all classes alike in the weights of EM posteriors: less makes votes with heavy tails
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PrevalenceEstimate:
    """One method's shares [K], with limits [K] for each label by itself and wider ones for all labels at once.

    `low` and `high` hold each share with the nominal level. `joint_low` and `joint_high` hold all of them together
    (Šidák), cut to what is possible when the shares sum to 1. Limits are as they were found: they can lie beside the
    share that they belong to, mostly where the assumption fails.
    """

    method: str
    shares: Floats
    low: Floats
    high: Floats
    joint_low: Floats
    joint_high: Floats

    @property
    def beside(self) -> Ints:
        """Numbers of the labels whose share lies outside its own limits, but within those for all labels at once."""
        wrong = (self.shares < self.low - _ROUNDING) | (self.shares > self.high + _ROUNDING)
        return np.setdiff1d(np.flatnonzero(wrong), self.outside).astype(np.int64)

    @property
    def outside(self) -> Ints:
        """Numbers of the labels whose share lies outside the limits for all labels at once: the method does not fit."""
        wrong = (self.shares < self.joint_low - _ROUNDING) | (self.shares > self.joint_high + _ROUNDING)
        return np.flatnonzero(wrong | (self.joint_low > self.joint_high + _ROUNDING)).astype(np.int64)


@dataclass(frozen=True)
class Prevalence:
    """The estimates of several methods on the same faces, and how well the correction is posed.

    `condition_number` is that of the hard confusion matrix (ACC) in the 2-norm: relative errors in the raw shares can
    grow by this factor. `validation_counts` [K] are the validation faces of each class, `interval` is 'score' or
    'bootstrap', `replicates` the draws of the latter, else 0.
    """

    estimates: tuple[PrevalenceEstimate, ...]
    condition_number: float
    validation_counts: Ints
    level: float
    interval: str
    replicates: int

    def __getitem__(self, method: str) -> PrevalenceEstimate:
        return next(estimate for estimate in self.estimates if estimate.method == method)


@dataclass(frozen=True)
class Validation:
    """Labelled faces that the classifier was not fitted to: `labels` int [M] in 0..K-1, `probabilities` [M, K].

    They may have chosen the epoch that was kept, as PublicTest did for the bundled classifiers, which then err on them
    a little less than on other faces.

    `name` says which, for the reader: 'FER2013 PublicTest'. The class order is that of the faces to be corrected.
    `kept` bool says which of the stored faces these are, where some were left out because they have copies among the
    training faces; None where that is not known.
    """

    name: str
    labels: Ints
    probabilities: Floats
    kept: NDArray[np.bool_] | None = None


def estimate_prevalence(
    probabilities: ArrayLike,
    validation_labels: ArrayLike,
    validation_probabilities: ArrayLike,
    *,
    methods: tuple[str, ...] = METHODS,
    level: float = 0.95,
    interval: Literal["score", "bootstrap"] = "score",
    replicates: int = 500,
    seed: int = 0,
) -> Prevalence:
    """Raw and corrected shares with intervals for the luck of both draws, of these faces and of the validation faces.

    The intervals do not hold a failure of the assumption. Those of CC and PCC are of the raw share: they say nothing
    about its bias.

    `score` intervals hold every share that a test at 1 - `level` would not refuse, with the variance and the skewness
    that this share itself implies: Wilson's interval carried over to `M p = q` (:func:`~.score.score_interval`). They
    do not shrink to nothing at an estimate of 0 as those of a bootstrap do. `bootstrap` intervals are percentiles of
    a two-level bootstrap: of these faces, and of the validation faces within their classes; the calibration of EM and
    the shares that weight its posteriors are not found anew. Measured coverage: ``python -m benchmarks.coverage``.

    Args:
        probabilities: [N, K] on the faces in question.
        validation_labels: the true classes of labelled faces that the classifier was not fitted to, int [M].
        validation_probabilities: [M, K] on those faces, from the same classifier.
        methods: any of 'CC', 'PCC', 'ACC', 'PACC', 'EM', in the order of the result.
        level: nominal coverage of each interval for itself.
        interval: of ACC, PACC and EM: 'score' or 'bootstrap'.
        replicates: draws of the bootstrap.
        seed: of the draws; the same inputs and seed give the same intervals.

    Raises:
        ValueError: shapes that do not fit, no faces, an unknown method, or a class without validation faces.
    """
    p, y, v = _checked(probabilities, validation_labels, validation_probabilities)
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise ValueError(f"unknown method '{unknown[0]}'; known are {', '.join(METHODS)}")
    estimates = []
    for method in methods:
        outputs = Outputs.of(method, p, y, v)
        draws = None
        if interval == "bootstrap" and outputs.matrix is not None:
            draws = _bootstrap(outputs, y, replicates, seed)
        each, joint = _limits(outputs, y, len(p), (level, level ** (1 / p.shape[1])), draws)
        estimates.append(PrevalenceEstimate(method, outputs.shares, *each, *_possible(*joint)))
    return Prevalence(
        tuple(estimates),
        condition_number=float(np.linalg.cond(confusion_matrix(hard_outputs(v), y))),
        validation_counts=np.bincount(y, minlength=p.shape[1]).astype(np.int64),
        level=level,
        interval=interval,
        replicates=replicates if interval == "bootstrap" else 0,
    )


def method_outputs(method: str, probabilities: ArrayLike, validation: Validation) -> "Outputs":
    """The outputs that `method` counts on these faces and on validation faces, for tests that need them all."""
    return Outputs.of(method, *_checked(probabilities, validation.labels, validation.probabilities))


def unmixed_shares(
    probabilities: ArrayLike,
    validation: Validation,
    *,
    replicates: int = 1000,
    seed: int = 0,
    sample: int = 0,
    means: Floats | None = None,
) -> tuple[Floats, Floats]:
    """ACC without its constraint, `M^-1 q` [K], and bootstrap draws of it [replicates, K].

    The entries sum to 1 but can be negative, and for that reason they are unbiased: for distances between corrected
    distributions, which the constraint would bias.

    Args:
        probabilities: [N, K] on the faces in question.
        validation: labelled faces.
        replicates: draws.
        seed: of the draws. Two calls with one seed and one validation draw the same validation faces, as is right for
            two sets of faces that one classifier judged.
        sample: a number for this set of faces: sets with different numbers are drawn independently.
        means: draws [replicates, K] of the label shares, where faces are not independent.

    Raises:
        ValueError: as for :func:`estimate_prevalence`.
    """
    outputs = method_outputs("ACC", probabilities, validation)
    assert outputs.matrix is not None
    drawn, matrices = _resampled(outputs, np.asarray(validation.labels, np.int64), replicates, seed, sample)
    means = drawn if means is None else means
    draws = np.linalg.pinv(matrices) @ means[:, :, None]
    return np.linalg.pinv(outputs.matrix) @ outputs.mean, draws[:, :, 0]


@dataclass(frozen=True)
class Outputs:
    """The outputs that a method counts: `values` [R, K], each `counts` [R] times, and the same on validation faces."""

    method: str
    values: NDArray[np.floating]
    counts: Ints
    mean: Floats
    deviation: Floats
    validation: NDArray[np.floating]
    matrix: Floats | None
    """mean outputs by true class; None where the raw shares are the answer"""
    shares: Floats

    @classmethod
    def of(cls, method: str, p: NDArray[np.floating], y: Ints, v: Floats) -> "Outputs":
        k = p.shape[1]
        if method in ("CC", "ACC"):
            values: NDArray[np.floating] = np.eye(k)
            counts = np.bincount(p.argmax(axis=1), minlength=k).astype(np.int64)
            validation: NDArray[np.floating] = hard_outputs(v)
        else:
            values, validation = (p, v) if method != "EM" else (p.astype(np.float32), v)
            counts = np.ones(len(p), np.int64)
        if method == "EM":
            calibration = fit_calibration(v, y)
            prior = np.bincount(y, minlength=k) / len(y)
            for part in chunks(values):
                part[:] = calibrate(part, calibration)
            best = expectation_maximisation(values, prior)
            # posteriors under the found shares; a little of all classes keeps a class of share 0 in sight
            now = (1 - _SMOOTHING) * best + _SMOOTHING / k
            for part in chunks(values):
                part[:] = _reweighted(part, now / prior)
            validation = _reweighted(calibrate(v, calibration), now / prior)
        size = range(0, len(values), CHUNK)
        mean = sum(counts[i : i + CHUNK] @ values[i : i + CHUNK] for i in size) / counts.sum()
        second = counts @ (values * values) / counts.sum() if method == "PCC" else mean
        smoothing = smoothing_for(np.bincount(y, minlength=k))
        matrix = None if method in ("CC", "PCC") else confusion_matrix(validation, y, smoothing)
        shares = mean / mean.sum() if matrix is None else simplex_least_squares(matrix, mean)
        deviation = np.sqrt(np.maximum(second - mean**2, 0))
        return cls(method, values, counts, mean, deviation, validation, matrix, shares)

    def mean_powers(self, labels: Ints) -> tuple[Floats, Floats]:
        """Means [y, k] of squared and of cubed unmixed votes for k over validation faces of class y, smoothing too."""
        assert self.matrix is not None
        k = len(self.mean)
        inverse = np.linalg.pinv(self.matrix)
        per_class = np.bincount(labels, minlength=k)
        smoothing = smoothing_for(per_class)
        classes, sizes = np.eye(k)[labels].T, (per_class + k * smoothing)[:, None]
        votes = self.validation @ inverse.T
        squares = votes * votes
        return (
            (classes @ squares + np.outer(smoothing, (inverse**2).sum(axis=1))) / sizes,
            (classes @ (squares * votes) + np.outer(smoothing, (inverse**3).sum(axis=1))) / sizes,
        )


def _reweighted(probabilities: NDArray[np.floating], ratio: Floats) -> NDArray[np.floating]:
    weighted = probabilities * ratio
    return weighted / weighted.sum(axis=1, keepdims=True)


def _checked(
    probabilities: ArrayLike, labels: ArrayLike, validation_probabilities: ArrayLike
) -> tuple[NDArray[np.floating], Ints, Floats]:
    p = np.asarray(probabilities)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    y, v = np.asarray(labels, np.int64), np.asarray(validation_probabilities, np.float64)
    if p.ndim != 2 or v.ndim != 2 or p.shape[1] != v.shape[1] or len(y) != len(v) or not len(p) or not len(v):
        raise ValueError(f"shapes do not fit: faces {p.shape}, validation labels {y.shape}, probabilities {v.shape}")
    confusion_matrix(v, y)  # names a class without faces
    return p, y, v


def _limits(outputs: Outputs, labels: Ints, n: int, levels: tuple[float, ...], draws: Floats | None) -> list[Limits]:
    """Limits [K] of each share by itself, for each of the levels: percentiles of `draws` where there are some."""
    if draws is not None:
        return [_percentiles(draws, level) for level in levels]
    quantiles = [NormalDist().inv_cdf(0.5 + level / 2) for level in levels]
    if outputs.matrix is not None:
        per_class = np.bincount(labels, minlength=len(outputs.mean))
        weights = per_class + len(per_class) * smoothing_for(per_class)
        powers = outputs.mean_powers(labels)
        return [score_interval(outputs.matrix, outputs.mean, *powers, outputs.shares, n, weights, z) for z in quantiles]
    if outputs.method == "CC":
        return [share_interval(outputs.counts, n, level) for level in levels]
    errors = [z * outputs.deviation / np.sqrt(n) for z in quantiles]
    return [(np.clip(outputs.mean - half, 0, 1), np.clip(outputs.mean + half, 0, 1)) for half in errors]


def _percentiles(draws: Floats, level: float) -> Limits:
    low, high = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def _possible(low: Floats, high: Floats) -> Limits:
    """Limits that hold all shares at once, cut to those that shares with a sum of 1 can reach."""
    return np.maximum(low, 1 - (high.sum() - high)), np.minimum(high, 1 - (low.sum() - low))


def _bootstrap(outputs: Outputs, labels: Ints, replicates: int, seed: int) -> Floats:
    """Shares [replicates, K] of resampled faces and, within their class, resampled validation faces."""
    means, matrices = _resampled(outputs, labels, replicates, seed)
    return np.stack([simplex_least_squares(m, q) for m, q in zip(matrices, means, strict=True)])


def _resampled(outputs: Outputs, labels: Ints, replicates: int, seed: int, sample: int = 0) -> tuple[Floats, Floats]:
    """Mean outputs [replicates, K] and confusion matrices [replicates, K, K] of a two-level bootstrap.

    Faces get random weights (Rubin 1981, the Bayesian bootstrap). Validation faces are drawn within their class, for
    their shares were chosen, not observed.
    """
    validation_rng, faces_rng = (np.random.default_rng([seed, stream]) for stream in (0, sample + 1))
    k = len(outputs.mean)
    means = _resampled_means(outputs.values, outputs.counts, replicates, faces_rng)
    matrices = np.empty((replicates, k, k))
    for c in range(k):
        rows = outputs.validation[labels == c]
        drawn = _resampled_means(rows, np.ones(len(rows), np.int64), replicates, validation_rng)
        extra = float(smoothing_for(len(rows)))
        matrices[:, :, c] = (len(rows) * drawn + extra) / (len(rows) + k * extra)
    return means, matrices


def _resampled_means(values: NDArray[np.floating], counts: Ints, replicates: int, rng: np.random.Generator) -> Floats:
    """Means [replicates, K] of `values` [R, K] under exponential weights, one for each of the `counts` [R] faces."""
    means = np.empty((replicates, values.shape[1]))
    rows = max(1, (1 << 21) // len(values))  # weights of these many replicates at a time
    for start in range(0, replicates, rows):
        size = (min(rows, replicates - start), len(values))
        weights = rng.standard_gamma(counts, size) if (counts != 1).any() else rng.standard_exponential(size)
        means[start : start + rows] = weights @ values / weights.sum(axis=1, keepdims=True)
    return means
