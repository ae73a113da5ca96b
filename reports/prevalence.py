"""How often each expression occurs, corrected for the classifier's own confusion.

A classifier that takes a fifth of the sad faces for neutral ones reports too many neutral faces, however many it
judges. If it errs on these faces as it does on labelled validation faces (the one assumption of everything here: the
distribution of its outputs *given the true expression* is the same in both), the true shares can be recovered:

- CC, 'classify and count', and PCC, its probabilistic twin: the raw shares, for comparison;
- ACC and PACC: solve `M p = q`, where column y of M is the mean output on validation faces that truly show y and q is
  the mean output on the faces in question (Saerens et al. 2002, section 2.2; Forman 2008; Bella et al. 2010; Lipton
  et al. 2018, arXiv:1802.03916), here by least squares over the simplex: shares are never negative and sum to 1;
- EM: the maximum likelihood shares by re-weighting the posteriors (Saerens, Latinne & Decaestecker 2002, eq. 2.9),
  after bias-corrected temperature scaling on the validation faces (Alexandari et al. 2020, arXiv:1901.06852).

All functions are pure; shares are fractions, probabilities float [N, K] with rows that sum to 1, labels int [M] in
0..K-1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS = ("CC", "PCC", "ACC", "PACC", "EM")
_TINY = 1e-12


@dataclass(frozen=True)
class PrevalenceEstimate:
    """One method's shares [K] with bootstrap percentile limits [K] (the shares themselves without a bootstrap)."""

    method: str
    shares: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Prevalence:
    """The estimates of several methods on the same faces, and how well the correction is posed.

    `condition_number` is that of the hard confusion matrix (ACC) in the 2-norm: relative errors in the raw shares can
    grow by this factor. `validation_counts` [K] are the validation faces of each class.
    """

    estimates: tuple[PrevalenceEstimate, ...]
    condition_number: float
    validation_counts: Ints
    replicates: int
    level: float

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


def hard_outputs(probabilities: ArrayLike) -> Floats:
    """One-hot rows [N, K] of the most probable class; the first one wins a tie."""
    p = np.asarray(probabilities, np.float64)
    return np.eye(p.shape[1])[p.argmax(axis=1)]


