"""Maximum likelihood shares from posteriors (EM), and the calibration that makes outputs posteriors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from .confusion import simplex_least_squares

CHUNK = 1 << 16  # faces at a time: a million of them never need more than a few of these tables beside their own
_TINY = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Bias-corrected temperature scaling: `softmax(log p / temperature + bias)`, bias [K] with mean 0."""

    temperature: float
    bias: Floats


def expectation_maximisation(probabilities: ArrayLike, prior: ArrayLike) -> Floats:
    """The maximum likelihood shares [K]: the fixed point of EM (Saerens et al. 2002, eq. 2.9).

    The log likelihood, the sum of log(p_i . (shares / prior)) over faces, is concave. EM creeps towards shares of 0,
    so it is maximised by Newton steps over the simplex instead (as in Kim, Carbonetto & Stephens 2020,
    arXiv:1806.01412), each a small least squares problem; a handful suffice.

    Args:
        probabilities: calibrated posteriors [N, K] under the shares `prior`.
        prior: the class shares [K] for which the posteriors are calibrated, all > 0.
    """
    base = np.asarray(prior, np.float64)
    rows = np.asarray(probabilities)
    ratio = _Ratio(rows, base.astype(rows.dtype))
    shares = base / base.sum()
    likelihood = _log_likelihood(ratio, shares)
    for _ in range(200):
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
        if np.abs(step).max() < 1e-8:
            return shares
    return shares


@dataclass(frozen=True)
class _Ratio:
    """Posteriors over their prior, made a chunk at a time: a table of millions of faces is not held twice."""

    rows: NDArray[np.floating]
    prior: NDArray[np.floating]

    def chunks(self) -> Iterator[NDArray[np.floating]]:
        return (part / self.prior for part in chunks(self.rows))


def _log_likelihood(ratio: _Ratio, shares: Floats) -> float:
    return float(sum(np.log(np.maximum(part @ shares, _TINY)).sum() for part in ratio.chunks()))


def chunks(rows: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def fit_calibration(probabilities: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit temperature and bias on validation faces by maximum likelihood (Alexandari et al. 2020, section 3.2)."""
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
