"""The measures between sets of pictures, against independent ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from fergan.stylegan import metrics
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_BLOCK", 700)  # several blocks, the last one smaller


def _two_sets(n: int = 90, m: int = 70, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(width, width))
    return rng.normal(size=(n, width)) @ mixing, rng.normal(0.3, 1.2, size=(m, width)) @ mixing + 0.5


def test_kid_is_the_u_statistic_over_sklearns_kernel() -> None:
    real, fake = _two_sets()
    n, m = len(real), len(fake)
    rr, ff, rf = (polynomial_kernel(x, y, degree=3, coef0=1) for x, y in [(real, real), (fake, fake), (real, fake)])
    expected = (rr.sum() - np.trace(rr)) / (n * (n - 1)) + (ff.sum() - np.trace(ff)) / (m * (m - 1)) - 2 * rf.mean()
    assert metrics.kid(real, fake) == pytest.approx(expected, rel=1e-10)


def test_kid_of_small_sets_is_unbiased() -> None:
    rng = np.random.default_rng(2)
    values = [metrics.kid(rng.normal(size=(8, 5)), rng.normal(size=(8, 5))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0


@pytest.mark.parametrize(("n", "m"), [(90, 70), (9, 7)])  # more pictures than features, and fewer
def test_fid_is_the_formula_with_scipys_square_root(n: int, m: int) -> None:
    real, fake = _two_sets(n, m)
    cov1, cov2 = np.cov(real.T), np.cov(fake.T)
    if min(n, m) > real.shape[1]:
        root = np.trace(scipy.linalg.sqrtm(cov1 @ cov2)).real
    else:  # sqrtm fails on singular matrices
        root = np.sqrt(np.abs(np.linalg.eigvals(cov1 @ cov2))).sum()
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * root
    assert metrics.fid(real, fake) == pytest.approx(expected, rel=1e-5)


def test_fid_of_gaussians_is_their_distance_in_closed_form() -> None:
    rng = np.random.default_rng(3)
    axes = scipy.linalg.qr(rng.normal(size=(6, 6)))[0]
    deviations, shift = rng.uniform(0.5, 3, size=(2, 6)), rng.normal(size=6)
    sets = []
    for deviation in deviations:  # samples whose mean and covariance are exactly 0 and 1, then scaled along common axes
        white = np.linalg.qr(np.column_stack([np.ones(40), rng.normal(size=(40, 6))]))[0][:, 1:] * 39**0.5
        sets.append(white * deviation @ axes.T)
    expected = (shift**2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert metrics.fid(sets[0], sets[1] + shift) == pytest.approx(expected, rel=1e-10)


def test_manifolds_agree_with_the_definitions() -> None:
    real, fake = _two_sets()
    between, among = pairwise_distances(fake, real), {k: pairwise_distances(x) for k, x in (("r", real), ("f", fake))}
    radius = {(key, k): np.sort(among[key], axis=1)[:, k] for key in "rf" for k in (3, 5)}  # column 0 is itself
    precision = np.mean([any(between[j] <= radius["r", 3]) for j in range(len(fake))])
    recall = np.mean([any(between[:, i] <= radius["f", 3]) for i in range(len(real))])
    assert metrics.precision_recall(real, fake) == pytest.approx((precision, recall))
    inside = between <= radius["r", 5]
    assert metrics.density_coverage(real, fake) == pytest.approx((inside.sum() / (5 * len(fake)), inside.any(0).mean()))
    assert 0 < precision < 1 and 0 < recall < 1 and 0 < inside.any(0).mean() < 1  # the sets are a test of it


def test_a_set_and_itself() -> None:
    real, _ = _two_sets()
    assert metrics.fid(real, real) == pytest.approx(0, abs=1e-9)
    assert metrics.kid(real, real) <= 0
    assert metrics.precision_recall(real, real) == (1, 1)
    density, coverage = metrics.density_coverage(real, real)
    assert (density, coverage) == (pytest.approx(6 / 5, rel=0.2), 1)  # itself and those whose k-neighbour it is


def test_collapse_shows_as_lost_recall_and_coverage() -> None:
    real, _ = _two_sets(200)
    collapsed = real[:1] + 1e-3 * np.random.default_rng(4).normal(size=(200, real.shape[1]))
    precision, recall = metrics.precision_recall(real, collapsed)
    _, coverage = metrics.density_coverage(real, collapsed)
    assert precision == 1 and recall < 0.02 and coverage < 0.2


def test_torch_fidelity_agrees() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    kernels = pytest.importorskip("torch_fidelity.metric_kid")
    real, fake = _two_sets(90, 90)
    statistics = []
    for values in (real, fake):
        statistics.append({"mu": values.mean(0), "sigma": np.cov(values.T)})
    theirs = fidelity.fid_statistics_to_metric(*statistics, verbose=False)
    assert metrics.fid(real, fake) == pytest.approx(next(iter(theirs.values())), rel=1e-6)
    kid = kernels.kernel_mmd(real, fake, kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_coef0=1)
    assert metrics.kid(real, fake) == pytest.approx(float(kid), rel=1e-6)


def test_sliced_wasserstein_of_a_shift_is_its_squared_length() -> None:
    rng = np.random.default_rng(1)
    points, shift = rng.normal(size=(300, 8)), rng.normal(size=8)
    assert metrics.sliced_wasserstein(points, points[::-1]) == pytest.approx(0, abs=1e-12)
    assert metrics.sliced_wasserstein(points, points + shift) == pytest.approx((shift**2).sum(), rel=0.15)
    fewer = metrics.sliced_wasserstein(points, rng.normal(size=(200, 8)) + shift)
    assert fewer == pytest.approx((shift**2).sum(), rel=0.2)


def test_sliced_wasserstein_sees_what_two_moments_do_not() -> None:
    rng = np.random.default_rng(2)
    signs = rng.choice([-1.0, 1.0], size=(400, 2))  # four heaps with the mean and covariance of a Gaussian
    gaussian, other = rng.normal(size=(2, 400, 2))
    assert metrics.sliced_wasserstein(gaussian, signs) > 3 * metrics.sliced_wasserstein(gaussian, other)


@pytest.mark.parametrize("width", [5, 40])  # fewer features than images, and more
def test_vendi_counts_different_images(width: int) -> None:
    different = np.eye(width)[:4].repeat(5, axis=0) * np.linspace(1, 2, 20)[:, None]
    assert metrics.vendi(different) == pytest.approx(4)
    assert metrics.vendi(different[:5]) == pytest.approx(1)


def test_the_fld_gap_tells_copies_from_new_images() -> None:
    rng = np.random.default_rng(3)
    seen, unseen, new = rng.normal(size=(3, 300, 4))
    learned = metrics.fld_gap(seen, unseen, new)
    copied = metrics.fld_gap(seen, unseen, seen + 0.05 * rng.normal(size=seen.shape))
    assert abs(metrics.fld_gap(seen, seen, new)) < 1e-9
    assert learned < 30
    assert copied > 3 * learned


def test_nearest_is_sklearns_search() -> None:
    references, queries = _two_sets(5000, 20, width=3)
    theirs = NearestNeighbors(algorithm="brute").fit(references).kneighbors(queries, 4)
    distances, places = metrics.nearest(queries, references, 4)
    assert np.array_equal(places, theirs[1])
    assert distances == pytest.approx(theirs[0], rel=1e-6)
    own = np.array([7, 4096, 4999])
    distances, places = metrics.nearest(references[own], references, 2, exclude=own)
    theirs = NearestNeighbors(algorithm="brute").fit(references).kneighbors(references[own], 3)
    assert np.array_equal(places, theirs[1][:, 1:])


def test_nearest_of_few_references() -> None:
    distances, places = metrics.nearest(np.array([[0], [9]], np.uint8), np.array([[250], [3], [5]], np.uint8), 3)
    assert places.tolist() == [[1, 2, 0], [2, 1, 0]]
    assert distances.tolist() == [[3, 5, 250], [4, 6, 241]]
    with pytest.raises(ValueError, match="too few"):
        metrics.nearest(np.zeros((1, 2)), np.zeros((3, 2)), 3, exclude=np.array([0]))


def test_nearer_share_tells_copies_from_new_images() -> None:
    real = np.arange(1.0, 11.0)
    assert metrics.nearer_share(np.zeros(4), real) == 1
    assert metrics.nearer_share(real, real) == 0.5
    assert metrics.nearer_share(real + 100, real) == 0


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    intervals = [metrics.mean_and_interval(rng.normal(3, 2, size=5))[2] for _ in range(2000)]
    covered = np.mean([low < 3 < high for low, high in intervals])  # type: ignore[misc]
    assert covered == pytest.approx(0.95, abs=0.02)
    assert metrics.mean_and_interval(np.array([3.0])) == (3, None, None)
    assert metrics.mean_and_interval(np.array([1.0, 3.0])) == (2, pytest.approx(2**0.5), None)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), r"\[9, 3\] and \[9, 4\]"),
        (np.zeros((5, 3)), np.zeros((9, 3)), "too few"),
        (np.full((9, 3), np.nan), np.zeros((9, 3)), "not finite"),
    ],
)
def test_unusable_features_are_refused(real: np.ndarray, fake: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.density_coverage(real, fake)
