"""How far several judges of the same faces agree: face by face, beyond chance, and in the shares that they report.

Kappa is the agreement beyond that of judges who give their labels by lot (Cohen 1960; Fleiss 1971). Intervals are those
of large samples: of Cohen's kappa by Fleiss, Cohen & Everitt (1969, Psychol. Bull. 72:323, eq. 14), of Fleiss' kappa
by the linearisation of Gwet (2008, Br. J. Math. Stat. Psychol. 61:29, eq. 30 in the form of a variance over faces), of
plain agreement by Wilson's score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ....data.face_set import confusion_counts
from ..arrays import Floats, Ints
from ..shares import LabelShares, label_shares, wilson_interval
from ..table import LabelTable
from .distance import Interval


@dataclass(frozen=True)
class Pair:
    """Two judges by number: the share of faces that they label alike, and Cohen's kappa, None where it says nothing."""

    first: int
    second: int
    agreement: Interval
    kappa: Interval | None


@dataclass(frozen=True)
class JudgeAgreement:
    """How M judges of N faces agree on K labels.

    Attributes:
        names: of the judges.
        classes: the labels that all of them know, in the order of the first.
        dropped: for each judge, the labels that others do not know; its faces of these count as its next best label.
        faces: rows [N] of the first judge's table: the faces that all have labelled.
        codes: labels [M, N].
        shares: of each judge's labels, counted.
        pairs: of judges.
        all_agree: the share of faces on which all agree.
        kappa: Fleiss', None where all say one thing throughout.
        disagreement: [N], how far the judges are apart on a face: the mean total variation between two judges'
            probabilities, 0..1.
        spread: [K], the largest difference between two judges' shares.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    dropped: tuple[tuple[str, ...], ...]
    faces: Ints
    codes: Ints
    shares: tuple[LabelShares, ...]
    pairs: tuple[Pair, ...]
    all_agree: Interval
    kappa: Interval | None
    disagreement: Floats
    spread: Floats

    def pair(self, first: int, second: int) -> Pair:
        """The pair of two judges, in either order."""
        low, high = sorted((first, second))
        return next(pair for pair in self.pairs if (pair.first, pair.second) == (low, high))

    def most(self, among: ArrayLike | None = None, n: int = 24) -> list[int]:
        """Places 0..N-1 of the faces on which the judges disagree most and do not all agree, the furthest first.

        Args:
            among: rows of the first judge's table to choose from; None for all.
            n: at most so many.
        """
        wanted = (self.codes != self.codes[0]).any(axis=0)
        if among is not None:
            wanted &= np.isin(self.faces, np.asarray(among, np.int64))
        places = np.flatnonzero(wanted)
        return places[np.argsort(-self.disagreement[places], kind="stable")][:n].tolist()


def compare_judges(
    names: Sequence[str], tables: Sequence[LabelTable], canonical: Sequence[Sequence[str]]
) -> JudgeAgreement:
    """Compare the labels of several judges, on the labels and the faces that they share.

    Args:
        names: of the judges.
        tables: their labels; faces are matched by their names.
        canonical: for each judge the names of its classes in a spelling that they share.

    Raises:
        ValueError: fewer than two judges, labels or faces in common.
    """
    classes = tuple(name for name in canonical[0] if all(name in other for other in canonical))
    if len(tables) < 2 or len(classes) < 2:
        raise ValueError(f"{' and '.join(names)} have fewer than two labels in common")
    rows = _common_faces(tables)
    if not len(rows[0]):
        raise ValueError(f"no face was labelled by all of {', '.join(names)}")
    probabilities = []
    for table, own, chosen in zip(tables, canonical, rows, strict=True):
        p = np.asarray(table.probabilities, np.float64)[chosen][:, [list(own).index(name) for name in classes]]
        total = p.sum(axis=1, keepdims=True)
        probabilities.append(np.where(total > 0, p / np.where(total > 0, total, 1), 1 / len(classes)))
    codes = np.stack([p.argmax(axis=1) for p in probabilities])
    shares = tuple(label_shares(row, classes) for row in codes)
    pairs = tuple(
        Pair(a, b, agreement_of(codes[a], codes[b]), cohens_kappa(codes[a], codes[b], len(classes)))
        for a in range(len(codes))
        for b in range(a + 1, len(codes))
    )
    distances = [0.5 * np.abs(probabilities[pair.first] - probabilities[pair.second]).sum(axis=1) for pair in pairs]
    every = np.stack([one.shares for one in shares])
    same = (codes == codes[0]).all(axis=0)
    return JudgeAgreement(
        names=tuple(names),
        classes=classes,
        dropped=tuple(tuple(name for name in own if name not in classes) for own in canonical),
        faces=rows[0],
        codes=codes,
        shares=shares,
        pairs=pairs,
        all_agree=_share(int(same.sum()), len(same)),
        kappa=fleiss_kappa(codes, len(classes)),
        disagreement=np.mean(distances, axis=0),
        spread=every.max(axis=0) - every.min(axis=0),
    )


def _common_faces(tables: Sequence[LabelTable]) -> list[Ints]:
    """For each table the rows of the faces that all have, in the order of the first."""
    names = [list(table.faces) for table in tables]
    if all(other == names[0] for other in names[1:]):
        return [np.arange(len(names[0]))] * len(tables)
    places = [{name: row for row, name in enumerate(faces)} for faces in names]
    common = [name for name in names[0] if all(name in place for place in places)]
    return [np.array([place[name] for name in common], np.int64) for place in places]


def agreement_of(a: ArrayLike, b: ArrayLike) -> Interval:
    """The share of faces with equal labels, with Wilson's interval."""
    same = np.asarray(a) == np.asarray(b)
    return _share(int(same.sum()), len(same))


