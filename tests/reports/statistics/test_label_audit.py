import numpy as np
import pytest
from fergan.reports.statistics.answers import (
    CANNOT_TELL,
    NO_ANSWER,
    AuditDesign,
    Votes,
    confusion_from_answers,
    kappa_of_people,
)
from fergan.reports.statistics.label_audit import prediction_powered, stratified_sample
from fergan.reports.statistics.shares import wilson_interval
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
    assert len(set(design.rows.tolist())) == 200 and design.strata.max() == 7
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
    design = stratified_sample(table, n, stratified_from=0)
    assert design.strata.max() + 1 == strata and len(design.rows) == min(n, 30)
    assert stratified_sample(table, n).strata.max() == 0


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
    found = prediction_powered(table, AuditDesign(rows, np.zeros(len(table), np.int64)), y[rows])
    f, truth = table.probabilities, np.eye(4)[y]
    plain = found.power * f.mean(axis=0) + (truth[rows] - found.power * f[rows]).mean(axis=0)
    assert found.shares == pytest.approx(plain / plain.sum())
    # PPI++, eq. for the mean: the power is cov(y, f) / var(f), for each class
    covariances = [np.cov(truth[rows, k], f[rows, k]) for k in range(4)]
    assert found.power == pytest.approx(np.clip([c[0, 1] / c[1, 1] for c in covariances], 0, 1))
    # the variance: that of the residuals over the answers, and that of the truth over all faces
    k = 0
    residual = truth[rows, k] - found.power[k] * f[rows, k]
    variance = residual.var(ddof=1) * (1 / 400 - 1 / 40_000) + plain[k] * (1 - plain[k]) / 40_000
    assert plain[k] * (1 - plain[k]) / found.effective_n[k] == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize("allocation", ["proportional", "neyman"])
def test_a_class_that_nobody_chose_is_bounded_by_the_answers_alone(allocation: str) -> None:
    p = np.tile([0.9, 0.05, 0.05], (2000, 1))
    table = LabelTable(("a", "b", "c"), tuple(map(str, range(2000))), None, p.argmax(axis=1), p.max(axis=1), p)
    found = prediction_powered(table, stratified_sample(table, 100, 0, allocation), np.zeros(100, int))
    assert found.high[1] == pytest.approx(wilson_interval(0, 100)[1]) and found.high[1] > 0.036
    assert (found.effective_n <= 100 + 1e-9).all() and found.low[0] == pytest.approx(wilson_interval(100, 100)[0])


@pytest.mark.parametrize("allocation", ["proportional", "neyman"])
def test_rare_classes_that_the_judge_never_names_are_covered(allocation: str) -> None:
    shares = np.array([0.77, 0.015, 0.035, 0.18])
    rng = np.random.default_rng(11)
    held, widths, plain = [], [], []
    for seed in range(150):
        table, y = population(2000, rng, shares.tolist())
        p = table.probabilities * [1, 0.01, 0.01, 1]
        p /= p.sum(axis=1, keepdims=True)
        table = LabelTable(CLASSES, table.faces, None, p.argmax(axis=1), p.max(axis=1), p)
        design = stratified_sample(table, 100, seed, allocation)
        found = prediction_powered(table, design, y[design.rows])
        held.append((found.low <= shares) & (shares <= found.high))
        widths.append(found.high - found.low)
        low, high = wilson_interval(np.bincount(y[rng.choice(2000, 100, replace=False)], minlength=4), 100)
        plain.append(high - low)
    assert np.mean(held, axis=0).min() > 0.92
    assert (np.mean(widths, axis=0) < 1.15 * np.mean(plain, axis=0)).all()


@pytest.mark.parametrize("n", [20, 30, 40])
def test_small_audits_are_no_wider_than_a_plain_random_sample(n: int) -> None:
    """Neyman's rule with strata had, at 20 faces, intervals 1.17 times as wide, and 1.34 times for the rarest class."""
    rng = np.random.default_rng(12)
    widths, plain = [], []
    for seed in range(80):
        table, y = population(2000, rng, [0.6, 0.05, 0.01, 0.34])
        design = stratified_sample(table, n, seed, "neyman")
        found = prediction_powered(table, design, y[design.rows])
        widths.append(found.high - found.low)
        low, high = wilson_interval(np.bincount(y[rng.choice(2000, n, replace=False)], minlength=4), n)
        plain.append(high - low)
    assert np.mean(widths) < np.mean(plain)
    assert (np.mean(widths, axis=0) < 1.06 * np.mean(plain, axis=0)).all()


