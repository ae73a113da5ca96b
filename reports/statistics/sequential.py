"""Repeated looks at one limit: how sure a look must be, so that a check each night does not cry wolf.

A check at 5 % that is repeated each night alarms without cause within weeks. Here the looks share one alpha: look t may
spend alpha / (t (t + 1)), which sums to alpha over any number of looks. By the union bound no more than alpha of all
pipelines within the limit ever alarm, however the looks depend on each other. Nightly runs of the same seeds depend on
each other almost entirely, and e-values or group-sequential bounds, which multiply or add up what independent samples
say, would count the same faces again each night.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats


@dataclass(frozen=True)
class Look:
    """Number `number` (from 1 on) of a series, with what it may spend and the p-value that it found."""

    number: int
    spends: float
    p_value: float

    @property
    def alarm(self) -> bool:
        """Whether the limit is shown to be exceeded."""
        return self.p_value <= self.spends

    def as_dict(self) -> dict[str, object]:
        """The look as JSON values, for programs."""
        return {"look": self.number, "spends": self.spends, "p_value": self.p_value, "alarm": self.alarm}


def spending(number: int, alpha: float) -> float:
    """The part of alpha that look `number`, from 1 on, may spend.

    Raises:
        ValueError: no such look, or alpha outside (0, 1).
    """
    if number < 1 or not 0 < alpha < 1:
        raise ValueError(f"look {number} at alpha {alpha}: looks are numbered from 1 on, alpha lies in (0, 1)")
    return alpha / (number * (number + 1))


def sample_excess(counts: ArrayLike, others: ArrayLike, limit: float) -> float:
    """A p-value for 'the label rates of two samples are within `limit` in total variation', from their counts.

    As :func:`label_excess`, but for a reference that is itself a sample. The tail of the difference of two shares is
    bounded by Bernstein's inequality, for a normal tail is too light at the levels that late looks have.

    Args:
        counts: faces of each label [K], K at most 16.
        others: those of the other sample [K].
        limit: total variation that is allowed.

    Raises:
        ValueError: too many labels.
    """
    c, o = np.asarray(counts, np.float64), np.asarray(others, np.float64)
    sets = _sets(len(c))
    if not len(sets):
        return 1.0
    excess = np.maximum(sets @ (c / c.sum() - o / o.sum()) - limit, 0)
    variance = 0.0
    for sample in (c, o):
        share = sets @ ((sample + 1) / (sample.sum() + len(sample)))  # one more of each: absent labels vary too
        variance = variance + share * (1 - share) / sample.sum()
    tails = np.exp(-(excess**2) / (2 * (variance + excess / (3 * min(c.sum(), o.sum())))))
    return float(min(1.0, len(sets) * tails.min()))


def label_excess(counts: ArrayLike, reference: ArrayLike, limit: float) -> float:
    """A p-value for 'the label rates are within `limit` of the reference in total variation', from one run's counts.

    For a set S with reference share r the chance of as many labels in it, where their rate is r + limit, is the exact
    binomial tail; Bonferroni over the sets.

    Args:
        counts: faces of each label [K], K at most 16.
        reference: exact shares [K].
        limit: total variation that is allowed.

    Raises:
        ValueError: too many labels.
    """
    from scipy.stats import binom

    c, r = np.asarray(counts, np.float64), np.asarray(reference, np.float64)
    sets = _sets(len(c))
    if not len(sets):
        return 1.0
    tails = binom.sf(sets @ c - 1, c.sum(), np.minimum(sets @ r + limit, 1.0))
    return float(min(1.0, len(sets) * tails.min()))


def _sets(k: int) -> Floats:
    """All subsets [2^k - 2, k] of k labels but none and all, as rows of 0 and 1."""
    if k > 16:
        raise ValueError(f"{k} labels; a sequential check takes 16 at most")
    codes = np.arange(1, 2**k - 1)
    return ((codes[:, None] >> np.arange(k)) & 1).astype(np.float64)
