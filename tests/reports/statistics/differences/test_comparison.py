import numpy as np
import pandas as pd
import pytest
from fergan.data.labels import FER2013
from fergan.reports.statistics.correction.prevalence import Validation
from fergan.reports.statistics.differences.comparison import (
    compare_counts,
    compare_paired,
    compare_to_reference,
    holm,
)
from fergan.reports.statistics.differences.distance import corrected_distance, total_variation_interval
from fergan.reports.statistics.differences.references import (
    FER2013_TRAINING,
    Reference,
    reference,
    reference_from_table,
)
from fergan.runtime.errors import DataError
from scipy import stats

A = np.array([290, 40, 60, 110])
B = np.array([240, 55, 80, 150])
NAMES = ("happy", "sad", "fear", "neutral")


def test_two_samples_agree_with_scipy() -> None:
    found = compare_counts(A, B, NAMES)
    expected = stats.chi2_contingency(np.stack([A, B]), correction=False)
    assert found.test.method == "asymptotic"
    assert found.test.statistic == pytest.approx(expected.statistic)
    assert (found.test.df, found.test.p_value) == (expected.dof, pytest.approx(expected.pvalue))
    assert found.total_variation.value == pytest.approx(abs(A / A.sum() - B / B.sum()).sum() / 2)


def test_fit_to_a_reference_agrees_with_scipy() -> None:
    shares = np.array([0.5, 0.1, 0.15, 0.25])
    found = compare_to_reference(A, NAMES, Reference("some", shares))
    expected = stats.chisquare(A, A.sum() * shares)
    assert (found.test.statistic, found.test.p_value) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )
    assert [label.difference for label in found.labels] == pytest.approx((A / A.sum() - shares).tolist())


def test_rare_labels_get_the_exact_p_value_instead() -> None:
    # Fisher's exact test orders tables by their probability, which for one free cell and equal groups is the same order
    a, b = np.array([8, 2]), np.array([1, 9])
    found = compare_counts(a, b, ("x", "y"))
    assert found.test.method == "Monte Carlo"
    exact = stats.fisher_exact([a, b]).pvalue
    assert found.test.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    assert any("random draws" in note for note in found.notes) and any("small sample" in note for note in found.notes)

    fit = compare_to_reference([7, 3], ("x", "y"), Reference("some", np.array([0.4, 0.6])))
    exact = stats.binomtest(7, 10, 0.4).pvalue
    assert fit.test.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))


def test_monte_carlo_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    shares = [0.9, 0.05, 0.03, 0.02]
    p = [
        compare_counts(rng.multinomial(40, shares), rng.multinomial(40, shares), NAMES).test.p_value for _ in range(150)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_a_label_that_the_reference_rules_out_is_a_difference() -> None:
    found = compare_to_reference([5, 5, 1], ("x", "y", "z"), Reference("some", np.array([0.5, 0.5, 0.0])))
    assert found.test.p_value == 0 and found.labels[2].p_value == 0


def test_labels_nobody_got_change_nothing() -> None:
    plain = compare_counts(A, B, NAMES)
    padded = compare_counts([*A, 0], [*B, 0], (*NAMES, "disgust"))
    assert padded.test == plain.test and padded.cramers_v == plain.cramers_v
    assert padded.labels[4].p_value == 1


def test_cramers_v_is_near_nothing_for_equal_distributions_and_one_for_opposites() -> None:
    assert compare_counts([100, 0], [0, 100], ("x", "y")).cramers_v == pytest.approx(1)
    rng = np.random.default_rng(1)
    shares = np.full(7, 1 / 7)
    v = [
        compare_counts(rng.multinomial(300, shares), rng.multinomial(300, shares), FER2013).cramers_v for _ in range(40)
    ]
    plain = np.sqrt(6 / 600)  # what chi-square alone makes of noise
    assert np.mean(v) < plain / 2


def test_label_by_label_agrees_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    found = compare_counts(A, B, NAMES)
    for k, label in enumerate(found.labels):
        n_a, n_b = A.sum(), B.sum()
        _, p = proportion.proportions_ztest([A[k], B[k]], [n_a, n_b])
        low, high = proportion.confint_proportions_2indep(A[k], n_a, B[k], n_b, method="newcomb", compare="diff")
        assert label.p_value == pytest.approx(p)
        assert (label.low, label.high) == (pytest.approx(low), pytest.approx(high))
    adjusted = multitest.multipletests([label.p_value for label in found.labels], method="holm")[1]
    assert [label.adjusted_p for label in found.labels] == pytest.approx(adjusted.tolist())


def test_holm_keeps_the_order_and_stays_below_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.9]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1, 1]


