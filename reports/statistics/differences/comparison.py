"""Do two sets of labels differ, and by how much: tests, effect sizes with intervals, label by label.

With ten thousand faces every p-value is tiny, so the distance with its interval comes first: the total variation, the
share of faces whose label would have to change to turn one distribution into the other. Everything here is a pure
function of counts or label codes; shares are fractions in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...formatting import NBSP, count, percent, plural
from ..arrays import Floats, Ints
from ..shares import share_interval, wilson_interval
from .distance import NOISE_DRAWS, Interval, share_noise, total_variation_interval
from .references import Reference

_DRAWS = 9999  # of a Monte Carlo test: p-values in steps of 0.0001
_EXPECTED = 5  # below this the chi-square approximation is not trusted (Cochran 1954)
_SMALL = 100


@dataclass(frozen=True)
class TestResult:
    """One test; `method` says whether the p-value is 'asymptotic' or 'Monte Carlo' (9999 draws)."""

    name: str
    statistic: float
    df: int
    p_value: float
    method: str


@dataclass(frozen=True)
class LabelDifference:
    """One label in both sets: its shares `a` and `b`, a - b with its interval, and the p-values before and after Holm.

    The interval is for this label alone; `adjusted_p` holds for all labels together.
    """

    label: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float


@dataclass(frozen=True)
class Comparison:
    """Two label distributions; `notes` are plain sentences."""

    test: TestResult
    total_variation: Interval
    cramers_v: float | None
    labels: tuple[LabelDifference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PairedComparison:
    """The same faces judged under two settings.

    `changed` of `n` faces have another label. That is more than the distributions tell: changes can cancel out.
    """

    test: TestResult
    changed: int
    n: int
    total_variation: Interval
    labels: tuple[LabelDifference, ...]
    notes: tuple[str, ...]


def compare_to_reference(
    counts: ArrayLike, classes: Sequence[str], against: Reference, *, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Are these labels a draw from the reference? A chi-square test of fit, Monte Carlo where counts are small.

    Args:
        counts: faces of each label, whole numbers [K].
        classes: their K names.
        against: the reference; one with counts is compared as a second sample, one with `error` as an estimate.

    Raises:
        ValueError: no faces, or shapes that do not fit.
    """
    if against.counts is not None:
        return compare_counts(counts, against.counts, classes, level=level, seed=seed)
    observed, shares = _checked(counts, classes), np.asarray(against.shares, np.float64)
    if against.error is not None:
        return _compare_to_estimate(observed, classes, shares, against.error, level, seed)
    n = int(observed.sum())
    rng = np.random.default_rng(seed)
    expected = n * shares
    seen = (expected > 0) | (observed > 0)
    draws = rng.multinomial(n, shares, _DRAWS) if _few(expected[expected > 0]) else None
    test = _chi_square("chi-square test of fit", observed[None], expected[None], int(seen.sum()) - 1, draws)
    noise = share_noise(observed, rng)
    low, high = share_interval(observed, n, level)
    p_values = [_binomial_p(int(k), n, float(share)) for k, share in zip(observed, shares, strict=True)]
    labels = _differences(classes, observed / n, shares, low - shares, high - shares, p_values)
    distance = total_variation_interval(observed / n - shares, noise, level)
    return Comparison(test, distance, None, labels, _notes([n], test, distance))


def _compare_to_estimate(
    observed: Ints, classes: Sequence[str], shares: Floats, error: Floats, level: float, seed: int
) -> Comparison:
    """The same where the expected shares [K] have draws [B, K] of their own error: all p-values are Monte Carlo."""
    n, rng = int(observed.sum()), np.random.default_rng(seed)
    expected = np.maximum(shares + error, 1e-9)
    drawn = rng.multinomial(n, shares, len(expected))

    def pearson(counts: NDArray[np.integer], means: Floats) -> Floats:
        return ((counts - means) ** 2 / means).sum(axis=-1)

    statistic = float(pearson(observed, n * np.maximum(shares, 1e-9)))
    p_value = _monte_carlo_p(statistic, pearson(drawn, n * expected))
    test = TestResult("chi-square test of fit", statistic, len(classes) - 1, p_value, "Monte Carlo")
    difference, deviation = observed / n - shares, np.abs(drawn / n - expected)
    p_values = [_monte_carlo_p(abs(difference[k]), deviation[:, k]) for k in range(len(classes))]
    low, high = share_interval(observed, n, level)
    spread = NormalDist().inv_cdf(0.5 + level / 2) * error.std(axis=0)
    below, above = np.hypot(observed / n - low, spread), np.hypot(high - observed / n, spread)
    labels = _differences(classes, observed / n, shares, difference - below, difference + above, p_values)
    distance = total_variation_interval(difference, share_noise(observed, rng) - error[:NOISE_DRAWS], level)
    return Comparison(test, distance, None, labels, _notes([n], test, distance, rare=False))


