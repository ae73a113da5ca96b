"""How near one set of pictures is to another, by their features: distances between distributions, and their overlap.

Pure functions over two arrays of features, ``real`` [N, D] and ``fake`` [M, D], of any float type; everything is
computed in float64, and pairwise distances in blocks of at most 64 MiB. Which network the features come from is the
caller's choice, and part of the result: values from different networks cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats

PRECISION_K = 3
"""Neighbours that :func:`precision_recall` goes by: that of the paper."""

DENSITY_K = 5
"""Neighbours that :func:`density_coverage` goes by: that of the paper."""

DIRECTIONS = 512
"""Random directions of :func:`sliced_wasserstein`."""

_EM_STEPS = 50  # of :func:`fld_gap`; later ones change the third digit
_LEAST_VARIANCE = 1e-4  # of features of variance 1, where a fake is a copy
_BLOCK = 2**23  # float64 values in a block of pairs


def kid(real: np.ndarray, fake: np.ndarray) -> float:
    """Kernel inception distance (Bińkowski et al. 2018, arXiv:1801.01401).

    The unbiased estimate (a two-sample U-statistic) of the squared maximum mean discrepancy, with the kernel
    k(x, y) = (x . y / D + 1) ** 3: mean k over pairs of different reals, plus the same over fakes, minus twice the mean
    over pairs of a real and a fake. Its expectation does not depend on N and M, and is 0 for equal distributions;
    single values may be below 0.

    Args:
        real, fake: float [N, D] and [M, D], at least two rows each.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    real, fake = _features(real, fake, at_least=2)
    n, m = len(real), len(fake)
    within_real = _kernel_sum(real, real) - _kernel_diagonal(real)
    within_fake = _kernel_sum(fake, fake) - _kernel_diagonal(fake)
    between = _kernel_sum(real, fake)
    return float(within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2 * between / (n * m))


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """Fréchet inception distance (Heusel et al. 2017, arXiv:1706.08500): between the Gaussians that fit best.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the covariances divided by N - 1 as in the authors' program
    (StyleGAN2-ADA divides by N). With centred features A1 = Q1 R1 and A2 = Q2 R2, the trace of the root is the sum of
    the singular values of R1 R2^T: no covariance is formed and no root of a rounding error taken, so fewer images than
    features are not a numerical problem, and are not refused.

    They are a statistical one. The estimate is biased upwards, the more the fewer images there are (Chong and Forsyth
    2020, arXiv:1911.07023): compare values of equal N and M only, and with that of two sets of real images.

    Args:
        real, fake: float [N, D] and [M, D], at least two rows each.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    real, fake = _features(real, fake, at_least=2)
    means = real.mean(axis=0), fake.mean(axis=0)
    root1, root2 = (_triangle(values - mean) for values, mean in zip((real, fake), means, strict=True))
    overlap = scipy.linalg.svdvals(root1 @ root2.T).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + (root1**2).sum() + (root2**2).sum() - 2 * overlap
    return max(0.0, float(distance))


def precision_recall(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, equations 1 and 2).

    Precision is the share of fakes inside the manifold of the real images: nearer to one of them than that one's third
    nearest neighbour. Recall is the share of real images inside the manifold of the fakes. Both depend on the number of
    images, so N and M should be equal.

    Args:
        real, fake: float [N, D] and [M, D], more than three rows each.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    real, fake = _features(real, fake, at_least=PRECISION_K + 1)
    precise, _ = _inside(fake, real, _radii(real, PRECISION_K))
    recalled, _ = _inside(real, fake, _radii(fake, PRECISION_K))
    return float((precise > 0).mean()), float((recalled > 0).mean())


def density_coverage(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797).

    Each real image has a ball that reaches to its k-th nearest other real image (k = 5). Density is the number of
    balls that hold a fake, summed over fakes and divided by k M, so that one outlier among them does not make every
    fake precise; coverage is the share of balls that hold any fake.

    Args:
        real, fake: float [N, D] and [M, D], more than five rows of ``real``.

    Returns:
        density, about 1 for equal distributions and beyond 1 where fakes crowd where real images are dense; coverage,
        0 to 1.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    real, fake = _features(real, fake, at_least=DENSITY_K + 1)
    balls_of_fake, covered = _inside(fake, real, _radii(real, DENSITY_K))
    return float(balls_of_fake.mean() / DENSITY_K), float(covered.mean())


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray) -> float:
    """Sliced Wasserstein distance (Bonneel et al. 2015): needs fewer images than FID, and sees more than two moments.

    D times the mean, over random directions, of the squared 2-Wasserstein distance between the projections, which
    sorting gives exactly. The factor D brings it to the scale of FID: if one set is the other one shifted, both are the
    squared length of the shift. The same idea as the Monge inception distance (Berthet et al. 2026, arXiv:2605.06797).

    Args:
        real, fake: float [N, D] and [M, D]; of the larger set, as many quantiles are compared as the smaller one has.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    real, fake = _features(real, fake, at_least=2)
    width = real.shape[1]
    axes = np.random.default_rng(0).standard_normal((width, DIRECTIONS))
    axes /= np.linalg.norm(axes, axis=0)
    projected = [np.sort(values @ axes, axis=0) for values in (real, fake)]
    if len(real) != len(fake):
        levels = (np.arange(min(len(real), len(fake))) + 0.5) / min(len(real), len(fake))
        projected = [np.quantile(values, levels, axis=0) for values in projected]
    return float(width * ((projected[0] - projected[1]) ** 2).mean())