def test_faces_that_nobody_can_name_are_a_share_of_their_own() -> None:
    table, y = population(2000, np.random.default_rng(13))
    design = stratified_sample(table, 200)
    answers = y[design.rows].copy()
    answers[answers == 1] = CANNOT_TELL  # not by chance: it is always the same expression
    found = prediction_powered(table, design, answers)
    assert found.cannot_tell_low < 0.2 < found.cannot_tell_high
    assert found.shares.sum() == pytest.approx(1) and found.shares[1] < 0.001
    truth = np.bincount(y, minlength=4) / 2000
    assert ((found.worst_low <= truth) & (truth <= found.worst_high)).all()
    assert not (found.low[1] <= truth[1] <= found.high[1])


def test_two_raters_share_a_vote_and_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(14)
    table, y = population(2000, rng)
    design = stratified_sample(table, 150)
    one = y[design.rows]
    other = np.where(rng.random(150) < 0.2, rng.integers(0, 4, 150), one)
    found = prediction_powered(table, design, np.stack([one, other]))
    assert found.raters == 2 and found.kappa == pytest.approx(cohen_kappa_score(one, other))
    halves = (prediction_powered(table, design, one).human + prediction_powered(table, design, other).human) / 2
    assert found.human == pytest.approx(halves)
    assert kappa_of_people([0, NO_ANSWER], [NO_ANSWER, 1]) is None


def test_neyman_asks_more_where_the_judge_is_unsure() -> None:
    rng = np.random.default_rng(15)
    table, _ = population(4000, rng, [0.7, 0.1, 0.1, 0.1])
    designs = [stratified_sample(table, 300, 0, how) for how in ("proportional", "neyman")]
    doubtful = [1 - (table.probabilities[d.rows] ** 2).sum(axis=1).mean() for d in designs]
    assert doubtful[1] > 1.05 * doubtful[0]
    members, asked = (np.bincount(designs[1].strata[r]) for r in (slice(None), designs[1].rows))
    assert (asked >= 300 * members // 8000).all()


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


def test_answers_correct_where_photographs_would_mislead() -> None:
    """The confusion on generated faces is found with weights, and shares corrected by it hold the truth."""
    rng = np.random.default_rng(16)
    truth, held = np.array([0.5, 0.2, 0.05, 0.25]), []
    for seed in range(40):
        table, y = population(3000, rng)
        design = stratified_sample(table, 200, seed, "neyman")
        found = confusion_from_answers(table, design, y[design.rows], seed=seed)
        held.append((found.low <= truth) & (truth <= found.high))
    assert np.mean(held) > 0.9
    whole = stratified_sample(table, 3000)
    exact = confusion_from_answers(table, whole, y[whole.rows])
    assert exact.shares == pytest.approx(np.bincount(y, minlength=4) / 3000)
    assert exact.matrix[:, 1] == pytest.approx(np.bincount(table.codes[y == 1], minlength=4) / (y == 1).sum())


def of_labels(codes: np.ndarray, classes: tuple[str, ...]) -> LabelTable:
    p = np.eye(len(classes))[codes]
    return LabelTable(classes, tuple(map(str, range(len(codes)))), None, codes, p.max(axis=1), p)


def test_the_share_of_a_label_without_answers_lies_within_its_limits() -> None:
    """Half of the faces are labelled c, and nobody was asked about them."""
    table = of_labels(np.repeat([0, 1, 2], [30, 20, 50]), ("a", "b", "c"))
    design = AuditDesign(np.arange(100), np.zeros(100, np.int64))
    answers = np.where(table.codes == 2, NO_ANSWER, table.codes)
    found = confusion_from_answers(table, design, answers)
    assert ((found.low <= found.shares) & (found.shares <= found.high)).all()
    assert found.low[2] == 0 and found.shares[2] == pytest.approx(0.5 * (0.5 + 0.5 / 3))


def test_a_stratum_without_answers_joins_the_other_half_of_its_label() -> None:
    """a has two strata, b a single face and so one: the less sure half of c is the fourth."""
    table = of_labels(np.repeat([0, 1, 2], [20, 1, 20]), ("a", "b", "c"))
    strata = np.repeat(np.arange(5), [10, 10, 1, 10, 10])
    rows = np.flatnonzero(strata != 3)
    asked = Votes.of(table, AuditDesign(rows, strata), table.codes[rows])
    assert asked.strata.tolist() == strata[rows].clip(max=3).tolist()
