"""Statistics of label counts: shares with intervals, and how sure the classifier was.

Everything here is a pure function of arrays. Shares are fractions in [0, 1], never per cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, Ints

_CHUNK = 1 << 16
_UNCERTAIN = 0.5
_BINS = 20  # of histograms over [0, 1]


@dataclass(frozen=True)
class LabelShares:
    """Raw label counts ('classify and count') of one sample of faces; every array is [K], in the order of `classes`."""

    classes: tuple[str, ...]
    counts: Ints
    shares: Floats
    low: Floats
    high: Floats
    n: int
    level: float

    def ranking(self) -> list[int]:
        """Class indices from the most to the least frequent; equal counts keep the class order."""
        return np.argsort(-self.counts, kind="stable").tolist()


@dataclass(frozen=True)
class ConfidenceSummary:
    """How sure the classifier was over N faces; confidences and probabilities are in [0, 1], entropy is in bits."""

    mean: float
    median: float
    threshold: float
    uncertain: int
    mean_entropy_bits: float
    bin_edges: Floats
    histogram: Ints


def wilson_interval(counts: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The score interval of a binomial share: Wilson 1927, JASA 22:209, as in Brown, Cai & DasGupta 2001, eq. (4).

    Args:
        counts: successes, whole numbers 0..n, any shape.
        n: trials, > 0, broadcast against `counts`.
        level: nominal coverage, in (0, 1).

    Returns:
        `(low, high)`, float64 arrays of the broadcast shape in [0, 1]; `low` is exactly 0 where the count is 0 and
        `high` exactly 1 where it is n.

    Raises:
        ValueError: a count outside 0..n, no trials, or a level outside (0, 1).

    >>> low, high = wilson_interval(10, 2000)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0027, 0.0092)
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not in (0, 1)")
    k, trials = np.broadcast_arrays(np.asarray(counts, np.float64), np.asarray(n, np.float64))
    if np.any(trials <= 0) or np.any(k < 0) or np.any(k > trials):
        raise ValueError("counts must lie in 0..n, and n must be positive")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = k / trials
    scale = 1 / (1 + z * z / trials)
    centre = scale * (share + z * z / (2 * trials))
    half = scale * z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = np.where(k == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(k == trials, 1.0, np.clip(centre + half, 0, 1))
    return low, high


def share_interval(counts: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's interval, modified where few faces have (or lack) a label: Brown, Cai & DasGupta 2001, section 4.1.1.

    Where 1 to 3 faces (1 or 2 of up to 50) have a label, Wilson's lower limit would exclude shares that such a count is
    not too rare for, and 95 % be 84 %. It is then the one-sided lower limit of a Poisson mean; the upper limit of a
    label that all but so few have is its mirror image.

    Args:
        counts: faces, whole numbers 0..n, any shape.
        n: all faces, > 0, broadcast against `counts`.
        level: nominal coverage, in (0, 1).

    Raises:
        ValueError: as for :func:`wilson_interval`.

    >>> low, high = share_interval(1, 500)
    >>> round(float(low), 5), round(float(high), 5)  # Wilson's are 0.00035 and 0.01124
    (0.0001, 0.01124)
    """
    from scipy.special import gammaincinv

    low, high = wilson_interval(counts, n, level)
    k, trials = np.broadcast_arrays(np.asarray(counts, np.float64), np.asarray(n, np.float64))
    few = np.where(trials <= 50, 2, 3)

    def limit(have: Floats) -> Floats:
        inner = np.clip(have, 1, few)
        return np.where(have == inner, gammaincinv(inner, 1 - level) / trials, 1.0)

    return np.minimum(low, limit(k)), np.maximum(high, 1 - limit(trials - k))


def label_shares(codes: ArrayLike, classes: Sequence[str], level: float = 0.95) -> LabelShares:
    """Counts and shares of integer labels, with intervals by :func:`share_interval`; classes of count 0 are kept.

    Args:
        codes: whole numbers [N] in 0..K-1, N > 0.
        classes: the K class names.
        level: nominal coverage of each interval (each for itself: they are not simultaneous).

    Raises:
        ValueError: no labels, or a code outside 0..K-1.
    """
    array = np.asarray(codes, np.int64)
    if array.size == 0:
        raise ValueError("no labels to count")
    if array.min() < 0 or array.max() >= len(classes):
        raise ValueError(f"a label code is outside 0..{len(classes) - 1}")
    counts = np.bincount(array, minlength=len(classes)).astype(np.int64)
    low, high = share_interval(counts, array.size, level)
    return LabelShares(tuple(classes), counts, counts / array.size, low, high, int(array.size), level)


def confidence_summary(confidence: ArrayLike, probabilities: ArrayLike) -> ConfidenceSummary:
    """Mean, median, histogram of confidences, and how many faces have no class of one half or more.

    Args:
        confidence: [N] in [0, 1], the probability of the given label.
        probabilities: [N, K], rows that sum to 1.
    """
    sure = np.asarray(confidence, np.float64)
    return ConfidenceSummary(
        mean=float(sure.mean()),
        median=float(np.median(sure)),
        threshold=_UNCERTAIN,
        uncertain=int((sure < _UNCERTAIN).sum()),
        mean_entropy_bits=float(entropy_bits(probabilities).mean()),
        bin_edges=np.linspace(0, 1, _BINS + 1),
        histogram=histogram(sure),
    )


def histogram(values: ArrayLike) -> Ints:
    """Counts [20] of values in [0, 1] in equal bins, each closed on the left and the last one on both sides."""
    return np.histogram(np.asarray(values, np.float64), bins=_BINS, range=(0.0, 1.0))[0].astype(np.int64)


def entropy_bits(probabilities: ArrayLike) -> Floats:
    """Shannon entropy [N] in bits of each row of probabilities [N, K]; 0 log 0 counts as 0."""
    rows = np.asarray(probabilities)
    if rows.ndim == 2 and len(rows) > _CHUNK:  # millions of rows need no tables of their own size beside them
        return np.concatenate([entropy_bits(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)])
    p = rows.astype(np.float64)
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    # + 0.0 turns the -0.0 of a certain row into 0.0
    return -(p * logs).sum(axis=-1) + 0.0