def vendi(values: np.ndarray) -> float:
    """Vendi score (Friedman and Dieng 2022, arXiv:2210.02410): how many different images a set is worth.

    The exponential of the entropy of the eigenvalues of K / N, where K is the cosine similarity of the features: 1 if
    all images are the same, N if they have nothing in common. It knows no real images; compare it with their score.

    Args:
        values: float [N, D]; the score grows with N.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    values, _ = _features(values, values[:1], at_least=1)
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    gram = values @ values.T if len(values) <= values.shape[1] else values.T @ values  # the same eigenvalues but for 0
    shares = np.maximum(scipy.linalg.eigvalsh(gram / len(values)), 1e-30)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def fld_gap(seen: np.ndarray, unseen: np.ndarray, fake: np.ndarray) -> float:
    """Generalisation gap of the feature likelihood divergence (Jiralerspong et al. 2023, arXiv:2302.04440).

    A Gaussian stands on each fake, as wide as makes the training images likeliest. Fakes that repeat training images
    get narrow ones, under which images the generator never saw are unlikely.

    Args:
        seen: float [N, D], training images.
        unseen: float [M, D], images of the same kind that were not trained on.
        fake: float [K, D].

    Returns:
        100 nats per feature by which an unseen image is less likely than a seen one. 0: learned, not copied; compare it
        with that of other real images in place of the fakes, since the widths fit the seen images a little too well.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    seen, unseen = _features(seen, unseen, at_least=2)
    seen, fake = _features(seen, fake, at_least=2)
    centre, scale = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-6)
    seen, unseen, fake = ((values - centre) / scale for values in (seen, unseen, fake))
    width, squares = seen.shape[1], _squared_distances(seen, fake)
    variances = np.full(len(fake), max(float(squares.min(axis=1).mean()) / width, _LEAST_VARIANCE))
    for _ in range(_EM_STEPS):
        parts = scipy.special.softmax(_log_densities(squares, variances, width), axis=1)
        weight = np.maximum(parts.sum(axis=0), 1e-12)
        variances = np.maximum((parts * squares).sum(axis=0) / (width * weight), _LEAST_VARIANCE)
    likely, other = (
        float(scipy.special.logsumexp(_log_densities(distances, variances, width), axis=1).mean())
        for distances in (squares, _squared_distances(unseen, fake))
    )
    return 100 * (likely - other) / width