def test_pairs_agree_with_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng = np.random.default_rng(2)
    before = rng.choice(4, 900, p=[0.5, 0.1, 0.15, 0.25])
    after = np.where(rng.random(900) < 0.3, rng.choice(4, 900, p=[0.2, 0.2, 0.2, 0.4]), before)
    found = compare_paired(before, after, NAMES)
    changes = np.bincount(before * 4 + after, minlength=16).reshape(4, 4)
    expected = tables.SquareTable(changes, shift_zeros=False).homogeneity()
    assert found.test.method == "asymptotic" and found.changed == (before != after).sum()
    assert (found.test.statistic, found.test.df) == (pytest.approx(expected.statistic), expected.df)
    assert found.test.p_value == pytest.approx(expected.pvalue)
    for k, label in enumerate(found.labels):
        two = [
            [((before == k) & (after == k)).sum(), ((before == k) & (after != k)).sum()],
            [((before != k) & (after == k)).sum(), 0],
        ]
        assert label.p_value == pytest.approx(tables.mcnemar(two, exact=True).pvalue)
        assert label.low <= label.difference <= label.high


def test_few_changes_get_the_exact_p_value() -> None:
    before, after = np.zeros(50, int), np.zeros(50, int)
    before[:1], after[1:8] = 1, 1
    found = compare_paired(before, after, ("x", "y"))
    exact = stats.binomtest(1, 8).pvalue
    assert found.test.method == "Monte Carlo"
    assert found.test.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    same = compare_paired(before, before, ("x", "y"))
    assert (same.test.p_value, same.changed, same.total_variation.low) == (1, 0, 0)


@pytest.mark.parametrize("shift", [0.0, 0.06, 0.25])
def test_the_interval_of_a_distance_covers_it(shift: float) -> None:
    rng = np.random.default_rng(3)
    shares = np.array([0.5, 0.25, 0.15, 0.1])
    target = shares + shift * np.array([-1, 0.5, 0.5, 0])
    held = []
    for _ in range(200):
        p = rng.multinomial(300, shares) / 300
        noise = rng.multinomial(300, p, 400) / 300 - p
        found = total_variation_interval(p - target, noise)
        held.append(found.low <= shift + 1e-12 and shift <= found.high)
    assert np.mean(held) > 0.91


def test_the_distance_of_corrected_shares_is_free_of_the_classifiers_bias() -> None:
    rng = np.random.default_rng(4)
    y = np.repeat(np.arange(4), 500)

    def judged(truth: np.ndarray) -> np.ndarray:
        wrong = rng.random(len(truth)) < np.array([0.1, 0.6, 0.3, 0.2])[truth]
        return np.eye(4)[np.where(wrong, (truth + 1) % 4, truth)]

    validation = Validation("simulated", y, judged(y))
    truth = np.array([0.25, 0.25, 0.25, 0.25])
    p = judged(rng.choice(4, 4000, p=truth))
    found = corrected_distance((p, validation), Reference("truth", truth))
    raw = compare_to_reference(p.sum(axis=0).astype(int), NAMES, Reference("truth", truth)).total_variation
    assert found.low < 0.02 and found.value < 0.06 < raw.low
    other = judged(rng.choice(4, 4000, p=[0.55, 0.15, 0.15, 0.15]))
    apart = corrected_distance((other, validation), (p, validation))
    assert apart.low < 0.3 < apart.high and apart.high - apart.low < 0.2


def test_the_built_in_reference_has_the_training_shares_in_any_class_order() -> None:
    assert sum(FER2013_TRAINING) == 28709
    shuffled = FER2013[::-1]
    found = reference("fer2013", shuffled)
    assert dict(zip(shuffled, found.shares, strict=True))["happy"] == pytest.approx(7215 / 28709)
    with pytest.raises(DataError, match="has the labels"):
        reference("fer2013", ("happy", "sad"))


def test_a_reference_from_a_table_knows_labels_by_their_aliases() -> None:
    table = pd.DataFrame({"Label": ["Sadness", "happiness"], "share": ["0.25", "0.75"]})
    assert reference_from_table(table, ("happy", "sad"), "x.csv").shares.tolist() == [0.75, 0.25]
    counted = reference_from_table(pd.DataFrame({"label": ["sad", "happy"], "count": [1, 3]}), ("happy", "sad"), "x")
    assert counted.counts is not None and counted.counts.tolist() == [3, 1]
    assert compare_to_reference([30, 10], ("happy", "sad"), counted).test.name == "chi-square test of homogeneity"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"label": ["happy", "sad"]}, "needs a column"),
        ({"label": ["happy"], "share": [1]}, "has no row for sad"),
        ({"label": ["happy", "sad", "bored"], "share": [0.5, 0.5, 0]}, "bored"),
        ({"label": ["happy", "sad", "sad"], "share": [0.5, 0.25, 0.25]}, "twice"),
        ({"label": ["happy", "sad"], "share": [50, 50]}, "sum to 100"),
        ({"label": ["happy", "sad"], "share": ["0.5", "half"]}, "must hold numbers"),
        ({"label": ["happy", "sad"], "count": [0.5, 0.5]}, "whole number"),
    ],
)
def test_a_table_that_is_no_reference_says_why(table: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reference_from_table(pd.DataFrame(table), ("happy", "sad"), "x.csv")
