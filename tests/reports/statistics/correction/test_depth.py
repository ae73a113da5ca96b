import numpy as np
import pytest
from fergan.classify.feature_reference import feature_reference, mahalanobis
from fergan.reports.statistics.correction.depth import compare_confidence, compare_scores
from fergan.reports.statistics.correction.prevalence import Validation
from scipy import stats


def judged(labels: np.ndarray, sharpness: float, rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(len(labels), 4))
    x[np.arange(len(labels)), labels] += 2 - 0.5 * labels  # the classes are not equally easy
    p = np.exp(sharpness * x)
    return p / p.sum(axis=1, keepdims=True)


def test_equal_weights_give_the_tests_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300).round(1), rng.normal(0.2, size=200).round(1)
    found = compare_scores("x", a, b, np.ones(200))
    assert found.ks == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert found.p_value == pytest.approx(stats.ks_2samp(a, b, method="asymp").pvalue, rel=0.2)
    assert found.superiority == pytest.approx(stats.mannwhitneyu(a, b).statistic / (300 * 200))


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(1)
    a, b, w = rng.random(50).round(1), rng.random(40).round(1), rng.integers(1, 4, 40)
    weighted, repeated = compare_scores("x", a, b, w), compare_scores("x", a, np.repeat(b, w), np.ones(w.sum()))
    assert (weighted.ks, weighted.superiority) == (pytest.approx(repeated.ks), pytest.approx(repeated.superiority))
    assert weighted.expected == pytest.approx(repeated.expected)


def test_other_expressions_alone_are_no_alarm_but_blurred_faces_are() -> None:
    rng = np.random.default_rng(2)
    y = np.repeat(np.arange(4), 800)
    validation = Validation("simulated", y, judged(y, 2.0, rng))
    shares = np.array([0.7, 0.2, 0.1, 0.0])
    labels = rng.choice(4, 2000, p=shares)
    fine = compare_confidence(judged(labels, 2.0, rng), validation, shares)
    assert fine.verdict == "as expected" and fine["confidence"].ks < 0.06
    assert fine["confidence"].observed > validation.probabilities.max(axis=1).mean() + 0.03  # the weights were needed
    assert fine.effective_validation == pytest.approx(1 / (shares**2 / 800).sum())
    blurred = compare_confidence(judged(labels, 1.0, rng), validation, shares)
    assert blurred.verdict == "less sure" and blurred["entropy"].superiority > 0.6
    assert compare_confidence(judged(labels, 4.0, rng), validation, shares).verdict == "surer"


def test_mahalanobis_distances_agree_with_scipy() -> None:
    from scipy.spatial.distance import mahalanobis as oracle

    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 400)
    x = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 3 * y[:, None]
    found = mahalanobis(x[:20], feature_reference(x, y))
    means = [x[y == c].mean(axis=0) for c in range(3)]
    centred = x - np.array(means)[y]
    inverse = np.linalg.inv(centred.T @ centred / (400 - 3))
    expected = [min(oracle(row, mean, inverse) for mean in means) for row in x[:20]]
    assert found == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError):
        feature_reference(x[:5], y[:5])


def test_distances_join_the_other_scores() -> None:
    p = np.full((10, 2), 0.5)
    validation = Validation("simulated", np.array([0, 1]), p[:2])
    check = compare_confidence(p, validation, [0.5, 0.5], distances=np.ones(10), validation_distances=np.zeros(2))
    assert check["distance"].superiority == 1 and check["confidence"].superiority == 0.5
