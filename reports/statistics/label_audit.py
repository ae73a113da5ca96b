"""The shares of expressions in all faces, by what people say about a few hundred of them.

Of all estimates in a report this is the only one that does not assume that the classifier errs on these faces as it
does elsewhere: people label a random sample, and the classifier's probabilities for all faces only make the estimate
sharper, however wrong they are (prediction-powered inference: Angelopoulos et al. 2023, arXiv:2301.09633; with the
power tuned from the data, PPI++: arXiv:2311.01453). The sample is stratified by the label given and by confidence, so
that rare labels and doubtful faces are in it, unless it is small.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .answers import AnsweredConfusion, AuditDesign, Votes, confusion_from_answers, kappa_of_people
from .arrays import Floats, Ints
from .shares import wilson_interval
from .table import LabelTable

STRATIFIED_FROM = 40
"""Faces from which on a sample has strata: the two that each needs for a variance cost a smaller one too much."""

_LEAST = 2  # faces of a stratum, for a variance
_WORTH = 0.67  # of the faces asked: strata must not cost more
_PRIOR = 2.0  # degrees of freedom of the common variance that the strata share
_RARE = 5.0  # answers of a class from which on the estimated gain by predictions counts for more than half


@dataclass(frozen=True)
class AuditEstimate:
    """Shares [K] with limits [K], from answers and predictions together; `human` [K] are from the answers alone.

    The shares are of the faces that people can name. `cannot_tell` is the share of the others with its limits, and
    `worst_low` and `worst_high` [K] bound the shares of all faces whatever the others show.

    `power` [K] is how much weight the predictions got, 0 (none) to 1; `answered` how many faces got a label;
    `agreement` the estimated share of nameable faces to which people would give the classifier's label; `effective_n`
    [K] how many answers on a plain random sample of faces would say as much; `raters` how many people answered, and
    `kappa` Cohen's kappa of two of them, else None; `confusion` is what the answers say about the classifier.
    """

    shares: Floats
    low: Floats
    high: Floats
    human: Floats
    power: Floats
    answered: int
    agreement: float
    effective_n: Floats
    level: float
    cannot_tell: float
    cannot_tell_low: float
    cannot_tell_high: float
    worst_low: Floats
    worst_high: Floats
    raters: int
    kappa: float | None
    confusion: AnsweredConfusion


def stratified_sample(
    table: LabelTable,
    n: int = 200,
    seed: int = 0,
    allocation: Literal["proportional", "neyman"] = "proportional",
    stratified_from: int = STRATIFIED_FROM,
) -> AuditDesign:
    """Choose n faces for people to label, spread over the strata, at least two of each.

    Strata are the given labels, each halved at its median confidence; where n is too small for that, the labels alone,
    or no strata at all: a plain random sample.

    Args:
        table: the classified faces, in a fixed order.
        n: faces to choose; all of them where there are not more.
        seed: of the choice and of the order.
        allocation: 'proportional' to the sizes of the strata, or by Neyman's rule (1934) to size times standard
            deviation, the latter as the classifier's own probabilities have it. A classifier can be sure and wrong,
            so that every stratum keeps at least half of its proportional part.
        stratified_from: faces from which on there are strata.

    Raises:
        ValueError: n is not positive.
    """
    if n < 1:
        raise ValueError("an audit needs at least one face")
    rng = np.random.default_rng(seed)
    size = min(n, len(table))
    for strata in _schemes(table)[0 if size >= stratified_from else -1 :]:
        members = np.bincount(strata)
        least = np.minimum(members, _LEAST)
        if len(members) == 1:
            break
        if least.sum() <= size:
            chosen = _allocate(members, least, size, members.astype(np.float64))
            # where two faces of each tiny stratum leave few for the others, fewer strata say more
            if 1 / ((members / len(table)) ** 2 / chosen).sum() >= _WORTH * size:
                break
    wanted = members.astype(np.float64)
    if allocation == "neyman":
        unsure = 1 - (np.asarray(table.probabilities, np.float64) ** 2).sum(axis=1)
        wanted *= np.sqrt(np.maximum(np.bincount(strata, weights=unsure) / members, 1e-6))
        half = np.maximum(least, size * members // (2 * len(table)))
        least = half if half.sum() <= size else least
    chosen = _allocate(members, np.minimum(least, size), size, wanted)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(strata == h), chosen[h], replace=False) for h in range(len(members))]
    )
    return AuditDesign(rng.permutation(rows).astype(np.int64), strata)


def prediction_powered(
    table: LabelTable, design: AuditDesign, answers: ArrayLike, *, level: float = 0.95
) -> AuditEstimate:
    """Shares of the expressions that people would see, in all that the generator makes.

    The estimate of a class is the mean prediction of all faces, times the power, plus the mean of what people said
    minus the power times the prediction, over the strata by their size: unbiased for any predictions. The power of
    each class minimises its estimated variance. The shares are then scaled to sum to 1 over the faces that people can
    name.

    The intervals hold the luck of the audit and of the N faces. Each is Wilson's, for as many faces as give the
    estimated variance. That variance is itself an estimate, and a poor one from few answers of a class: the fewer they
    are, the nearer the number of faces is to that of the answers, and it is not above it where nobody chose the class.

    Args:
        table: the table that the design was made for.
        design: from :func:`stratified_sample`.
        answers: class codes [n] in the order of `design.rows`, or [R, n] of R people; `NO_ANSWER` (-1) where a face
            was not judged, which is taken as missing by chance within its stratum, and `CANNOT_TELL` (-2), which is
            not.

    Raises:
        ValueError: fewer than two answers, or answers that do not fit the design.
    """
    asked = Votes.of(table, design, answers)
    y, weight, named = asked.votes, asked.weight, asked.named
    f = np.asarray(table.probabilities, np.float64)[asked.rows]
    nameable = float(weight @ named)
    human = weight @ y / nameable
    seen = y - human * named[:, None]  # the share among nameable faces is a ratio; this is its linear part
    of_predictions = asked.spread @ asked.within(f, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.clip(np.nan_to_num(asked.spread @ asked.within(seen, f) / of_predictions, posinf=0, neginf=0), 0, 1)
    everyone = np.asarray(table.probabilities).mean(axis=0, dtype=np.float64)
    shares = np.maximum(power * everyone + weight @ (y - power * f), 0)
    shares /= shares.sum()
    effective = _effective(table, asked, shares, y - shares * named[:, None] - power * f)
    low, high = wilson_interval(shares * effective, effective, level)
    # The predictions alone must not rule out a share of 0 that every answer agrees with.
    low, high = np.where(y.any(axis=0), low, 0.0), np.where((y == named[:, None]).all(axis=0), 1.0, high)
    unsure, unsure_low, unsure_high, worst_low, worst_high = _unsure(asked, shares, low, high, level)
    judged = np.eye(len(table.classes))[table.codes[asked.rows]]
    codes = np.atleast_2d(np.asarray(answers, np.int64))
    return AuditEstimate(
        shares, low, high, human, power, int((named > 0).sum()), float(weight @ (y * judged).sum(axis=1)) / nameable,
        effective, level, unsure, unsure_low, unsure_high, worst_low, worst_high,
        len(codes), kappa_of_people(codes[0], codes[1]) if len(codes) == 2 else None,
        confusion_from_answers(table, design, answers, level=level),
    )  # fmt: skip


def _effective(table: LabelTable, asked: Votes, shares: Floats, rest: Floats) -> Floats:
    """How many faces of a plain random sample [K] would say as much; `rest` [n, K] are what the predictions leave."""
    n, nameable = len(asked.rows), float(asked.weight @ asked.named)
    judged = np.eye(len(shares))[table.codes[asked.rows]]
    mistaken = ((asked.votes != judged).sum(axis=0) + 1) / (n + 2)
    free = np.maximum(np.bincount(asked.strata, minlength=len(asked.spread)) - 1, 0)[:, None]
    variance = asked.spread @ ((free * asked.within(rest, rest) + _PRIOR * mistaken * (1 - mistaken)) / (free + _PRIOR))
    inner = np.clip(shares, 1 / (2 * n), 1 - 1 / (2 * n))
    inner *= 1 - inner
    loss = (variance / nameable**2 + inner / (len(table) * nameable)) / (inner / asked.equal)
    loss = np.minimum(loss, max(1.0, asked.equal * float(asked.weight.max())))
    chosen = asked.votes.sum(axis=0)
    fewer = np.minimum(chosen, asked.named.sum() - chosen)
    trust = fewer**2 / (fewer**2 + _RARE**2)
    return asked.equal / (trust * loss + (1 - trust))


def _unsure(
    asked: Votes, shares: Floats, low: Floats, high: Floats, level: float
) -> tuple[float, float, float, Floats, Floats]:
    """The share that people cannot name, with limits, and bounds [K] that hold whatever those faces show."""
    n = float(1 / (asked.weight**2).sum())
    unsure = float(np.clip(1 - asked.weight @ asked.named, 0, 1))
    unsure = 0.0 if (asked.named == 1).all() else unsure
    below, above = (float(x) for x in wilson_interval(unsure * n, n, level))
    if not unsure:
        return unsure, below, above, low, high
    chosen = asked.weight @ asked.votes
    worst_low = wilson_interval(np.clip(chosen, 0, 1) * n, n, level)[0]
    worst_high = wilson_interval(np.clip(chosen + unsure, 0, 1) * n, n, level)[1]
    return unsure, below, above, worst_low, worst_high


def _schemes(table: LabelTable) -> list[Ints]:
    """Strata [N] from fine to coarse: halves of labels, labels, all faces; no stratum is empty."""
    sure = np.zeros(len(table), np.int64)
    for k in range(len(table.classes)):
        rows = np.flatnonzero(table.codes == k)
        ranks = np.argsort(np.argsort(table.confidence[rows], kind="stable"), kind="stable")
        sure[rows] = ranks >= len(rows) // 2
    kinds = (2 * table.codes + sure, table.codes, np.zeros(len(table), np.int64))
    return [np.unique(keys, return_inverse=True)[1].astype(np.int64) for keys in kinds]


def _allocate(members: Ints, least: Ints, size: int, wanted: Floats) -> Ints:
    """Whole numbers [H] that sum to `size`, nearly in proportion to `wanted`, from `least` to `members`."""
    chosen = least.copy()
    while chosen.sum() < size:
        # the stratum that is furthest behind its share gets the next face (Webster's method)
        behind = np.where(chosen < members, wanted / (2 * chosen + 1), -1.0)
        chosen[int(np.argmax(behind))] += 1
    return chosen
