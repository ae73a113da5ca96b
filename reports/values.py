"""Numbers by label and with limits as plain JSON values."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .statistics.differences.distance import Interval
from .statistics.shares import LabelShares


def by_name(names: Sequence[str], values: ArrayLike) -> dict[str, float]:
    """Values [K] by label."""
    return {name: float(value) for name, value in zip(names, np.asarray(values), strict=True)}


def estimates(names: Sequence[str], shares: ArrayLike, low: ArrayLike, high: ArrayLike) -> dict[str, dict[str, float]]:
    """Shares [K] with limits, by label."""
    rows = zip(names, np.asarray(shares), np.asarray(low), np.asarray(high), strict=True)
    return {name: {"share": float(s), "low": float(a), "high": float(b)} for name, s, a, b in rows}


def share_data(names: Sequence[str], shares: LabelShares) -> dict[str, dict[str, float]]:
    """Counted shares with their limits, by label."""
    return estimates(names, shares.shares, shares.low, shares.high)


def interval(found: Interval) -> dict[str, float]:
    """A value with its limits and their level."""
    return dict(vars(found))
