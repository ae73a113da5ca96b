import numpy as np
import pytest
from fergan.reports.statistics.correction.confusion import answers_by_class
from fergan.reports.statistics.correction.fit import best_mixture, label_shift_test, smoothed_columns
from scipy.optimize import minimize
from scipy.special import xlogy

from ...simulated import ANSWERS, FER2013_SHARES, HAPPY_AND_NEUTRAL, LABELS, faces, validation

ALONE = np.eye(7)[3]
CONFUSION = answers_by_class(ANSWERS, LABELS)


def counts(probabilities: np.ndarray) -> np.ndarray:
    return np.bincount(probabilities.argmax(axis=1), minlength=7)


def with_fewer_mistakes(shares: np.ndarray, part: float) -> np.ndarray:
    matrix = CONFUSION / CONFUSION.sum(axis=0)
    return (part * matrix + (1 - part) * np.eye(7)) @ shares


@pytest.mark.parametrize("seed", range(5))
def test_the_best_mixture_is_what_a_general_solver_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, q = rng.dirichlet(np.ones(5), 5).T, rng.dirichlet(np.full(5, 0.4))
    found = best_mixture(q[None], matrix[None])[0]
    general = minimize(
        lambda p: -(q * np.log(matrix @ p)).sum(),
        np.full(5, 0.2),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-13},
    )
    assert found.min() >= 0 and found.sum() == pytest.approx(1)
    assert -(q * np.log(matrix @ found)).sum() <= general.fun + 1e-8


@pytest.mark.parametrize("n", [100, 500, 5000])
def test_under_label_shift_alarms_are_as_rare_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    alarms = {}
    for name, shares, reports in (
        ("edge", HAPPY_AND_NEUTRAL, 80),
        ("corner", ALONE, 120),
        ("inside", FER2013_SHARES, 40),
    ):
        p_values = []
        for number in range(reports):
            v = validation(rng)
            test = label_shift_test(
                counts(faces(shares, n, rng)), answers_by_class(v.probabilities, v.labels), draws=199, seed=number
            )
            p_values.append(test.p_value)
        alarms[name] = np.mean(np.array(p_values) < 0.05)
    assert max(alarms.values()) <= 0.07
    assert alarms["corner"] >= 0.01  # where the null is as hard as can be, the level is used
    assert alarms["inside"] <= 0.03  # and where shares are common, the test is conservative


def test_a_fifth_of_the_mistakes_is_noticed() -> None:
    rng = np.random.default_rng(1)
    q = with_fewer_mistakes(HAPPY_AND_NEUTRAL, 0.2)
    verdicts = [label_shift_test(rng.multinomial(500, q), CONFUSION, draws=199, seed=i).verdict for i in range(100)]
    assert verdicts.count("refuted") > 95


def test_the_labels_of_bare_runs_refute_the_correction() -> None:
    """Seeds 0 to 499 of stylegan2-faces-64-wide, and of stylegan2-faces-64."""
    assert label_shift_test([3, 0, 1, 330, 19, 0, 147], CONFUSION).verdict == "refuted"
    test = label_shift_test([1, 0, 0, 318, 16, 0, 165], CONFUSION)
    assert test.verdict == "refuted" and test.p_value == 0.001
    assert test.statistic == pytest.approx(86.5, abs=0.1) and test.expected_counts.sum() == pytest.approx(500)
    # angry, fear and surprise, of which 1, 0 and 0 were given
    assert test.expected_counts[[0, 2, 5]] == pytest.approx([16.8, 12.8, 8.5], abs=0.1)


def test_under_the_null_the_statistic_of_a_bare_run_is_far_smaller() -> None:
    """Reports with the fitted shares and new validation answers: 95 % lie below 10.7, all below 19.2."""
    rng, n, reports = np.random.default_rng(0), 500, 400
    test = label_shift_test([1, 0, 0, 318, 16, 0, 165], CONFUSION)
    q = rng.multinomial(n, test.expected_counts / n, reports) / n
    matrix, sizes = smoothed_columns(CONFUSION), CONFUSION.sum(axis=0)
    answers = [rng.multinomial(size, column, reports) for size, column in zip(sizes, matrix.T, strict=True)]
    matrices = smoothed_columns(np.stack(answers, axis=2))
    explained = (matrices @ best_mixture(q, matrices)[:, :, None])[:, :, 0]
    statistics = 2 * n * xlogy(q, q / explained).sum(axis=1)
    assert np.quantile(statistics, 0.95) == pytest.approx(11, abs=1) and statistics.max() < test.statistic / 4


def test_it_holds_only_where_fewer_mistakes_would_show() -> None:
    rng = np.random.default_rng(2)
    matrix = smoothed_columns(CONFUSION)
    assert label_shift_test(np.round(5000 * matrix @ HAPPY_AND_NEUTRAL), CONFUSION).verdict == "holds"
    for shares, n in ((HAPPY_AND_NEUTRAL, 20), (FER2013_SHARES, 5000)):  # too few, and blind inside the hull
        assert label_shift_test(rng.multinomial(n, matrix @ shares), CONFUSION).verdict == "cannot tell"
    # what it cannot see: common expressions with a fifth of the mistakes
    assert label_shift_test(rng.multinomial(5000, with_fewer_mistakes(FER2013_SHARES, 0.2)), CONFUSION).p_value > 0.9


def test_many_faces_are_no_harder_and_wrong_input_is_named() -> None:
    assert label_shift_test(np.array([50, 5, 5, 31_000, 900, 40, 18_000]), CONFUSION).verdict == "refuted"
    with pytest.raises(ValueError, match=r"no validation faces for the classes \[6\]"):
        label_shift_test(np.ones(7, int), CONFUSION * (np.arange(7) < 6))
    with pytest.raises(ValueError, match="do not fit or no faces"):
        label_shift_test(np.zeros(7, int), CONFUSION)


def test_a_classifier_that_gives_every_face_one_label_is_no_error() -> None:
    """Its columns are equal, so that many shares explain the labels equally well."""
    one_answer = np.zeros((7, 7), int)
    one_answer[3] = 4
    test = label_shift_test([0, 0, 0, 500, 0, 0, 0], one_answer)
    assert test.expected_counts.sum() == pytest.approx(500)