def compare_counts(
    counts_a: ArrayLike, counts_b: ArrayLike, classes: Sequence[str], *, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Do two independent sets of faces share one label distribution? A chi-square test of homogeneity.

    Where a count of fewer than 5 is expected, the p-value comes from random splits of the pooled faces, which is exact
    up to the number of draws. Faces of the same seeds are not independent: see :func:`compare_paired`.

    Args:
        counts_a, counts_b: faces of each label, whole numbers [K].

    Returns:
        With Cramér's V, bias-corrected (Bergsma 2013, J. Korean Stat. Soc. 42:323); label differences a - b with
        Newcombe's hybrid score intervals (1998, Stat. Med. 17:873, method 10).

    Raises:
        ValueError: no faces, or shapes that do not fit.
    """
    a, b = _checked(counts_a, classes), _checked(counts_b, classes)
    n_a, n_b = int(a.sum()), int(b.sum())
    rng = np.random.default_rng(seed)
    total = a + b
    expected = np.stack([total * n_a, total * n_b]) / (n_a + n_b)
    seen = int((total > 0).sum())
    splits = rng.multivariate_hypergeometric(total, n_a, _DRAWS) if _few(expected[:, total > 0]) else None
    draws = None if splits is None else np.stack([splits, total - splits], axis=1)
    test = _chi_square("chi-square test of homogeneity", np.stack([a, b]), expected, seen - 1, draws)
    p, q = a / n_a, b / n_b
    noise = share_noise(a, rng) - share_noise(b, rng)
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n_a, level), wilson_interval(b, n_b, level)
    low = p - q - np.sqrt((p - low_a) ** 2 + (high_b - q) ** 2)
    high = p - q + np.sqrt((high_a - p) ** 2 + (q - low_b) ** 2)
    p_values = [_two_share_p(int(x), n_a, int(y), n_b) for x, y in zip(a, b, strict=True)]
    distance = total_variation_interval(p - q, noise, level)
    return Comparison(
        test,
        distance,
        _cramers_v(test.statistic, n_a + n_b, 2, seen),
        _differences(classes, p, q, low, high, p_values),
        _notes([n_a, n_b], test, distance),
    )


def compare_paired(
    codes_a: ArrayLike, codes_b: ArrayLike, classes: Sequence[str], *, seed: int = 0
) -> PairedComparison:
    """Does a setting shift the labels of the same faces (one seed at two psi, one face under two crops)?

    The Stuart-Maxwell test of equal label shares in pairs (Stuart 1955, Maxwell 1970), which is McNemar's for two
    labels; Bowker's would ask whether the changes are symmetric, a different question. Where a label takes part in
    fewer than 10 changes, the p-value comes from swapping the two labels of faces at random.

    Args:
        codes_a, codes_b: labels int [N] in 0..K-1 of the same N faces in the same order.
        classes: the K names.

    Returns:
        Label differences a - b with Agresti & Min's intervals (2005, Stat. Med. 24:729) and McNemar's exact p-values.

    Raises:
        ValueError: no faces, or arrays of different lengths.
    """
    from scipy.stats import binomtest, chi2

    a, b, k = np.asarray(codes_a, np.int64), np.asarray(codes_b, np.int64), len(classes)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError("the two sets of labels must have the same faces, and at least one")
    table = np.bincount(a * k + b, minlength=k * k).reshape(k, k).astype(np.int64)
    n = len(a)
    rng = np.random.default_rng(seed)
    both = table + table.T
    lost, won = table.sum(axis=1) - np.diag(table), table.sum(axis=0) - np.diag(table)
    # the covariance of the differences under the hypothesis depends on the sums of both directions only
    inverse = np.linalg.pinv(np.diag(both.sum(axis=1)) - both.astype(np.float64), hermitian=True)
    difference = lost - won
    statistic = float(difference @ inverse @ difference)
    moved = lost + won
    df = int(np.linalg.matrix_rank(np.diag(both.sum(axis=1)) - both))
    method = "Monte Carlo" if _few(moved[moved > 0] / 2) else "asymptotic"
    if df == 0:
        p_value = 1.0
    elif method == "asymptotic":
        p_value = float(chi2.sf(statistic, df))
    else:
        rows, columns = np.triu_indices(k, 1)
        forth = rng.binomial(both[rows, columns], 0.5, (_DRAWS, len(rows)))
        net = 2 * forth - both[rows, columns]
        swapped = net @ (np.eye(k)[rows] - np.eye(k)[columns])
        p_value = _monte_carlo_p(statistic, ((swapped @ inverse) * swapped).sum(axis=1))
    test = TestResult("Stuart-Maxwell test", statistic, df, p_value, method)
    drawn = rng.multinomial(n, table.ravel() / n, NOISE_DRAWS).reshape(-1, k, k) / n
    noise = drawn.sum(axis=2) - drawn.sum(axis=1) - difference / n
    z = NormalDist().inv_cdf(0.975)
    centre = difference / (n + 2)
    half = z * np.sqrt(moved + 1 - difference**2 / (n + 2)) / (n + 2)
    p_values = [binomtest(int(x), int(m)).pvalue if m else 1.0 for x, m in zip(lost, moved, strict=True)]
    distance = total_variation_interval(difference / n, noise)
    p, q = table.sum(axis=1) / n, table.sum(axis=0) / n
    labels = _differences(classes, p, q, np.maximum(centre - half, -1), np.minimum(centre + half, 1), p_values)
    changed = n - int(np.trace(table))
    return PairedComparison(test, changed, n, distance, labels, _notes([n], test, distance))


def holm(p_values: ArrayLike) -> Floats:
    """P-values [K] adjusted for being K (Holm 1979): the chance of any false alarm stays below the level."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def _chi_square(name: str, observed: Ints, expected: Floats, df: int, draws: Ints | None) -> TestResult:
    """Pearson's statistic of [R, K] counts, against chi-square or against `draws` [B, R, K] (or [B, K] for R = 1)."""
    from scipy.stats import chi2

    def pearson(counts: NDArray[np.integer]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = np.where(counts == expected, 0.0, (counts - expected) ** 2 / expected)
        return cells.sum(axis=(-2, -1))

    statistic = float(pearson(observed))
    method = "asymptotic" if draws is None else "Monte Carlo"
    if df <= 0:
        return TestResult(name, 0.0, 0, 1.0, method)
    if not np.isfinite(statistic):
        p_value = 0.0  # a label that the reference rules out
    elif draws is None:
        p_value = float(chi2.sf(statistic, df))
    else:
        p_value = _monte_carlo_p(statistic, pearson(draws.reshape(len(draws), *observed.shape)))
    return TestResult(name, statistic, df, p_value, method)


def _monte_carlo_p(statistic: float, drawn: Floats) -> float:
    # the observed table counts as one of the draws, so p is never 0; the tolerance is for equal sums in another order
    return float((1 + (drawn >= statistic * (1 - 1e-9)).sum()) / (1 + len(drawn)))


def _few(expected: Floats) -> bool:
    return bool(expected.size and expected.min() < _EXPECTED)


def _cramers_v(statistic: float, n: int, rows: int, columns: int) -> float | None:
    if columns < 2 or n < 3:
        return None
    corrected = max(0.0, statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(corrected / smaller))) if smaller > 0 else None


def _binomial_p(k: int, n: int, share: float) -> float:
    """Two-sided: exact for small expected counts, else the score test."""
    from scipy.stats import binomtest

    if n * min(share, 1 - share) < _EXPECTED:
        return float(binomtest(k, n, share).pvalue)
    return _normal_p((k - n * share) / np.sqrt(n * share * (1 - share)))


def _two_share_p(k_a: int, n_a: int, k_b: int, n_b: int) -> float:
    """Two-sided: Fisher's exact test for small expected counts, else the score test."""
    from scipy.stats import fisher_exact

    pooled = (k_a + k_b) / (n_a + n_b)
    if pooled in (0, 1):
        return 1.0
    if min(n_a, n_b) * min(pooled, 1 - pooled) < _EXPECTED:
        return float(fisher_exact([[k_a, n_a - k_a], [k_b, n_b - k_b]]).pvalue)
    return _normal_p((k_a / n_a - k_b / n_b) / np.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b)))


