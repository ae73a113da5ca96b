import numpy as np
import pytest
from fergan.reports.prevalence import (
    calibrate,
    confusion_matrix,
    estimate_prevalence,
    expectation_maximisation,
    fit_calibration,
    hard_outputs,
    simplex_least_squares,
)
from scipy.optimize import minimize

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


def test_weights_in_the_confusion_matrix_are_repetitions() -> None:
    y, p = sample(np.full(K, 1 / K), 60, np.random.default_rng(0))
    w = np.random.default_rng(1).integers(1, 4, 60)
    repeated = confusion_matrix(np.repeat(p, w, axis=0), np.repeat(y, w))
    assert confusion_matrix(p, y, w) == pytest.approx(repeated)


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
    found = expectation_maximisation(p, prior, tolerance=1e-10)

    def likelihood(shares: np.ndarray) -> float:
        return np.log((p / prior) @ shares).sum()

    for direction in np.eye(K):
        assert likelihood(found) >= likelihood(0.99 * found + 0.01 * direction)


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


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    truth = np.array([0.5, 0.25, 0.15, 0.1])
    hits = []
    for _ in range(40):
        labels, validation = sample(np.full(K, 1 / K), 300, rng)
        _, p = sample(truth, 250, rng)
        e = estimate_prevalence(p, labels, validation, methods=("ACC", "PACC"), replicates=80)
        hits.append([(x.low <= truth) & (truth <= x.high) for x in e.estimates])
    assert np.mean(hits) == pytest.approx(0.95, abs=0.04)


def test_the_same_seed_gives_the_same_intervals() -> None:
    rng = np.random.default_rng(7)
    labels, validation = sample(np.full(K, 1 / K), 200, rng)
    _, p = sample(np.full(K, 1 / K), 100, rng)
    a, b = (estimate_prevalence(p, labels, validation, replicates=10)["EM"] for _ in range(2))
    assert np.array_equal(a.low, b.low) and np.array_equal(a.high, b.high)


def test_a_class_without_validation_faces_is_named() -> None:
    p = np.full((5, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"\[2\]"):
        estimate_prevalence(p, [0, 1, 0, 1, 0], p)
    with pytest.raises(ValueError, match="do not fit"):
        estimate_prevalence(p, [0, 1], p)
    with pytest.raises(ValueError, match="unknown method 'XX'"):
        estimate_prevalence(p, [0, 1, 2, 1, 0], p, methods=("XX",))
