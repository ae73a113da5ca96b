"""The distance of two sets of labels whose faces belong together: equal seeds or pictures, sweeps over several psi.

Faces of one seed are not independent, neither at several psi nor in two runs. So seeds are drawn anew, not faces, which
is the cluster bootstrap (Davison & Hinkley 1997, section 3.8); seeds of one run alone are drawn apart from shared ones.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats, Ints
from .distance import Interval, total_variation_interval

Labelled = tuple[ArrayLike, Sequence[Hashable]]
_DRAWS = 2000
_CELLS = 2**22  # of draws times patterns that are held at a time


def clustered_distance(
    ours: Labelled,
    theirs: Labelled | Floats,
    k: int,
    *,
    error: Floats | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Total variation between the label shares of two sets of faces, or of one and exact shares.

    Args:
        ours: labels int [N] in 0..k-1, and what each face belongs to: faces with the same key are drawn together.
        theirs: the same of another set, whose equal keys are those of the same seeds or pictures; or exact
            shares [k].
        k: labels.
        error: where those shares are an estimate, draws [B, k] of what it may be wrong by, B at least 2000.

    Returns:
        The distance; with both sets equal face by face its interval is 0 to 0.
    """
    other, exact = (theirs, np.zeros(k)) if isinstance(theirs, tuple) else (None, theirs)
    found, drawn = clustered_shares(ours, other, k, seed=seed)
    difference = found[0] - found[1] - exact
    noise = drawn[0] - drawn[1] - exact - difference
    return total_variation_interval(difference, noise if error is None else noise - error[:_DRAWS], level)


def clustered_shares(
    ours: Labelled, theirs: Labelled | None, k: int, *, seed: int = 0
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Label shares [k] of two sets, and 2000 draws [B, k] of each with seeds drawn anew, for both sets together.

    Arguments as for :func:`clustered_distance`; all shares of a set that is None are 0.
    """
    sides = [ours] if theirs is None else [ours, theirs]
    units: dict[Hashable, int] = {}
    rows = [[units.setdefault(key, len(units)) for key in keys] for _, keys in sides]
    counts = np.zeros((len(units), 2 * k), np.int64)
    for side, ((codes, _), places) in enumerate(zip(sides, rows, strict=True)):
        np.add.at(counts, (np.asarray(places), np.asarray(codes, np.int64) + side * k), 1)
    patterns, times = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    kinds = (patterns[:, :k].any(axis=1)).astype(int) + 2 * patterns[:, k:].any(axis=1)
    step = max(1, _CELLS // len(patterns))
    parts = [
        _shares(_drawn(times, kinds, min(step, _DRAWS - start), rng), patterns, k) for start in range(0, _DRAWS, step)
    ]
    a, b = _shares(times[None], patterns, k)
    return (a[0], b[0]), (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))


def _drawn(times: Ints, kinds: Ints, draws: int, rng: np.random.Generator) -> Ints:
    """How often each pattern occurs in samples of as many units of each kind as there are, [draws, patterns]."""
    drawn = np.zeros((draws, len(times)), np.int64)
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        total = int(times[members].sum())
        drawn[:, members] = rng.multinomial(total, times[members] / total, draws)
    return drawn


def _shares(times: Ints, patterns: Ints, k: int) -> tuple[Floats, Floats]:
    sums = (times @ patterns).astype(np.float64)
    a, b = (half / np.maximum(half.sum(axis=1, keepdims=True), 1) for half in (sums[:, :k], sums[:, k:]))
    return a, b