def _normal_p(z: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.sf(abs(z)))


def _differences(
    classes: Sequence[str], a: Floats, b: Floats, low: Floats, high: Floats, p_values: Sequence[float]
) -> tuple[LabelDifference, ...]:
    adjusted = holm(p_values)
    return tuple(
        LabelDifference(
            str(name), float(a[k]), float(b[k]), float(a[k] - b[k]), float(low[k]), float(high[k]),
            float(p_values[k]), float(adjusted[k]),
        )
        for k, name in enumerate(classes)
    )  # fmt: skip


def _checked(counts: ArrayLike, classes: Sequence[str]) -> Ints:
    array = np.asarray(counts)
    if array.shape != (len(classes),) or (array < 0).any() or (array != np.round(array)).any() or array.sum() == 0:
        raise ValueError(f"counts must be {len(classes)} whole numbers from 0 on, and not all 0")
    return array.astype(np.int64)


def _notes(sizes: Sequence[int], test: TestResult, distance: Interval, rare: bool = True) -> tuple[str, ...]:
    notes = []
    if min(sizes) < _SMALL:
        notes.append(
            f"A small sample: with {plural(min(sizes), 'face')} even a large difference can go unnoticed, so a test "
            "that finds none shows little."
        )
    if test.method == "Monte Carlo" and rare:
        notes.append(
            f"Some labels are too rare for the chi-square approximation; the p-value comes from {count(_DRAWS)} "
            "random draws."
        )
    if test.p_value < 0.05 and distance.high < 0.05:
        notes.append(
            f"The difference is beyond chance but small: at most {percent(distance.high)} of the faces "
            f"({100 * distance.level:g}{NBSP}% limit) would need another label."
        )
    return tuple(notes)
