"""What people say about a few hundred faces, and what follows for all of them.

Of all estimates in a report this is the only one that does not assume that the classifier errs on these faces as it
does elsewhere: people label a random sample, and the classifier's probabilities for all faces only make the estimate
sharper, however wrong they are (prediction-powered inference: Angelopoulos et al. 2023, arXiv:2301.09633; with the
power tuned from the data, PPI++: arXiv:2311.01453). The sample is stratified by the label given and by confidence, so
that rare labels and doubtful faces are in it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, Ints
from .shares import wilson_interval
from .table import LabelTable

NO_ANSWER = -1
_LEAST = 2  # faces of a stratum, for a variance
_PRIOR = 2.0  # degrees of freedom of the common variance that the strata share


@dataclass(frozen=True)
class AuditDesign:
    """Which faces to show: `rows` [n] of the table in random order, and the stratum of every face, `strata` [N].

    `names` says what the strata are: 'happy, less sure'. The design follows from the table, n and the seed.
    """

    rows: Ints
    strata: Ints
    names: tuple[str, ...]


@dataclass(frozen=True)
class AuditEstimate:
    """Shares [K] with limits [K], from answers and predictions together; `human` [K] are from the answers alone.

    `power` is how much weight the predictions got, 0 (none) to 1; `answered` how many faces got an answer; `agreement`
    the estimated share of faces to which people would give the classifier's label; `effective_n` [K] how many answers
    on a plain random sample of faces would say as much.
    """

    shares: Floats
    low: Floats
    high: Floats
    human: Floats
    power: float
    answered: int
    agreement: float
    effective_n: Floats
    level: float


def stratified_sample(table: LabelTable, n: int = 200, seed: int = 0) -> AuditDesign:
    """Choose n faces for people to label, in proportion to the strata, at least two of each.

    Strata are the given labels, each halved at its median confidence; where n is too small for that, the labels alone,
    or no strata at all.

    Args:
        table: the classified faces, in a fixed order.
        n: faces to choose; all of them where there are not more.
        seed: of the choice and of the order.

    Raises:
        ValueError: n is not positive.
    """
    if n < 1:
        raise ValueError("an audit needs at least one face")
    rng = np.random.default_rng(seed)
    size = min(n, len(table))
    for strata, names in _schemes(table):
        members = np.bincount(strata, minlength=len(names))
        least = np.minimum(members, _LEAST)
        if least.sum() <= size or len(names) == 1:
            break
    chosen = _allocate(members, np.minimum(least, size), size)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(strata == h), chosen[h], replace=False) for h in range(len(names))]
    )
    return AuditDesign(rng.permutation(rows).astype(np.int64), strata, names)


def prediction_powered(
    table: LabelTable, design: AuditDesign, answers: ArrayLike, *, level: float = 0.95
) -> AuditEstimate:
    """Shares of the expressions that people would see, in all that the generator makes.

    The estimate is the mean prediction of all faces, times the power, plus the mean of what people said minus the
    power times the prediction, over the strata by their size: unbiased for any predictions. The power is the one that
    minimises the estimated variance of all shares together, so they sum to 1.

    The intervals hold the luck of the audit and of the N faces. Each is Wilson's, for as many faces as give the
    estimated variance; strata with equal answers borrow from the common variance, so that a label that nobody chose
    does not get an interval of no width.

    Args:
        table: the table that the design was made for.
        design: from :func:`stratified_sample`.
        answers: class codes [n] in the order of `design.rows`, `NO_ANSWER` (-1) where there is none. Faces without an
            answer are taken as missing by chance within their stratum.
        level: of the intervals.

    Raises:
        ValueError: fewer than two answers, or answers that do not fit the design.
    """
    codes, k = np.asarray(answers, np.int64), len(table.classes)
    if codes.shape != design.rows.shape or len(design.strata) != len(table):
        raise ValueError(f"{codes.size} answers do not fit a design of {design.rows.size} faces")
    if codes.size and (codes.min() < NO_ANSWER or codes.max() >= k):
        raise ValueError(f"an answer is outside {NO_ANSWER}..{k - 1}")
    given = codes != NO_ANSWER
    rows, y = design.rows[given], np.eye(k)[codes[given]]
    if len(rows) < 2:
        raise ValueError("an audit needs at least two answers")
    everyone = _merged(design.strata, rows)
    strata, total, n = everyone[rows], len(table), len(rows)
    members = np.bincount(everyone).astype(np.float64)
    asked = np.bincount(strata, minlength=len(members)).astype(np.float64)
    weight = (members / total / asked)[strata]  # of an answer; they sum to 1
    # variance of the estimate per unit of variance within a stratum; strata that were asked in full add nothing
    share = (members / total) ** 2 * (1 - asked / members) / asked
    f = np.asarray(table.probabilities, np.float64)[rows]

    def within(a: Floats, b: Floats) -> Floats:
        """Covariance [H, K] within strata; 0 for a stratum of one answer, which then was asked in full."""
        group = np.eye(len(members))[strata]
        means = [group.T @ x / asked[:, None] for x in (a, b)]
        return group.T @ ((a - means[0][strata]) * (b - means[1][strata])) / np.maximum(asked - 1, 1)[:, None]

    of_predictions = float((share @ within(f, f)).sum())
    power = float(np.clip((share @ within(y, f)).sum() / of_predictions, 0, 1)) if of_predictions > 0 else 0.0
    rest = y - power * f
    shares = power * np.asarray(table.probabilities, np.float64).mean(axis=0) + weight @ rest
    judged = np.eye(k)[table.codes[rows]]
    mistaken = ((y != judged).sum(axis=0) + 1) / (n + 2)
    free = np.maximum(asked - 1, 0)[:, None]
    variance = share @ ((free * within(rest, rest) + _PRIOR * mistaken * (1 - mistaken)) / (free + _PRIOR))
    shares = np.maximum(shares, 0)
    shares /= shares.sum()
    inner = np.clip(shares, 1 / (2 * n), 1 - 1 / (2 * n))
    effective = inner * (1 - inner) / (variance + inner * (1 - inner) / total)
    low, high = wilson_interval(shares * effective, effective, level)
    # The predictions alone must not rule out a share of 0 that every answer agrees with.
    low, high = np.where(y.any(axis=0), low, 0.0), np.where(y.all(axis=0), 1.0, high)
    return AuditEstimate(
        shares, low, high, weight @ y, power, n, float(weight @ (y * judged).sum(axis=1)), effective, level
    )


def _schemes(table: LabelTable) -> list[tuple[Ints, tuple[str, ...]]]:
    """Strata [N] and their names, from fine to coarse; no stratum is empty."""
    sure = np.zeros(len(table), np.int64)
    for k in range(len(table.classes)):
        rows = np.flatnonzero(table.codes == k)
        ranks = np.argsort(np.argsort(table.confidence[rows], kind="stable"), kind="stable")
        sure[rows] = ranks >= len(rows) // 2
    found = []
    for keys, name in (
        (2 * table.codes + sure, lambda key: f"{table.classes[key // 2]}, {'surer' if key % 2 else 'less sure'}"),
        (table.codes, lambda key: table.classes[key]),
        (np.zeros(len(table), np.int64), lambda _: "all faces"),
    ):
        present, strata = np.unique(keys, return_inverse=True)
        found.append((strata.astype(np.int64), tuple(name(int(key)) for key in present)))
    return found


def _allocate(members: Ints, least: Ints, size: int) -> Ints:
    """Whole numbers [H] that sum to `size`, near size * members / N, from `least` to `members`."""
    chosen = least.copy()
    while chosen.sum() < size:
        # the stratum that is furthest behind its share gets the next face (Webster's method)
        behind = np.where(chosen < members, members / (2 * chosen + 1), -1.0)
        chosen[int(np.argmax(behind))] += 1
    return chosen


def _merged(strata: Ints, rows: Ints) -> Ints:
    """Strata [N] renumbered so that each has two answered faces or is answered in full: neighbours are joined."""
    _, current = np.unique(strata, return_inverse=True)
    while True:
        members = np.bincount(current)
        asked = np.bincount(current[rows], minlength=len(members))
        poor = np.flatnonzero(asked < np.minimum(members, _LEAST))
        if not poor.size or len(members) == 1:
            return current.astype(np.int64)
        h = int(poor[0])
        # strata of one label are neighbours, the less sure half first
        neighbour = h + 1 if h + 1 < len(members) and (h % 2 == 0 or h == 0) else h - 1
        _, current = np.unique(np.where(current == h, neighbour, current), return_inverse=True)
