import numpy as np
import pytest
from fergan.reports.statistics.label_audit import NO_ANSWER, AuditDesign, prediction_powered, stratified_sample
from fergan.reports.statistics.table import LabelTable

CLASSES = ("happy", "sad", "fear", "neutral")


def population(n: int, rng: np.random.Generator, shares: list[float] | None = None) -> tuple[LabelTable, np.ndarray]:
    """Faces, and what people would say; the classifier calls many sad faces neutral."""
    y = rng.choice(4, n, p=shares or [0.5, 0.2, 0.05, 0.25])
    x = rng.normal(size=(n, 4))
    x[np.arange(n), y] += 1.5
    x[:, 3] += 0.8
    p = np.exp(1.5 * x)
    p /= p.sum(axis=1, keepdims=True)
    return LabelTable(CLASSES, tuple(map(str, range(n))), None, p.argmax(axis=1), p.max(axis=1), p), y


def test_the_sample_is_spread_over_labels_and_confidence() -> None:
    table, _ = population(2000, np.random.default_rng(0))
    design = stratified_sample(table, 200)
    assert len(set(design.rows.tolist())) == 200 and len(design.names) == 8
    members, asked = np.bincount(design.strata), np.bincount(design.strata[design.rows])
    assert asked == pytest.approx(np.maximum(200 * members / 2000, 2), abs=1)
    halves = [table.confidence[design.strata == h].mean() for h in range(8)]
    assert all(less < more for less, more in zip(halves[::2], halves[1::2], strict=True))
    again = stratified_sample(table, 200)
    assert np.array_equal(again.rows, design.rows)
    assert not np.array_equal(stratified_sample(table, 200, seed=1).rows, design.rows)


@pytest.mark.parametrize(("n", "strata"), [(1, 1), (8, 4), (16, 8), (50, 8)])
def test_few_faces_get_fewer_strata_and_no_more_faces_than_there_are(n: int, strata: int) -> None:
    table, _ = population(30, np.random.default_rng(1), [0.25] * 4)
    design = stratified_sample(table, n)
    assert len(design.names) == strata and len(design.rows) == min(n, 30)


def test_an_audit_of_every_face_counts_what_people_said() -> None:
    table, y = population(60, np.random.default_rng(2))
    design = stratified_sample(table, 60)
    found = prediction_powered(table, design, y[design.rows])
    assert found.shares == pytest.approx(np.bincount(y, minlength=4) / 60)
    assert found.agreement == pytest.approx((y == table.codes).mean())


def test_one_stratum_is_the_published_estimator() -> None:
    rng = np.random.default_rng(3)
    table, y = population(40_000, rng)
    rows = rng.choice(len(table), 400, replace=False)
    found = prediction_powered(table, AuditDesign(rows, np.zeros(len(table), np.int64), ("all faces",)), y[rows])
    f, truth = table.probabilities, np.eye(4)[y]
    plain = found.power * f.mean(axis=0) + (truth[rows] - found.power * f[rows]).mean(axis=0)
    assert found.shares == pytest.approx(plain)
    # PPI++, eq. for the mean: the power is cov(y, f) / var(f), here for all classes together
    covariances = [np.cov(truth[rows, k], f[rows, k]) for k in range(4)]
    assert found.power == pytest.approx(sum(c[0, 1] for c in covariances) / sum(c[1, 1] for c in covariances))
    # the variance: that of the residuals over the answers, and that of the truth over all faces
    k = 0
    residual = truth[rows, k] - found.power * f[rows, k]
    variance = residual.var(ddof=1) * (1 / 400 - 1 / 40_000) + plain[k] * (1 - plain[k]) / 40_000
    assert plain[k] * (1 - plain[k]) / found.effective_n[k] == pytest.approx(variance, rel=0.01)


def test_it_needs_no_good_predictions_and_gains_by_them() -> None:
    rng = np.random.default_rng(4)
    shares = np.array([0.5, 0.2, 0.05, 0.25])
    held, errors = [], []
    for seed in range(120):
        table, y = population(3000, rng)
        design = stratified_sample(table, 150, seed)
        found = prediction_powered(table, design, y[design.rows])
        held.append((found.low <= shares) & (shares <= found.high))
        random = rng.choice(3000, 150, replace=False)
        raw, plain = np.bincount(table.codes, minlength=4) / 3000, np.bincount(y[random], minlength=4) / 150
        errors.append([abs(x - shares).sum() for x in (found.shares, plain, raw)])
    powered, plain_error, raw_error = np.mean(errors, axis=0)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)
    assert powered < 0.9 * plain_error and powered < 0.5 * raw_error


def test_missing_answers_and_labels_that_nobody_chose() -> None:
    table, y = population(500, np.random.default_rng(5), [0.6, 0.3, 0.0, 0.1])
    design = stratified_sample(table, 60)
    answers = y[design.rows]
    answers[design.strata[design.rows] == 0] = NO_ANSWER  # a whole stratum
    found = prediction_powered(table, design, answers)
    assert found.answered == (answers != NO_ANSWER).sum() < 60
    assert found.shares.sum() == pytest.approx(1)
    assert found.low[2] == 0 and 0.01 < found.high[2] < 0.15


@pytest.mark.parametrize("answers", [[0], [0] * 9 + [4], [NO_ANSWER] * 9 + [0]])
def test_answers_that_do_not_fit_are_refused(answers: list[int]) -> None:
    table, _ = population(50, np.random.default_rng(6))
    with pytest.raises(ValueError):
        prediction_powered(table, stratified_sample(table, 10), answers)
