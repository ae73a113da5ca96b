import numpy as np
import pytest
from fergan.reports.statistics.correction.bayes import (
    bayesian_shares,
    credible_limits,
    highest_density,
    mixing,
    posterior_draws,
    under_both_priors,
)
from fergan.reports.statistics.correction.confusion import answers_by_class
from scipy.stats import beta

from ...simulated import ANSWERS, LABELS

M = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.2, 0.7]])


def test_the_posterior_is_that_of_a_grid() -> None:
    """Two classes: shares and both columns of M, integrated on a fine grid."""
    counts, confusion = np.array([13, 27]), np.array([[18, 3], [2, 17]])
    points = (np.arange(120) + 0.5) / 120
    p, a, b = np.meshgrid(points, points, points, indexing="ij")  # a: hit of class 0, b: label 0 for class 1
    q = p * a + (1 - p) * b
    log = counts[0] * np.log(q) + counts[1] * np.log(1 - q) - 0.5 * np.log(p * (1 - p))
    log += 17.5 * np.log(a) + 1.5 * np.log(1 - a) + 2.5 * np.log(b) + 16.5 * np.log(1 - b)
    weight = np.exp(log - log.max()).sum(axis=(1, 2))
    weight /= weight.sum()
    mean = weight @ points
    found = bayesian_shares(counts, confusion)
    draws = chains(counts, confusion)[0].reshape(-1, 2)
    assert found.shares[0] == pytest.approx(mean, abs=0.01)  # for two classes both priors are the same
    assert draws[:, 0].std() == pytest.approx(np.sqrt(weight @ (points - mean) ** 2), rel=0.06)


def chains(counts: np.ndarray, confusion: np.ndarray) -> list[np.ndarray]:
    """The draws under both priors."""
    both = under_both_priors(counts[None], confusion[None].astype(float), np.random.default_rng(0))
    return [states[0] for states in both]


def posteriors(truths: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [R, D, 3] for each of the true shares [R, 3], under Dirichlet 1/2."""
    confusion = np.stack([rng.multinomial(300, M[:, y], len(truths)) for y in range(3)], axis=2)
    chains = posterior_draws(rng.multinomial(n, truths @ M.T), confusion, rng, chains=24)
    assert np.median([mixing(each) for each in chains]) < 1.1
    return chains.reshape(len(truths), -1, 3)


@pytest.mark.parametrize("n", [500, 50_000])
def test_limits_hold_shares_drawn_from_the_prior(n: int) -> None:
    """A posterior holds 95 % of the truths that its prior draws, many of them near 0."""
    rng = np.random.default_rng(n)
    truths = rng.dirichlet([0.5] * 3, 160)
    held = []
    for truth, draws in zip(truths, posteriors(truths, n, rng), strict=True):
        low, high = highest_density(draws)
        held.append((low <= truth) & (truth <= high))
    assert 0.9 < np.mean(held) < 0.99


def test_a_share_of_zero_is_held() -> None:
    truths = np.array([[0.7, 0.3, 0.0]] * 10)
    for draws in posteriors(truths, 500, np.random.default_rng(0)):
        assert credible_limits(draws)[0][2] == 0


def test_chains_agree_where_many_faces_show_few_expressions() -> None:
    """Mistakes on common faces and a few faces of a rare expression explain the same labels: a slow direction."""
    truth = np.array([0, 0, 0, 0.6, 0.05, 0, 0.35])
    confusion = answers_by_class(ANSWERS, LABELS)
    counts = np.random.default_rng(0).multinomial(50_000, confusion / confusion.sum(axis=0) @ truth)
    found = bayesian_shares(counts, confusion)
    assert found.mixing < 1.15
    jeffreys, sparse = (states.reshape(-1, 7) for states in chains(counts, confusion))
    assert sparse[:, 1].mean() < 0.7 * jeffreys[:, 1].mean()  # disgust, which is absent
    assert (found.low <= truth).all() and (truth <= found.high).all()


def test_rankings_are_probabilities_of_orders() -> None:
    found = bayesian_shares([500, 300, 200], np.eye(3, dtype=int) * 1000)
    assert found.rankings[0].order == (0, 1, 2) and found.rankings[0].probability > 0.99
    assert found.first.sum() == pytest.approx(1) and found.first[0] > 0.99
    equal = bayesian_shares([300, 300, 300], np.eye(3, dtype=int) * 1000)
    assert equal.first == pytest.approx([1 / 3] * 3, abs=0.06)
    assert sum(r.probability for r in equal.rankings) <= 1 + 1e-12


def test_highest_density_is_shortest_and_reaches_the_edge() -> None:
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.beta(0.5, 20, 20_000), rng.beta(20, 0.5, 20_000), rng.beta(50, 50, 20_000)])
    low, high = highest_density(draws)
    assert low[0] == 0 and high[1] == 1
    assert [low[2], high[2]] == pytest.approx([0.403, 0.597], abs=0.01)


def test_limits_leave_equal_tails_but_reach_the_edge() -> None:
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.beta(0.5, 20, 20_000), rng.beta(20, 0.5, 20_000), rng.beta(5, 20, 20_000)])
    low, high = credible_limits(draws)
    assert low[0] == 0 and high[1] == 1
    assert high[0] == pytest.approx(beta.ppf(0.975, 0.5, 20), rel=0.03)
    assert [low[2], high[2]] == pytest.approx([beta.ppf(0.025, 5, 20), beta.ppf(0.975, 5, 20)], rel=0.05)


def test_few_faces_hold_a_common_expression_beside_five_that_are_rare() -> None:
    """30 faces: highest-density limits under Dirichlet 1/2 alone hold the neutral third in three reports of four."""
    truth, rng = np.array([0.005, 0.005, 0.01, 0.60, 0.03, 0.02, 0.33]), np.random.default_rng(3)
    confusion = answers_by_class(ANSWERS, LABELS)
    columns, sizes = confusion / confusion.sum(axis=0), confusion.sum(axis=0)
    counts = rng.multinomial(30, columns @ truth, 60)
    drawn = np.stack([rng.multinomial(sizes[y], columns[:, y], 60) for y in range(7)], axis=2)
    held = []
    for both in zip(*under_both_priors(counts, drawn, rng, 8), strict=True):
        low, high = credible_limits(np.concatenate(both).reshape(-1, 7))
        held.append((low <= truth) & (truth <= high))
    assert np.mean(held, axis=0).min() >= 0.88


def test_wrong_counts_are_refused() -> None:
    assert answers_by_class(np.eye(2)[[0, 1, 1]], [0, 0, 1]).tolist() == [[1, 0], [1, 1]]
    for counts, confusion in (([0, 0], np.eye(2)), ([1, 1], np.eye(3)), ([-1, 2], np.eye(2))):
        with pytest.raises(ValueError):
            bayesian_shares(counts, confusion)