def nearest(
    queries: np.ndarray, references: np.ndarray, k: int, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query, by Euclidean distance.

    Args:
        queries: [Q, D] of any number type.
        references: [N, D] of any number type; looked at in blocks, so they may be many.
        k: at most N, or N - 1 with ``exclude``.
        exclude: int [Q], the place of a reference that does not count for a query (itself); None = all count.

    Returns:
        distances float64 [Q, k], ascending, and places in ``references`` int64 [Q, k].

    Raises:
        ValueError: other shapes, values that are not finite, or too few references.
    """
    if len(references) < k + (exclude is not None):
        raise ValueError(f"{len(references)} references are too few for {k} neighbours")
    queries, _ = _features(queries, references[:1], at_least=1)
    best, places = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
    for start in range(0, len(references), 4096):
        _, block = _features(queries[:1], references[start : start + 4096], at_least=1)
        for rows in _row_blocks(len(queries), len(block)):
            squares = _squared_distances(queries[rows], block)
            if exclude is not None:
                own = exclude[rows] - start
                inside = np.flatnonzero((own >= 0) & (own < len(block)))
                squares[inside, own[inside]] = np.inf
            found = np.argpartition(squares, min(k, len(block)) - 1, axis=1)[:, :k]
            candidates = np.hstack([best[rows], np.take_along_axis(squares, found, axis=1)])
            order = np.argsort(candidates, axis=1, kind="stable")[:, :k]
            best[rows] = np.take_along_axis(candidates, order, axis=1)
            places[rows] = np.take_along_axis(np.hstack([places[rows], found + start]), order, axis=1)
    return np.sqrt(best), places


def nearer_share(fake: np.ndarray, real: np.ndarray) -> float:
    """Do fakes lie nearer to the training images than other real images do? (Meehan et al. 2020, arXiv:2004.05675.)

    Args:
        fake: [M] distances from fakes to their nearest training image.
        real: [N] distances from real images to their nearest training image (not themselves).

    Returns:
        The probability that a fake is nearer than a real image, ties counted half (Mann-Whitney U / N M): 0.5 for fakes
        like new real images, 1 for copies.
    """
    statistic = scipy.stats.mannwhitneyu(real, fake, alternative="greater", method="asymptotic").statistic
    return float(statistic / (len(fake) * len(real)))


def mean_and_interval(values: np.ndarray) -> tuple[float, float | None, tuple[float, float] | None]:
    """Mean, standard deviation (N - 1) and 95 % confidence interval of the mean by Student's t.

    One value has no deviation, and two have no interval: it would be 25 standard errors wide and say nothing.
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    deviation = float(values.std(ddof=1))
    if len(values) < 3:
        return mean, deviation, None
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    return mean, deviation, (mean - half, mean + half)


def _features(first: np.ndarray, second: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, checked."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], not {list(first.shape)} and {list(second.shape)}")
    if min(len(first), len(second)) < at_least:
        raise ValueError(f"{len(first)} and {len(second)} rows are too few: at least {at_least} each are needed")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("features hold values that are not finite")
    return first, second


def _row_blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _log_densities(squares: np.ndarray, variances: np.ndarray, width: int) -> np.ndarray:
    """Log densities of Gaussians with these variances, but for the constant: [points, Gaussians]."""
    return -0.5 * (squares / variances + width * np.log(variances))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    return sum(float(((x[rows] @ y.T / x.shape[1] + 1) ** 3).sum()) for rows in _row_blocks(len(x), len(y)))


def _kernel_diagonal(x: np.ndarray) -> float:
    return float((((x * x).sum(axis=1) / x.shape[1] + 1) ** 3).sum())


def _triangle(centred: np.ndarray) -> np.ndarray:
    """R [min(N, D), D] with R^T R = covariance."""
    (triangle,) = scipy.linalg.qr(centred / np.sqrt(len(centred) - 1), mode="r", check_finite=False)
    return triangle[: min(centred.shape)]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # about their common centre, where the terms that cancel are smallest
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    return np.maximum(squares, 0, out=squares)


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each point to its k-th nearest other point."""
    radii = np.empty(len(points))
    for rows in _row_blocks(len(points), len(points)):
        squares = _squared_distances(points[rows], points)
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = np.inf
        radii[rows] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return radii


def _inside(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the balls in which each point lies, int [points], and tell whether each ball holds one, bool [centres]."""
    balls, filled = np.empty(len(points), np.int64), np.zeros(len(centres), bool)
    for rows in _row_blocks(len(points), len(centres)):
        within = _squared_distances(points[rows], centres) <= radii
        balls[rows] = within.sum(axis=1)
        filled |= within.any(axis=0)
    return balls, filled
