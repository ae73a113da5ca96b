"""Is the classifier out of its depth: is it as sure of these faces as of the validation faces that it was judged by?

Scores and error rates were measured on validation faces. If the classifier is less sure of generated faces than of
validation faces with the same expressions, they are something else to it, and neither its accuracy nor its confusion
carries over. The validation faces are weighted to the expressions that these faces are estimated to show, for some
expressions are easier than others. Equal confidence proves nothing: a network can be sure and wrong.

Only probabilities are kept of a run. The energy score (Liu et al. 2020, arXiv:2010.03759) needs the logits before
they are normalised and cannot be computed from these; confidence and entropy can.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...formatting import percent
from ..shares import entropy_bits
from .prevalence import Validation

_CHUNK = 1 << 16  # points at a time, so that millions of faces need little memory beside their scores
_NOTICEABLE = 0.147  # Cliff's delta below this counts as negligible (Romano et al. 2006)


@dataclass(frozen=True)
class ScoreComparison:
    """One score on these faces and on the weighted validation faces.

    `name` is 'confidence' (probability of the likeliest class, 0..1), 'entropy' (bits) or 'distance' (to the training
    faces, in standard deviations); `observed` and `expected` are the means; `superiority` is the chance that a face
    drawn here scores above one drawn there (ties half; 0.5 means no difference); `ks` is the Kolmogorov-Smirnov
    distance of the two distributions, in 0..1, with its asymptotic p-value.
    """

    name: str
    observed: float
    expected: float
    superiority: float
    ks: float
    p_value: float


@dataclass(frozen=True)
class DepthCheck:
    """All scores, how many equally weighted validation faces the weighted ones are worth, and the verdict.

    `verdict` is 'as expected', 'less sure' or 'surer'; `sentence` says it in plain text.
    """

    scores: tuple[ScoreComparison, ...]
    effective_validation: float
    verdict: str
    sentence: str

    def __getitem__(self, name: str) -> ScoreComparison:
        return next(score for score in self.scores if score.name == name)


def compare_confidence(
    probabilities: ArrayLike,
    validation: Validation,
    shares: ArrayLike,
    *,
    distances: ArrayLike | None = None,
    validation_distances: ArrayLike | None = None,
) -> DepthCheck:
    """Compare how sure the classifier is here with how sure it is of validation faces of the same expressions.

    Args:
        probabilities: [N, K] on the faces in question.
        validation: labelled faces that the classifier was not fitted to, though they may have chosen its epoch.
        shares: the shares [K] that the expressions are estimated to have here, for the weights of validation faces.
        distances: [N] to the training faces (:func:`mahalanobis`), where known.
        validation_distances: [M] of the validation faces; needed with `distances`.

    Raises:
        ValueError: no faces, or weights that leave no validation face.
    """
    p, v = np.asarray(probabilities), np.asarray(validation.probabilities)
    labels, wanted = np.asarray(validation.labels, np.int64), np.asarray(shares, np.float64)
    per_class = np.bincount(labels, minlength=len(wanted))
    weights = (wanted / np.maximum(per_class, 1))[labels]
    if not len(p) or weights.sum() <= 0:
        raise ValueError("no faces, or no validation faces of the expressions that these faces show")
    weights = weights / weights.sum()
    pairs = [("confidence", p.max(axis=1), v.max(axis=1)), ("entropy", entropy_bits(p), entropy_bits(v))]
    if distances is not None and validation_distances is not None:
        pairs.append(("distance", np.asarray(distances), np.asarray(validation_distances)))
    scores = tuple(compare_scores(name, own, other, weights) for name, own, other in pairs)
    verdict = _verdict(scores[0])
    return DepthCheck(scores, float(1 / (weights**2).sum()), verdict, _sentence(scores[0], verdict, validation.name))


def compare_scores(name: str, observed: ArrayLike, expected: ArrayLike, weights: ArrayLike) -> ScoreComparison:
    """One score on two sets of faces: `observed` [N] and `expected` [M] with `weights` [M] >= 0.

    The p-value takes the weighted faces as (sum w)² / sum w² equal ones.
    """
    from scipy.stats import kstwobign

    own = np.sort(np.asarray(observed, np.float64))
    other, w = np.asarray(expected, np.float64), np.asarray(weights, np.float64)
    order = np.argsort(other, kind="stable")
    other, w = other[order], w[order] / w.sum()
    n, m = len(own), 1 / (w**2).sum()
    below, up_to = (np.searchsorted(own, other, side) / n for side in ("left", "right"))
    superiority = float(w @ (1 - (below + up_to) / 2))
    reached = np.concatenate([[0.0], np.cumsum(w)])
    ks = 0.0
    for points in (other, *np.split(own, range(_CHUNK, n, _CHUNK))):
        at_own = np.searchsorted(own, points, "right") / n
        at_other = reached[np.searchsorted(other, points, "right")]
        ks = max(ks, float(np.abs(at_own - at_other).max()))
    p_value = float(kstwobign.sf(ks * np.sqrt(n * m / (n + m))))
    return ScoreComparison(name, float(own.mean()), float(w @ other), superiority, ks, p_value)


def _verdict(score: ScoreComparison) -> str:
    delta = 2 * score.superiority - 1
    if score.p_value >= 0.05 or abs(delta) < _NOTICEABLE:
        return "as expected"
    return "less sure" if delta < 0 else "surer"


def _sentence(score: ScoreComparison, verdict: str, validation: str) -> str:
    means = (
        f"mean confidence {percent(score.observed)}, against {percent(score.expected)} on validation faces "
        f"({validation}) of the same estimated expressions"
    )
    if verdict == "as expected":
        return f"The classifier is about as sure of these faces as expected: {means}."
    if verdict == "less sure":
        return (
            f"The classifier is less sure of these faces than expected: {means}. They differ from what it was judged "
            "on, so its error rates, and corrections by them, may not hold here."
        )
    return (
        f"The classifier is surer of these faces than expected: {means}. Plain, posed expressions would do that, and "
        "so would pictures that lead it astray; only labels by people can tell."
    )
