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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Floats, Ints
from .shares import wilson_interval

METHODS = ("CC", "PCC", "ACC", "PACC", "EM")

ASSUMPTION = (
    "The correction assumes that the classifier answers a face of a given expression here as it answers a validation "
    "face of that expression, so that only how often each expression occurs may differ; for generated faces that is "
    "a guess, which only labels by people can check."
)
"""Prior probability shift, in plain words; whoever shows a corrected share shows this with it."""

_CHUNK = 1 << 16  # faces at a time: a million of them never need more than a few of these tables beside their own
_SMOOTHING = 0.1  # share of all classes alike in the weights of EM posteriors: less makes votes with heavy tails
_TINY = 1e-12


@dataclass(frozen=True)
class PrevalenceEstimate:
    """One method's shares [K] with interval limits [K]."""

    method: str
    shares: Floats
    low: Floats
    high: Floats


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
    """Labelled faces that the classifier never learned from: `labels` int [M] in 0..K-1, `probabilities` [M, K].

    `name` says which, for the reader: 'FER2013 PublicTest'. The class order is that of the faces to be corrected.
    """

    name: str
    labels: Ints
    probabilities: Floats


@dataclass(frozen=True)
class Calibration:
    """Bias-corrected temperature scaling: `softmax(log p / temperature + bias)`, bias [K] with mean 0."""

    temperature: float
    bias: Floats


@dataclass(frozen=True)
class SensitivityRow:
    """ACC shares [K] by one validation set, had the classifier made `errors` times as many mistakes as there."""

    validation: str
    errors: float
    shares: Floats


@dataclass(frozen=True)
class SensitivityBand:
    """What the corrected shares would be under other confusions: `low` and `high` [K] are the extremes of `rows`."""

    rows: tuple[SensitivityRow, ...]
    low: Floats
    high: Floats


def hard_outputs(probabilities: ArrayLike) -> Floats:
    """One-hot rows [N, K] of the most probable class; the first one wins a tie."""
    p = np.asarray(probabilities)
    return np.eye(p.shape[1])[p.argmax(axis=1)]


def confusion_matrix(outputs: ArrayLike, labels: ArrayLike) -> Floats:
    """The mean output for each true class: M [K, K], `M[i, y] = E[output_i | true class y]`; columns sum to 1.

    Args:
        outputs: [M, K], probabilities or one-hot decisions on validation faces.
        labels: the true classes, int [M].

    Raises:
        ValueError: a class without validation faces, for nothing can be said about how it is mistaken.
    """
    p, y = np.asarray(outputs, np.float64), np.asarray(labels, np.int64)
    per_class = np.bincount(y, minlength=p.shape[1])
    if np.any(per_class == 0):
        raise ValueError(f"no validation faces for the classes {np.flatnonzero(per_class == 0).tolist()}")
    return (p.T @ np.eye(p.shape[1])[y]) / per_class


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


def expectation_maximisation(
    probabilities: ArrayLike, prior: ArrayLike, tolerance: float = 1e-8, max_iterations: int = 200
) -> Floats:
    """The maximum likelihood shares [K]: the fixed point of EM (Saerens et al. 2002, eq. 2.9).

    The log likelihood, the sum of log(p_i . (shares / prior)) over faces, is concave. EM creeps towards shares of 0,
    so it is maximised by Newton steps over the simplex instead (as in Kim, Carbonetto & Stephens 2020,
    arXiv:1806.01412), each a small least squares problem; a handful suffice.

    Args:
        probabilities: calibrated posteriors [N, K] under the shares `prior`.
        prior: the class shares [K] for which the posteriors are calibrated, all > 0.
        tolerance: stop when no share moves by more.
        max_iterations: Newton steps at most.
    """
    base = np.asarray(prior, np.float64)
    rows = np.asarray(probabilities)
    ratio = _Ratio(rows, base.astype(rows.dtype))
    shares = base / base.sum()
    likelihood = _log_likelihood(ratio, shares)
    for _ in range(max_iterations):
        curvature = np.zeros((len(base), len(base)))
        for part in ratio.chunks():
            scaled = part / np.maximum(part @ shares, _TINY)[:, None]
            curvature += scaled.T @ scaled
        # The gradient is curvature @ shares, so the quadratic model is -||R (new - 2 shares)||²/2 with R'R = curvature.
        curvature += 1e-10 * np.trace(curvature) * np.eye(len(base))
        root = np.linalg.cholesky(curvature / np.trace(curvature)).T
        step = simplex_least_squares(root, 2 * root @ shares) - shares
        reached = False
        for _ in range(40):
            new = _log_likelihood(ratio, shares + step)
            if new >= likelihood:
                reached = True
                break
            step /= 2
        if not reached:
            return shares
        shares, likelihood = shares + step, new
        if np.abs(step).max() < tolerance:
            return shares
    return shares


