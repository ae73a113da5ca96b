from pathlib import Path

import fergan
import numpy as np
import pytest
from fergan.reports.statistics.correction.confusion import confusion_matrix, hard_outputs, simplex_least_squares
from fergan.reports.statistics.correction.likelihood import calibrate, expectation_maximisation, fit_calibration
from fergan.reports.statistics.correction.prevalence import Validation, estimate_prevalence, unmixed_shares
from fergan.reports.statistics.correction.sensitivity import sensitivity_band
from fergan.reports.statistics.shares import wilson_interval
from scipy.optimize import minimize

from ...simulated import faces, validation

K = 4


def sample(prevalence: np.ndarray, n: int, rng: np.random.Generator, sharpness: float = 1.0):
    """Faces of a classifier whose posteriors are exact under equal shares when sharpness is 1."""
    y = rng.choice(len(prevalence), n, p=prevalence)
    # For a unit Gaussian with mean 1.6 e_y the log likelihood ratio is linear in x, so softmax(1.6 x) is the posterior.
    x = rng.normal(size=(n, len(prevalence)))
    x[np.arange(n), y] += 1.6
    p = np.exp(1.6 * sharpness * x)
    return y, p / p.sum(axis=1, keepdims=True)


def test_confusion_matrix_agrees_with_sklearn() -> None:
    from sklearn.metrics import confusion_matrix as oracle

    y, p = sample(np.full(K, 1 / K), 800, np.random.default_rng(0))
    expected = oracle(y, p.argmax(axis=1), normalize="true").T
    assert confusion_matrix(hard_outputs(p), y) == pytest.approx(expected)
    assert confusion_matrix(p, y).sum(axis=0) == pytest.approx(np.ones(K))