def confusion_matrix(outputs: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The mean output for each true class: M [K, K], `M[i, y] = E[output_i | true class y]`; columns sum to 1.

    Args:
        outputs: [M, K], probabilities or one-hot decisions on validation faces.
        labels: the true classes, int [M].
        weights: [M], how often each face counts; 1 by default.

    Raises:
        ValueError: a class without validation faces, for nothing can be said about how it is mistaken.
    """
    p, y = np.asarray(outputs, np.float64), np.asarray(labels, np.int64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    truth = np.zeros((len(y), p.shape[1]))
    truth[np.arange(len(y)), y] = w
    per_class = truth.sum(axis=0)
    if np.any(per_class <= 0):
        raise ValueError(f"no validation faces for the classes {np.flatnonzero(per_class <= 0).tolist()}")
    return (p.T @ truth) / per_class


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
    probabilities: ArrayLike,
    prior: ArrayLike,
    weights: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
) -> Floats:
    """The maximum likelihood shares [K] by EM (Saerens et al. 2002, eq. 2.9).

    Args:
        probabilities: calibrated posteriors [N, K] under the shares `prior`.
        prior: the class shares [K] for which the posteriors are calibrated, all > 0.
        weights: [N], how often each face counts; 1 by default.
        tolerance: stop when no share moves by more.
    """
    base = np.asarray(prior, np.float64)
    ratio = np.asarray(probabilities, np.float64) / base
    w = np.ones(len(ratio)) if weights is None else np.asarray(weights, np.float64)
    kept = w > 0
    ratio, w = ratio[kept], w[kept] / w.sum()
    shares = base / base.sum()
    for _ in range(max_iterations):
        # p_new = mean over faces of p ratio / (ratio . p): one matrix-vector product each way
        updated = shares * ((w / np.maximum(ratio @ shares, _TINY)) @ ratio)
        updated /= updated.sum()
        if np.abs(updated - shares).max() < tolerance:
            return updated
        shares = updated
    return shares


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
    replicates: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Prevalence:
    """Raw and corrected shares, with intervals from a two-level bootstrap.

    Each replicate draws new faces *and* new validation faces (within their class, for the validation shares are chosen,
    not observed), so the intervals hold the luck of both draws. They do not hold a failure of the assumption above. The
    calibration of EM is fitted once: only its faces are drawn anew. Where a share is estimated as 0 the percentile
    interval can shrink to nothing; it then says less than it seems to.

    Args:
        probabilities: [N, K] on the faces in question.
        validation_labels: the true classes of labelled faces that the classifier was not trained on, int [M].
        validation_probabilities: [M, K] on those faces, from the same classifier.
        methods: any of 'CC', 'PCC', 'ACC', 'PACC', 'EM', in the order of the result.
        replicates: bootstrap draws; 0 gives point estimates only.
        level: nominal coverage of the percentile intervals.
        seed: of the draws; the same inputs and seed give the same intervals.

    Raises:
        ValueError: shapes that do not fit, no faces, an unknown method, or a class without validation faces.
    """
    p = np.asarray(probabilities, np.float64)
    y = np.asarray(validation_labels, np.int64)
    v = np.asarray(validation_probabilities, np.float64)
    if p.ndim != 2 or v.ndim != 2 or p.shape[1] != v.shape[1] or len(y) != len(v) or not len(p) or not len(v):
        raise ValueError(f"shapes do not fit: faces {p.shape}, validation labels {y.shape}, probabilities {v.shape}")
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise ValueError(f"unknown method '{unknown[0]}'; known are {', '.join(METHODS)}")
    k = p.shape[1]
    hard_p, hard_v = hard_outputs(p), hard_outputs(v)
    matrix = confusion_matrix(hard_v, y)
    counts = np.bincount(y, minlength=k).astype(np.int64)
    prior = counts / counts.sum()
    posteriors = calibrate(p, fit_calibration(v, y)) if "EM" in methods else p

    def solve(method: str, faces: Floats | None, validation: Floats | None) -> Floats:
        if method == "EM":
            return expectation_maximisation(posteriors, prior, faces)
        output, reference = (hard_p, hard_v) if method in ("CC", "ACC") else (p, v)
        raw = output.mean(axis=0) if faces is None else faces @ output / faces.sum()
        if method in ("CC", "PCC"):
            return raw / raw.sum()
        return simplex_least_squares(confusion_matrix(reference, y, validation), raw)

    shares = [solve(method, None, None) for method in methods]
    draws = _bootstrap(len(p), y, k, methods, solve, replicates, seed)
    tail = 100 * (1 - level) / 2
    estimates = []
    for i, method in enumerate(methods):
        low, high = (shares[i], shares[i]) if not replicates else np.percentile(draws[:, i], [tail, 100 - tail], axis=0)
        estimates.append(PrevalenceEstimate(method, shares[i], low, high))
    return Prevalence(tuple(estimates), float(np.linalg.cond(matrix)), counts, replicates, level)


def _bootstrap(
    n: int,
    labels: Ints,
    k: int,
    methods: tuple[str, ...],
    solve: Callable[[str, Floats | None, Floats | None], Floats],
    replicates: int,
    seed: int,
) -> Floats:
    """Shares [replicates, methods, K] of resampled faces and validation faces, as weights instead of copied rows."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in range(k)]
    draws = np.empty((replicates, len(methods), k))
    for b in range(replicates):
        faces = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        validation = np.zeros(len(labels))
        for rows in members:
            validation[rows] = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
        for i, method in enumerate(methods):
            draws[b, i] = solve(method, faces, validation)
    return draws