@dataclass(frozen=True)
class _Ratio:
    """Posteriors over their prior, made a chunk at a time: a table of millions of faces is not held twice."""

    rows: NDArray[np.floating]
    prior: NDArray[np.floating]

    def chunks(self) -> Iterator[NDArray[np.floating]]:
        return (part / self.prior for part in _chunks(self.rows))


def _log_likelihood(ratio: _Ratio, shares: Floats) -> float:
    return float(sum(np.log(np.maximum(part @ shares, _TINY)).sum() for part in ratio.chunks()))


def _chunks(rows: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def fit_calibration(probabilities: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit temperature and bias on validation faces by maximum likelihood (Alexandari et al. 2020, section 3.2).

    Args:
        probabilities: [M, K] on the validation faces.
        labels: the true classes, int [M].
    """
    from scipy.optimize import minimize

    logits = np.log(np.clip(np.asarray(probabilities, np.float64), 1e-7, 1))
    y = np.asarray(labels, np.int64)
    k = logits.shape[1]
    truth = np.eye(k)[y]

    def loss(x: Floats) -> tuple[float, Floats]:
        inverse = np.exp(x[0])  # 1 / temperature, positive by construction
        scaled = logits * inverse + x[1:]
        scaled -= scaled.max(axis=1, keepdims=True)
        log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        error = np.exp(log_p) - truth
        gradient = np.concatenate([[(error * logits).sum(axis=1).mean() * inverse], error.mean(axis=0)])
        # the small ridge only fixes what adding a constant to the bias leaves open
        penalty = 1e-6 * float((x[1:] ** 2).sum())
        gradient[1:] += 2e-6 * x[1:]
        return float(-log_p[np.arange(len(y)), y].mean()) + penalty, gradient

    x = minimize(loss, np.zeros(k + 1), jac=True, method="L-BFGS-B").x
    return Calibration(float(np.exp(-x[0])), x[1:] - x[1:].mean())


def calibrate(probabilities: ArrayLike, calibration: Calibration) -> Floats:
    """Apply a calibration to probabilities [N, K]; rows sum to 1."""
    logits = np.log(np.clip(np.asarray(probabilities, np.float64), 1e-7, 1))
    logits = logits / calibration.temperature + calibration.bias
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


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

    `score` intervals hold every share that a test at 1 - `level` would not refuse, with the variance that this share
    itself implies: Wilson's interval, which they are for a classifier without errors, carried over to `M p = q`. They
    do not shrink to nothing at an estimate of 0 as those of a bootstrap do. `bootstrap` intervals are percentiles of
    a two-level bootstrap: of these faces, and of the validation faces within their classes; the calibration of EM and
    the shares that weight its posteriors are not found anew. Measured coverage: ``python -m benchmarks.coverage``.

    Args:
        probabilities: [N, K] on the faces in question.
        validation_labels: the true classes of labelled faces that the classifier was not trained on, int [M].
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
    z = NormalDist().inv_cdf(0.5 + level / 2)
    estimates = []
    for method in methods:
        outputs = _Outputs.of(method, p, y, v)
        if method == "CC":
            low, high = wilson_interval(outputs.counts, len(p), level)
        elif method == "PCC":
            half = z * outputs.deviation / np.sqrt(len(p))
            low, high = np.clip(outputs.mean - half, 0, 1), np.clip(outputs.mean + half, 0, 1)
        elif interval == "score":
            low, high = _score_interval(outputs, y, len(p), z)
        else:
            draws = _bootstrap(outputs, y, replicates, seed)
            tail = 100 * (1 - level) / 2
            low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
        shares = outputs.shares
        estimates.append(PrevalenceEstimate(method, shares, np.minimum(low, shares), np.maximum(high, shares)))
    return Prevalence(
        tuple(estimates),
        condition_number=float(np.linalg.cond(confusion_matrix(hard_outputs(v), y))),
        validation_counts=np.bincount(y, minlength=p.shape[1]).astype(np.int64),
        level=level,
        interval=interval,
        replicates=replicates if interval == "bootstrap" else 0,
    )


def unmixed_shares(
    probabilities: ArrayLike, validation: Validation, *, replicates: int = 1000, seed: int = 0, sample: int = 0
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

    Raises:
        ValueError: as for :func:`estimate_prevalence`.
    """
    p, y, v = _checked(probabilities, validation.labels, validation.probabilities)
    outputs = _Outputs.of("ACC", p, y, v)
    assert outputs.matrix is not None
    means, matrices = _resampled(outputs, y, replicates, seed, sample)
    draws = np.linalg.pinv(matrices) @ means[:, :, None]
    return np.linalg.pinv(outputs.matrix) @ outputs.mean, draws[:, :, 0]


def sensitivity_band(
    codes: ArrayLike, validations: Sequence[Validation], *, errors: Sequence[float] = (0.75, 1.0, 1.25)
) -> SensitivityBand:
    """How far the corrected shares (ACC) depend on the confusion that they are corrected by.

    The intervals take the confusion as the validation faces have it. Here each validation set gives its own, and each
    confusion is also taken with fewer and with more mistakes of the same kinds: an `errors` of 1.25 means that a face
    of any expression is a quarter more often mistaken.

    Args:
        codes: labels of the faces in question, int [N] in 0..K-1.
        validations: one or more sets of labelled faces, same classifier and classes.
        errors: factors on the off-diagonal of the confusion matrix; a class never gets more mistakes than faces.

    Returns:
        A row for each set and factor; the first validation set comes first.

    Raises:
        ValueError: no validation set, or one without faces of a class.
    """
    if not validations:
        raise ValueError("no validation faces")
    k = np.asarray(validations[0].probabilities).shape[1]
    labels = np.asarray(codes, np.int64)
    raw = np.bincount(labels, minlength=k) / labels.size
    rows = []
    for validation in validations:
        matrix = confusion_matrix(hard_outputs(validation.probabilities), validation.labels)
        wrong = matrix - np.diag(np.diag(matrix))
        for factor in errors:
            scaled = wrong * np.minimum(factor, 1 / np.maximum(wrong.sum(axis=0), _TINY))
            changed = scaled + np.diag(1 - scaled.sum(axis=0))
            rows.append(SensitivityRow(validation.name, float(factor), simplex_least_squares(changed, raw)))
    shares = np.stack([row.shares for row in rows])
    return SensitivityBand(tuple(rows), shares.min(axis=0), shares.max(axis=0))


@dataclass(frozen=True)
class _Outputs:
    """What a method counts: `values` [R, K], each of them `counts` [R] times, and the same on validation faces."""

    values: NDArray[np.floating]
    counts: Ints
    mean: Floats
    deviation: Floats
    validation: NDArray[np.floating]
    matrix: Floats | None
    """mean outputs by true class; None where the raw shares are the answer"""
    shares: Floats

    @classmethod
    def of(cls, method: str, p: NDArray[np.floating], y: Ints, v: Floats) -> "_Outputs":
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
            for part in _chunks(values):
                part[:] = calibrate(part, calibration)
            best = expectation_maximisation(values, prior)
            # posteriors under the found shares; a little of all classes keeps a class of share 0 in sight
            now = (1 - _SMOOTHING) * best + _SMOOTHING / k
            for part in _chunks(values):
                part[:] = _reweighted(part, now / prior)
            validation = _reweighted(calibrate(v, calibration), now / prior)
        size = range(0, len(values), _CHUNK)
        mean = sum(counts[i : i + _CHUNK] @ values[i : i + _CHUNK] for i in size) / counts.sum()
        second = counts @ (values * values) / counts.sum() if method == "PCC" else mean
        matrix = None if method in ("CC", "PCC") else confusion_matrix(validation, y)
        shares = mean / mean.sum() if matrix is None else simplex_least_squares(matrix, mean)
        deviation = np.sqrt(np.maximum(second - mean**2, 0))
        return cls(values, counts, mean, deviation, validation, matrix, shares)


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


def _score_interval(outputs: _Outputs, labels: Ints, n: int, z: float) -> tuple[Floats, Floats]:
    """Limits [K] of the shares c that satisfy (estimate - c)² <= z² variance(c).

    With u = M^-1 output, the 'unmixed' vote of a face, the estimate M^-1 q is the mean vote, and on validation faces of
    class y it averages to e_y. Let the other shares keep their proportions r when share k is c. Then the vote for k has
    the variance c s_k + (1 - c) sum r_y s_y - c² over faces, s_y its mean square in class y, and the error of M adds
    c² v_k + (1 - c)² sum r_y² v_y, v_y the variance of its mean over the validation faces of class y. All of that is
    quadratic in c. For M = 1 and endless validation faces it is Wilson's interval.
    """
    k = len(outputs.mean)
    assert outputs.matrix is not None
    if np.linalg.matrix_rank(outputs.matrix) < k:
        return np.zeros(k), np.ones(k)  # some classes cannot be told apart
    inverse = np.linalg.inv(outputs.matrix)
    # An estimate outside 0..1 is moved to the limit: further from it, a test would refuse every share.
    estimate = np.clip(inverse @ outputs.mean, 0, 1)
    votes = outputs.validation @ inverse.T
    per_class = np.bincount(labels, minlength=k)
    member = np.eye(k)[labels] / per_class[labels, None]
    square = member.T @ votes**2  # [y, k]
    spread = np.maximum(square - np.eye(k), 0) / np.maximum(per_class - 1, 1)[:, None]
    low, high = np.zeros(k), np.ones(k)
    for j in range(k):
        rest = np.where(np.arange(k) == j, 0.0, outputs.shares)
        rest = rest / rest.sum() if rest.sum() > _TINY else np.where(np.arange(k) == j, 0.0, 1 / (k - 1))
        s, v, s_rest, v_rest = square[j, j], spread[j, j], rest @ square[:, j], rest**2 @ spread[:, j]
        # variance(c) = constant + linear c + quadratic c²
        constant = s_rest / n + v_rest
        linear = (s - s_rest) / n - 2 * v_rest
        quadratic = -1 / n + v + v_rest
        a = 1 - z * z * quadratic
        b = -(2 * estimate[j] + z * z * linear)
        c = estimate[j] ** 2 - z * z * constant
        inside = b * b - 4 * a * c
        if a > 0 and inside >= 0:  # else no share at all is refused
            low[j], high[j] = np.clip((-b + np.array([-1, 1]) * np.sqrt(inside)) / (2 * a), 0, 1)
    return low, high


def _bootstrap(outputs: _Outputs, labels: Ints, replicates: int, seed: int) -> Floats:
    """Shares [replicates, K] of resampled faces and, within their class, resampled validation faces."""
    means, matrices = _resampled(outputs, labels, replicates, seed)
    return np.stack([simplex_least_squares(m, q) for m, q in zip(matrices, means, strict=True)])


def _resampled(outputs: _Outputs, labels: Ints, replicates: int, seed: int, sample: int = 0) -> tuple[Floats, Floats]:
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
        matrices[:, :, c] = _resampled_means(rows, np.ones(len(rows), np.int64), replicates, validation_rng)
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
