"""Shares as a posterior: the classifier's confusion and the shares are unknown together, and drawn together.

The model: the expressions of N faces have the shares p; a face of expression y gets label i with probability M[i, y];
validation faces of each expression say how the column M[:, y] may look. Priors are Dirichlet 1/2 (Jeffreys' for one
multinomial) on p and on every column. Only counts matter, so a million faces take no longer than a hundred.

Where faces are few, the prior tells: under Dirichlet 1/2 five expressions that hardly occur take so much from the
others that limits miss these too often; under the sparser Dirichlet 1/K (Perks 1947, worth one face in all) rare
expressions vanish. So half of the draws are under each: a linear opinion pool (Stone 1961, Ann. Math. Stat. 32:1339).

Draws are by Gibbs sampling with data augmentation (Tanner & Wong 1987): given p and M, split the faces of each label
over the expressions; given the split, p and the columns of M are Dirichlet. Between the sweeps, columns of M and pairs
of shares move with the label rates held. Ziegler & Czyż (2023, arXiv:2302.09159) put the same likelihood under
Hamiltonian sampling.

The posterior holds the luck of both sets of faces. Like every correction by validation faces it assumes label shift.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats, Ints

PRIOR = 0.5
_CHAINS = 48  # under each prior
_BURN_IN, _EVERY, _KEPT = 60, 4, 32  # sweeps of each chain, and how many of them are kept
_SPARSE_EVERY = 12  # under the sparser prior: shares near 0 stay there for long
_EXCHANGES = 2  # between shares, in each sweep
_STRIDES = (0.3, 1.0, 3.0)  # standard deviations of the logarithm of a share that is exchanged
_NEAR = 1.02  # an interval from 0 that is hardly wider than the shortest one is the one from 0


@dataclass(frozen=True)
class Ranking:
    """An order of the largest shares, class indices from the largest on, and its probability."""

    order: tuple[int, ...]
    probability: float


@dataclass(frozen=True)
class BayesianShares:
    """Posterior means [K] with credible limits [K], each for itself.

    `first` [K] is the probability that a class has the largest share; `rankings` are the likeliest orders of the three
    largest. `mixing` is Gelman and Rubin's factor, the worst of all shares under both priors: near 1 where chains
    agree.
    """

    shares: Floats
    low: Floats
    high: Floats
    first: Floats
    rankings: tuple[Ranking, ...]
    level: float
    mixing: float


def bayesian_shares(counts: ArrayLike, confusion: ArrayLike, *, level: float = 0.95, seed: int = 0) -> BayesianShares:
    """The posterior of the shares, given the labels of these faces and the confusion on validation faces.

    Args:
        counts: faces of each label, whole numbers [K].
        confusion: whole numbers [K, K] from :func:`~.confusion.answers_by_class`.
        level: of each interval; see :func:`credible_limits`.
        seed: of the draws; the same inputs and seed give the same posterior.

    Raises:
        ValueError: no faces, or shapes that do not fit.
    """
    n, c = np.asarray(counts, np.int64), np.asarray(confusion, np.float64)
    if n.ndim != 1 or c.shape != (len(n), len(n)) or n.min(initial=0) < 0 or c.min(initial=0) < 0 or not n.sum():
        raise ValueError(f"counts {n.shape} and confusion {c.shape} must be [K] and [K, K], not negative, not all 0")
    rng = np.random.default_rng(seed)
    both = [chains[0] for chains in under_both_priors(n[None], c[None], rng)]
    draws = np.concatenate(both).reshape(-1, len(n))
    low, high = credible_limits(draws, level)
    first, rankings = _ranked(draws)
    return BayesianShares(draws.mean(axis=0), low, high, first, rankings, level, max(map(mixing, both)))


def under_both_priors(
    counts: Ints, confusion: Floats, rng: np.random.Generator, chains: int = _CHAINS
) -> tuple[Floats, Floats]:
    """The states of :func:`posterior_draws` under Dirichlet 1/2 and under Dirichlet 1/K."""
    return (
        posterior_draws(counts, confusion, rng, PRIOR, chains),
        posterior_draws(counts, confusion, rng, 1 / counts.shape[1], chains, _SPARSE_EVERY),
    )


def credible_limits(draws: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Limits [K] of shares from their draws [D, K]: equal-tailed, but 0 (or 1) where the densest interval ends there.

    Equal tails alone never hold a share of 0; highest density alone spends all that it may miss on the other side
    there, and misses small shares up to three times as often as it says.
    """
    low, high = highest_density(draws, level)
    below, above = np.quantile(np.asarray(draws, np.float64), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.where(low == 0, 0.0, below), np.where(high == 1, 1.0, above)


def highest_density(draws: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The shortest intervals [K] that hold `level` of the draws [D, K] of shares.

    A density that rises towards 0 (or 1) has its interval start there, where no draw ever is; equal-tailed intervals
    never hold a share of 0.
    """
    ordered = np.sort(np.asarray(draws, np.float64), axis=0)
    size = len(ordered)
    held = min(size, int(np.ceil(level * size)))
    widths = ordered[held - 1 :] - ordered[: size - held + 1]
    start, columns = widths.argmin(axis=0), np.arange(ordered.shape[1])
    low, high, best = ordered[start, columns], ordered[start + held - 1, columns], widths.min(axis=0)
    from_zero = ordered[held - 1] <= _NEAR * best
    low, high = np.where(from_zero, 0.0, low), np.where(from_zero, ordered[held - 1], high)
    to_one = 1 - ordered[size - held] <= _NEAR * best
    return np.where(to_one, ordered[size - held], low), np.where(to_one, 1.0, high)


def dirichlet(parameters: ArrayLike, rng: np.random.Generator) -> Floats:
    """One draw for each vector of parameters > 0 on the last axis."""
    gamma = np.maximum(rng.standard_gamma(np.asarray(parameters, np.float64)), 1e-300)
    return gamma / gamma.sum(axis=-1, keepdims=True)


def posterior_draws(
    counts: Ints,
    confusion: Floats,
    rng: np.random.Generator,
    prior: float = PRIOR,
    chains: int = _CHAINS,
    every: int = _EVERY,
) -> Floats:
    """States [R, chains, kept, K] after burn-in, for counts [R, K] and confusions [R, K, K] of R reports at once.

    `prior` is the Dirichlet parameter of each share; one state in `every` is kept.
    """
    reports, k = counts.shape
    counts = np.repeat(counts, chains, axis=0)
    # [chain, y, i]: the label is last, as dirichlet wants it
    columns = np.repeat(confusion.transpose(0, 2, 1) + PRIOR, chains, axis=0)
    m = dirichlet(columns, rng)
    p = np.maximum(_unmixed(m, dirichlet(counts + PRIOR, rng)), 1e-3)
    p /= p.sum(axis=1, keepdims=True)
    kept = []
    for sweep in range(_BURN_IN + every * _KEPT):
        joint = np.maximum((p[:, :, None] * m).transpose(0, 2, 1), 1e-300)  # [chain, i, y]
        split = rng.multinomial(counts, joint / joint.sum(axis=-1, keepdims=True))
        p = dirichlet(split.sum(axis=1) + prior, rng)
        m = dirichlet(columns + split.transpose(0, 2, 1), rng)
        m, p = _change_columns(m, p, columns, prior, rng)
        for _ in range(_EXCHANGES):
            m, p = _exchange(m, p, columns, prior, counts, rng)
        if sweep >= _BURN_IN and (sweep - _BURN_IN) % every == 0:
            kept.append(p)
    return np.stack(kept, axis=1).reshape(reports, chains, _KEPT, k)


def _change_columns(
    m: Floats, p: Floats, columns: Floats, prior: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw the columns of M anew, one by one, while the label rates q = M p stay: Metropolis-Hastings steps.

    Many faces pin the split, which pins M and p, and Gibbs sampling alone then creeps. Held in terms of q instead
    (interweaving: Yu & Meng 2011), they do not hinder M. Drawn from its prior and validation faces, a column is taken
    by the ratio of the priors of p = M^-1 q, and of the volumes |dp/dq| = 1 / |det M|. Both follow from the change of
    M^-1 with one column (Sherman & Morrison 1950).
    """
    m, inverse = m.copy(), np.linalg.inv(m).transpose(0, 2, 1)  # [chain, y, i]
    for y in rng.permutation(p.shape[1]):
        proposed = dirichlet(columns[:, y], rng)
        change = np.einsum("cyi,ci->cy", inverse, proposed - m[:, y])
        pivot = 1 + change[:, y]  # det M' / det M
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = p - change * (p[:, y] / pivot)[:, None]
            log_ratio = (prior - 1) * np.log(moved / p).sum(axis=1) - np.log(np.abs(pivot))
        taken = (moved > 0).all(axis=1) & (np.log(rng.random(len(p))) < log_ratio)
        m[taken, y], p = proposed[taken], np.where(taken[:, None], moved, p)
        inverse[taken] -= change[taken, :, None] * (inverse[taken, y] / pivot[taken, None])[:, None]
    return m, p


def _exchange(
    m: Floats, p: Floats, columns: Floats, prior: float, counts: Ints, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Let each share y in turn grow or shrink at the cost of another, b, whose mistakes make up for it.

    Many labels of a rare class may be its faces, or mistakes on faces of a common one. With q = M p, and thus all that
    these labels say, held as it is, p_y moves by a factor and M_b becomes (M_b p_b + M_y p_y - M_y p_y') / p_b'. That
    map stretches M_b by p_b / p_b' in K - 1 dimensions.
    """
    chains, k = np.arange(len(p)), p.shape[1]
    m, p = m.copy(), p.copy()
    for y in range(k):
        steps = np.where(np.arange(k) == y, 0, counts + 1.0).cumsum(axis=1)
        b = (rng.random((len(p), 1)) * steps[:, -1:] >= steps).sum(axis=1)
        own, other, column = p[:, y], p[chains, b], m[chains, b]
        grown = own * np.exp(rng.choice(_STRIDES, len(p)) * rng.standard_normal(len(p)))
        shrunk = other - (grown - own)
        with np.errstate(divide="ignore", invalid="ignore"):
            changed = (column * other[:, None] - m[:, y] * (grown - own)[:, None]) / shrunk[:, None]
            log_ratio = ((columns[chains, b] - 1) * np.log(changed / column)).sum(axis=1)
            log_ratio += (k - 1) * np.log(other / shrunk) + (prior - 1) * np.log(shrunk / other)
            log_ratio += prior * np.log(grown / own)  # the prior, and the proposal by a factor
        taken = (shrunk > 0) & (changed > 0).all(axis=1) & (np.log(rng.random(len(p))) < log_ratio)
        rows, others = chains[taken], b[taken]
        p[rows, y], p[rows, others] = grown[taken], shrunk[taken]
        m[rows, others] = changed[taken]
    return m, p


def _unmixed(m: Floats, q: Floats) -> Floats:
    """M^-1 q for each chain; m is [chain, y, i], the transpose of M."""
    return np.asarray(np.linalg.solve(m.transpose(0, 2, 1), q[:, :, None])[:, :, 0], np.float64)


def _ranked(draws: Floats) -> tuple[Floats, tuple[Ranking, ...]]:
    k = draws.shape[1]
    orders = np.argsort(-draws, axis=1, kind="stable")[:, :3]
    first = np.bincount(orders[:, 0], minlength=k) / len(draws)
    found, times = np.unique(orders, axis=0, return_counts=True)
    likeliest = np.argsort(-times, kind="stable")[:5]
    return first, tuple(Ranking(tuple(found[row].tolist()), float(times[row] / len(draws))) for row in likeliest)


def mixing(chains: Floats) -> float:
    """The potential scale reduction factor of Gelman & Rubin (1992)."""
    size = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = chains.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt(((size - 1) / size * within + between) / np.maximum(within, 1e-300)).max())