def _share(count: int, n: int) -> Interval:
    low, high = wilson_interval(count, n)
    return Interval(count / n, float(low), float(high), 0.95)


def cohens_kappa(a: ArrayLike, b: ArrayLike, classes: int) -> Interval | None:
    """Cohen's kappa of two judges with its large-sample interval; None where both say one and the same throughout.

    Args:
        a, b: codes [N], 0..classes - 1.
    """
    one = np.asarray(a, np.int64)
    n = len(one)
    joint = confusion_counts(one, np.asarray(b, np.int64), classes) / n
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    chance = float(rows @ columns)
    if chance >= 1:
        return None
    kappa = (float(np.trace(joint)) - chance) / (1 - chance)
    own = float(np.diag(joint) @ (1 - (rows + columns) * (1 - kappa)) ** 2)
    across = joint * (columns[:, None] + rows[None]) ** 2
    others = (1 - kappa) ** 2 * float(across.sum() - np.trace(across))
    variance = (own + others - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    return _normal(kappa, variance)


def fleiss_kappa(codes: ArrayLike, classes: int) -> Interval | None:
    """Fleiss' kappa of M judges with its large-sample interval; None where all say one and the same throughout.

    Args:
        codes: labels [M, N], 0..classes - 1.
    """
    given = np.asarray(codes, np.int64)
    m, n = given.shape
    counts = (given[..., None] == np.arange(classes)).sum(axis=0)  # [N, K]: judges that give a face a label
    shares = counts.sum(axis=0) / (m * n)
    chance = float(shares @ shares)
    if chance >= 1:
        return None
    alike = (counts * (counts - 1)).sum(axis=1) / (m * (m - 1))
    kappa = (float(alike.mean()) - chance) / (1 - chance)
    by_lot = counts @ shares / m
    influence = (alike - chance) / (1 - chance) - 2 * (1 - kappa) * (by_lot - chance) / (1 - chance)
    variance = float(((influence - kappa) ** 2).sum()) / (n * (n - 1)) if n > 1 else np.inf
    return _normal(kappa, variance)


def _normal(value: float, variance: float) -> Interval:
    half = NormalDist().inv_cdf(0.975) * float(np.sqrt(max(variance, 0.0)))
    return Interval(value, max(-1.0, value - half), min(1.0, value + half), 0.95)