@pytest.mark.parametrize("seed", range(20))
def test_simplex_least_squares_is_what_a_general_solver_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = rng.dirichlet(np.full(K, 0.7), K).T
    q = rng.dirichlet(np.full(K, 0.3))
    found = simplex_least_squares(m, q)
    assert found.min() >= 0 and found.sum() == pytest.approx(1)
    general = minimize(
        lambda p: ((m @ p - q) ** 2).sum(),
        np.full(K, 1 / K),
        method="SLSQP",
        bounds=[(0, 1)] * K,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    # the argument may be ill determined, the minimum is not
    assert ((m @ found - q) ** 2).sum() <= general.fun + 1e-9


def test_a_solvable_system_is_solved_exactly() -> None:
    m = np.array([[0.8, 0.1, 0.2], [0.1, 0.7, 0.2], [0.1, 0.2, 0.6]])
    truth = np.array([0.6, 0.0, 0.4])
    assert simplex_least_squares(m, m @ truth) == pytest.approx(truth)


def test_em_reaches_the_maximum_of_the_likelihood() -> None:
    _, p = sample(np.array([0.6, 0.25, 0.1, 0.05]), 400, np.random.default_rng(3))
    prior = np.full(K, 1 / K)
    found = expectation_maximisation(p, prior)
    shares = prior
    for _ in range(5000):  # the published iteration
        posterior = p * shares / prior
        shares = (posterior / posterior.sum(axis=1, keepdims=True)).mean(axis=0)
    assert found == pytest.approx(shares, abs=1e-7)


def test_em_finds_a_share_of_zero() -> None:
    _, p = sample(np.array([0.7, 0.3, 0.0, 0.0]), 3000, np.random.default_rng(8))
    found = expectation_maximisation(p, np.full(K, 1 / K))

    def likelihood(shares: np.ndarray) -> float:
        return np.log(p @ shares).sum()

    assert found[2:].min() == 0 and found.sum() == pytest.approx(1)
    for direction in np.eye(K):
        assert likelihood(found) >= likelihood(0.999 * found + 0.001 * direction)


def test_calibration_undoes_a_wrong_temperature() -> None:
    y, p = sample(np.full(K, 1 / K), 6000, np.random.default_rng(4), sharpness=2.5)
    fitted = fit_calibration(p, y)
    assert fitted.temperature == pytest.approx(2.5, rel=0.08)
    assert abs(fitted.bias).max() < 0.15
    calibrated = calibrate(p, fitted)
    assert calibrated.max(axis=1).mean() == pytest.approx((calibrated.argmax(axis=1) == y).mean(), abs=0.02)


def test_correction_is_nearer_to_the_truth_than_counting() -> None:
    rng = np.random.default_rng(5)
    truth = np.array([0.65, 0.3, 0.04, 0.01])
    labels, validation = sample(np.full(K, 1 / K), 3000, rng, sharpness=1.5)
    _, p = sample(truth, 3000, rng, sharpness=1.5)
    result = estimate_prevalence(p, labels, validation, replicates=0)
    error = {e.method: abs(e.shares - truth).sum() / 2 for e in result.estimates}
    assert max(error["ACC"], error["PACC"], error["EM"]) < 0.03 < error["CC"] < error["PCC"]
    assert result.condition_number == pytest.approx(np.linalg.cond(confusion_matrix(hard_outputs(validation), labels)))


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    truth = np.array([0.5, 0.25, 0.15, 0.1])
    hits = []
    for _ in range(40):
        labels, validation = sample(np.full(K, 1 / K), 300, rng)
        _, p = sample(truth, 250, rng)
        e = estimate_prevalence(p, labels, validation, methods=("ACC", "PACC"), interval="bootstrap", replicates=80)
        hits.append([(x.low <= truth) & (truth <= x.high) for x in e.estimates])
    assert np.mean(hits) == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("truth", [[0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17], [0, 0, 0, 0.6, 0.05, 0, 0.35]])
def test_intervals_cover_the_truth_with_the_measured_confusion(truth: list[float]) -> None:
    with np.load(Path(fergan.__file__).parent / "classify/weights/fernet.validation.npz") as stored:
        y, answers = stored["labels"].astype(int), stored["probabilities"].astype(float)
    members = [np.flatnonzero(y == c) for c in range(7)]
    rng = np.random.default_rng(9)
    held: list[np.ndarray] = []
    for _ in range(100):
        drawn = np.concatenate([rng.choice(m, len(m)) for m in members])
        faces = [rng.choice(members[c]) for c in rng.choice(7, 500, p=truth)]
        found = estimate_prevalence(answers[faces], y[drawn], answers[drawn], methods=("ACC", "PACC", "EM"))
        held.append(np.array([(e.low <= truth) & (truth <= e.high) for e in found.estimates]))
    assert np.mean(held, axis=(0, 2)) == pytest.approx(0.95, abs=0.03)


def test_a_classifier_without_errors_gets_wilsons_interval_moved_outwards_for_skewness() -> None:
    y = np.repeat(np.arange(K), 50)
    p = np.eye(K)[np.repeat(np.arange(K), [29_000, 0, 1, 20_999])]
    found = estimate_prevalence(p, y, np.eye(K)[y], methods=("CC", "ACC"))
    acc, raw = found["ACC"], found["CC"]
    low, high = wilson_interval([29_000, 0, 1, 20_999], 50_000)
    assert acc.shares == pytest.approx(raw.shares)
    assert acc.low == pytest.approx(low, abs=2e-5) and acc.high == pytest.approx(high, abs=2e-5)
    assert (acc.low <= low + 1e-9).all() and (acc.high >= high - 1e-9).all()
    # for a Poisson count of 1: Wilson's lower limit 0.18, the corrected 0.058, the raw share's 0.051, the exact 0.025
    assert 50_000 * np.array([low[2], acc.low[2], raw.low[2]]) == pytest.approx([0.177, 0.058, 0.051], abs=0.001)
    assert acc.low[1] == 0 and acc.high[1] == pytest.approx(high[1], rel=1e-4)


def test_limits_hold_rare_expressions_among_few_faces() -> None:
    """30 faces, disgust half a per cent: by Wilson's test alone ACC's limits held it in 90.6 % of 1000 reports."""
    rng, rare = np.random.default_rng(1), np.array([0.005, 0.005, 0.01, 0.60, 0.03, 0.02, 0.33])
    held = []
    for _ in range(500):
        known = validation(rng)
        found = estimate_prevalence(faces(rare, 30, rng), known.labels, known.probabilities, methods=("ACC",))["ACC"]
        held.append((found.low <= rare) & (rare <= found.high))
    assert np.mean(held, axis=0).min() > 0.92 and 0.95 < np.mean(held) < 0.985


def test_no_interval_shrinks_to_nothing_at_a_share_of_zero() -> None:
    rng = np.random.default_rng(10)
    labels, validation = sample(np.full(K, 1 / K), 3000, rng)
    _, p = sample(np.array([0.8, 0.2, 0.0, 0.0]), 2000, rng)
    for estimate in estimate_prevalence(p, labels, validation, methods=("ACC", "PACC", "EM")).estimates:
        assert (estimate.high - estimate.low).min() > 0.003
        assert (estimate.low <= estimate.shares).all() and (estimate.shares <= estimate.high).all()


def test_classes_that_the_classifier_cannot_tell_apart_have_open_intervals() -> None:
    y = np.repeat(np.arange(3), 20)
    answers = np.eye(3)[np.minimum(y, 1)]
    found = estimate_prevalence(answers, y, answers, methods=("ACC",))
    assert not np.isfinite(found.condition_number) or found.condition_number > 1e12
    assert found["ACC"].low.tolist() == [0, 0, 0] and found["ACC"].high.tolist() == [1, 1, 1]


def test_the_bootstrap_agrees_with_the_score_interval_away_from_the_edge() -> None:
    rng = np.random.default_rng(7)
    labels, validation = sample(np.full(K, 1 / K), 2000, rng)
    _, p = sample(np.array([0.4, 0.3, 0.2, 0.1]), 1000, rng)
    for method in ("ACC", "PACC", "EM"):
        score = estimate_prevalence(p, labels, validation, methods=(method,))[method]
        drawn = [
            estimate_prevalence(p, labels, validation, methods=(method,), interval="bootstrap", seed=5)[method]
            for _ in range(2)
        ]
        assert drawn[0].high - drawn[0].low == pytest.approx(score.high - score.low, rel=0.15)
        assert np.array_equal(drawn[0].low, drawn[1].low)


def test_the_unconstrained_solution_and_its_draws_agree() -> None:
    rng = np.random.default_rng(11)
    labels, answers = sample(np.full(K, 1 / K), 2000, rng)
    _, p = sample(np.array([0.6, 0.4, 0.0, 0.0]), 500, rng)
    validation = Validation("simulated", labels, answers)
    found, draws = unmixed_shares(p, validation, replicates=2000)
    assert found.sum() == pytest.approx(1) and found == pytest.approx(draws.mean(axis=0), abs=0.005)
    again = unmixed_shares(p, validation, replicates=2000, sample=1)[1]
    # another sample of faces, the same validation faces: related, not equal
    assert 0.05 < np.corrcoef(draws[:, 0], again[:, 0])[0, 1] < 0.95


def test_the_sensitivity_band_holds_what_fewer_and_more_mistakes_would_give() -> None:
    rng = np.random.default_rng(12)
    labels, answers = sample(np.full(K, 1 / K), 2000, rng)
    truth = np.array([0.5, 0.3, 0.15, 0.05])
    _, p = sample(truth, 4000, rng)
    validation = Validation("simulated", labels, answers)
    band = sensitivity_band(p.argmax(axis=1), validation)
    assert [row.errors for row in band.rows] == [0.75, 1, 1.25]
    acc = estimate_prevalence(p, labels, answers, methods=("ACC",))["ACC"]
    assert band.rows[1].shares == pytest.approx(acc.shares)
    assert band.rows[1].low == pytest.approx(acc.low) and band.rows[1].high == pytest.approx(acc.high)
    # never narrower than the interval beside it, and somewhere clearly wider
    assert (band.low <= acc.low + 1e-9).all() and (acc.high <= band.high + 1e-9).all()
    assert (band.high - band.low - (acc.high - acc.low)).max() > 0.02
    # no mistakes at all leave the raw shares
    raw = sensitivity_band(p.argmax(axis=1), validation, errors=[0]).rows[0].shares
    assert raw == pytest.approx(hard_outputs(p).mean(axis=0))


def test_quapy_finds_the_same_shares() -> None:
    aggregative = pytest.importorskip("quapy.method.aggregative")
    rng = np.random.default_rng(13)
    labels, answers = sample(np.full(K, 1 / K), 1500, rng)
    _, p = sample(np.array([0.6, 0.25, 0.1, 0.05]), 800, rng)
    found = estimate_prevalence(p, labels, answers, methods=("ACC", "PACC"))
    for method, outputs in (("ACC", hard_outputs(p)), ("PACC", p)):
        reference = hard_outputs(answers) if method == "ACC" else answers
        solved = aggregative.ACC.solve_adjustment(
            confusion_matrix(reference, labels), outputs.mean(axis=0), method="inversion", solver="minimize"
        )
        assert found[method].shares == pytest.approx(solved, abs=2e-4)
    rates = aggregative.PACC.getPteCondEstim(np.arange(K), labels, answers)
    assert confusion_matrix(answers, labels) == pytest.approx(rates)
    em = aggregative.EMQ.EM(np.full(K, 1 / K), p, epsilon=1e-9)[0]
    assert expectation_maximisation(p, np.full(K, 1 / K)) == pytest.approx(em, abs=1e-5)


def test_a_class_without_validation_faces_is_named() -> None:
    p = np.full((5, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"\[2\]"):
        estimate_prevalence(p, [0, 1, 0, 1, 0], p)
    with pytest.raises(ValueError, match="do not fit"):
        estimate_prevalence(p, [0, 1], p)
    with pytest.raises(ValueError, match="unknown method 'XX'"):
        estimate_prevalence(p, [0, 1, 2, 1, 0], p, methods=("XX",))
