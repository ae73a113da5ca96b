import math
from collections import Counter

import numpy as np
import pytest
from fergan.reports.statistics.shares import (
    confidence_summary,
    entropy_bits,
    histogram,
    label_shares,
    share_interval,
    wilson_interval,
)
from scipy.stats import binom, binomtest, chi2, entropy


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 3589, 1_000_000])
def test_wilson_intervals_are_those_of_scipy(n: int, level: float) -> None:
    counts = sorted({0, 1, n // 3, n // 2, n - 1, n})
    low, high = wilson_interval(counts, n, level)
    for i, k in enumerate(counts):
        expected = binomtest(k, n).proportion_ci(level, method="wilson")
        assert low[i] == pytest.approx(expected.low, abs=1e-12)
        assert high[i] == pytest.approx(expected.high, abs=1e-12)


def test_wilson_intervals_cover_the_share_about_as_often_as_they_say() -> None:
    counts = np.random.default_rng(0).binomial(500, 0.07, 20_000)
    low, high = wilson_interval(counts, 500)
    assert ((low <= 0.07) & (high >= 0.07)).mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("n", [5, 30, 50, 51, 100, 500])
def test_share_intervals_hold_every_share(n: int) -> None:
    """Exact coverage, all shares up to a half: Wilson's falls to 83 % where a fraction of a face is expected."""
    counts, shares = np.arange(n + 1)[:, None], np.linspace(0, 0.5, 2001)
    chance = binom.pmf(counts, n, shares)
    low, high = share_interval(counts, n)
    covered = (chance * ((low <= shares) & (shares <= high))).sum(axis=0)
    assert covered.min() > 0.9 and covered.mean() == pytest.approx(0.95, abs=0.02)
    low, high = wilson_interval(counts, n)
    assert (chance * ((low <= shares) & (shares <= high))).sum(axis=0).min() < 0.9 or n > 100


def test_share_intervals_are_wilsons_but_for_one_limit_of_few_faces() -> None:
    counts = np.array([0, 1, 3, 4, 250, 496, 497, 500])
    wilson, found = np.array(wilson_interval(counts, 500)), np.array(share_interval(counts, 500))
    assert np.flatnonzero(wilson[0] != found[0]).tolist() == [1, 2]
    assert np.flatnonzero(wilson[1] != found[1]).tolist() == [6]
    # Brown, Cai & DasGupta 2001: half the 5 % quantile of chi-square with twice as many degrees of freedom
    assert found[0, 1:3] * 500 == pytest.approx([chi2.ppf(0.05, 2) / 2, chi2.ppf(0.05, 6) / 2])
    assert found[1, 6] == pytest.approx(1 - found[0, 2])


def test_wilson_interval_of_nothing_and_of_everything() -> None:
    assert wilson_interval(0, 2000)[0] == 0
    assert wilson_interval(2000, 2000)[1] == 1
    assert wilson_interval(0, 2000)[1] == pytest.approx(0.0019, abs=5e-5)


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 3, 0.95), (4, 3, 0.95), (0, 0, 0.95), (1, 3, 1.0)])
def test_wilson_interval_refuses_impossible_counts(k: int, n: int, level: float) -> None:
    with pytest.raises(ValueError):
        wilson_interval(k, n, level)


def test_label_shares_agree_with_a_plain_count_and_keep_empty_classes() -> None:
    names = ["happy", "sad", "neutral"]
    given = ["happy"] * 290 + ["neutral"] * 209
    shares = label_shares([names.index(label) for label in given], names)
    plain = Counter(given)
    assert dict(zip(shares.classes, shares.counts.tolist(), strict=True)) == {name: plain[name] for name in names}
    assert shares.shares.tolist() == pytest.approx([290 / 499, 0, 209 / 499])
    assert shares.ranking() == [0, 2, 1]
    assert shares.low[1] == 0 and 0 < shares.high[1] < 0.01


def test_equal_counts_rank_in_class_order() -> None:
    assert label_shares([0, 1, 2, 3], "abcd").ranking() == [0, 1, 2, 3]


@pytest.mark.parametrize("codes", [[], [-1], [3]])
def test_label_shares_refuse_what_is_no_label(codes: list[int]) -> None:
    with pytest.raises(ValueError):
        label_shares(codes, "abc")


def test_entropy_is_that_of_scipy_and_zero_for_a_certain_face() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    assert entropy_bits(p) == pytest.approx(entropy(p, base=2, axis=1))
    certain = entropy_bits([[0.0, 1.0]])[0]
    assert certain == 0 and math.copysign(1, certain) == 1


def test_confidences_are_counted_below_the_threshold_and_in_closed_bins() -> None:
    sure = np.array([0.2, 0.49, 0.5, 0.75, 1.0])
    p = np.stack([sure, 1 - sure], axis=1)
    summary = confidence_summary(sure, p)
    assert summary.uncertain == 2 and summary.histogram.shape == (20,)
    assert np.repeat(np.arange(20), summary.histogram).tolist() == [4, 9, 10, 15, 19]
    assert summary.mean == pytest.approx(0.588) and summary.median == 0.5
    assert np.flatnonzero(histogram([0.0, 1.0])).tolist() == [0, 19]
