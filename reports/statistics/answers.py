"""The classifier's confusion on generated faces by people's answers, and the shares corrected by it.

A correction by photographs assumes that generated faces are mistaken as photographs are. Answers on a sample of the
generated faces need no such assumption: they tell how often people see each expression behind each label, and all
faces have a label.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Floats, Ints
from .correction.bayes import dirichlet, highest_density
from .differences.judges import cohens_kappa
from .table import LabelTable

NO_ANSWER = -1
CANNOT_TELL = -2
_LEAST = 2  # answers of a stratum, for a variance
_DRAWS = 4000


@dataclass(frozen=True)
class AuditDesign:
    """Which faces to show: `rows` [n] of the table in random order, and the stratum of every face, `strata` [N].

    The design follows from the table, n, the seed and the allocation.
    """

    rows: Ints
    strata: Ints


@dataclass(frozen=True)
class Votes:
    """The answered faces of an audit: `rows` [n] of the table, `votes` [n, K] and `named` [n], their sums.

    A vote is the share of the raters of a face who chose the class; those who cannot tell choose none. `weight` [n]
    is the share of all faces that an answer stands for, by the inverse of its probability of being asked; `strata`
    [n] and `spread` [H] give the variance of a weighted mean: `spread` @ variances within the strata.
    """

    rows: Ints
    votes: Floats
    named: Floats
    weight: Floats
    strata: Ints
    spread: Floats

    @classmethod
    def of(cls, table: LabelTable, design: AuditDesign, answers: ArrayLike) -> "Votes":
        """Check answers and weigh them; arguments as for :func:`prediction_powered`."""
        codes, k = np.atleast_2d(np.asarray(answers, np.int64)), len(table.classes)
        if codes.shape[1:] != design.rows.shape or len(design.strata) != len(table):
            raise ValueError(f"{codes.shape[1]} answers do not fit a design of {design.rows.size} faces")
        if codes.size and (codes.min() < CANNOT_TELL or codes.max() >= k):
            raise ValueError(f"an answer is outside {CANNOT_TELL}..{k - 1}")
        seen = (codes != NO_ANSWER).sum(axis=0)
        rows = design.rows[seen > 0]
        chosen = (codes[:, :, None] == np.arange(k)).sum(axis=0)[seen > 0]
        votes = chosen / seen[seen > 0][:, None]
        if (chosen.sum(axis=1) > 0).sum() < 2:
            raise ValueError("an audit needs at least two answers")
        everyone = _merged(design.strata, table.codes, rows)
        strata = everyone[rows]
        members = np.bincount(everyone).astype(np.float64)
        asked = np.bincount(strata, minlength=len(members)).astype(np.float64)
        # strata that were asked in full add nothing to the variance
        spread = (members / len(table)) ** 2 * (1 - asked / members) / asked
        return cls(rows, votes, votes.sum(axis=1), (members / len(table) / asked)[strata], strata, spread)

    def within(self, a: Floats, b: Floats) -> Floats:
        """Covariances [H, K] within strata; 0 for a stratum of one answer, which then was asked in full."""
        group = np.eye(len(self.spread))[self.strata]
        asked = group.sum(axis=0)[:, None]
        means = [group.T @ x / asked for x in (a, b)]
        return group.T @ ((a - means[0][self.strata]) * (b - means[1][self.strata])) / np.maximum(asked - 1, 1)

    @property
    def equal(self) -> float:
        """How many equally weighted answers the weighted ones are worth: Kish's effective size of those that tell."""
        return float((self.weight @ self.named) ** 2 / (self.weight**2 @ self.named))


@dataclass(frozen=True)
class AnsweredConfusion:
    """The classifier's confusion on the generated faces themselves, and the shares corrected by it.

    `matrix` [K, K] is the share of faces with label i among those that people call y, columns sum to 1, NaN for
    expressions that nobody saw; `answers` [K] is how many answers each column rests on. `shares` [K] with limits are
    those of all faces that people can name: label shares times what people see behind each label.
    """

    matrix: Floats
    answers: Floats
    shares: Floats
    low: Floats
    high: Floats


def confusion_from_answers(
    table: LabelTable, design: AuditDesign, answers: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> AnsweredConfusion:
    """Estimate the confusion on generated faces, each answer weighted by the inverse of its chance of being asked.

    The shares are post-stratified by label; with this matrix, ACC gives the same. Their limits are highest-density
    ones of a posterior: label shares, and behind each label the shares of what people see, both Dirichlet, the latter
    with a prior worth one answer and answers counted by Kish's effective number. That prior is flat. Behind a label
    without answers half of it is on the label itself, and it gives the estimate too: there is nothing else to go by.

    Args:
        table: the table that the design was made for.
        design: from :func:`fergan.reports.statistics.label_audit.stratified_sample`.
        answers: as for :func:`fergan.reports.statistics.label_audit.prediction_powered`.
        level: of the limits.

    Raises:
        ValueError: fewer than two answers, or answers that do not fit the design.
    """
    asked, k = Votes.of(table, design, answers), len(table.classes)
    label = np.eye(k)[table.codes[asked.rows]]
    seen = np.column_stack([asked.votes, 1 - asked.named])  # what nobody can name is one more expression
    weighted = (label * asked.weight[:, None]).T @ seen  # [label, seen]
    per_label = weighted.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = weighted[:, :k] / weighted[:, :k].sum(axis=0)
        behind = np.nan_to_num(weighted / per_label[:, None])
        effective = np.nan_to_num(per_label**2 / (label.T @ asked.weight**2))
    counts = np.bincount(table.codes, minlength=k)
    possible = np.append(np.ones(k), float((asked.named < 1).any()))
    # [label, seen]: worth one answer behind each label
    prior = np.tile(possible / possible.sum(), (k, 1))
    unasked = per_label == 0
    prior[unasked] = (np.eye(k, k + 1)[unasked] + prior[unasked]) / 2
    behind[unasked] = prior[unasked]
    rng = np.random.default_rng(seed)
    labels = dirichlet(np.tile(counts + 0.5, (_DRAWS, 1)), rng)
    parameters = np.maximum(effective[:, None] * behind + prior, 1e-9)
    named = np.einsum("di,diy->dy", labels, dirichlet(np.tile(parameters, (_DRAWS, 1, 1)), rng))[:, :k]
    low, high = highest_density(named / named.sum(axis=1, keepdims=True), level)
    shares = counts / len(table) @ behind[:, :k]
    shares /= shares.sum()
    low = np.where(asked.votes.any(axis=0), low, 0.0)
    return AnsweredConfusion(matrix, asked.votes.sum(axis=0), shares, low, high)


def kappa_of_people(a: ArrayLike, b: ArrayLike) -> float | None:
    """Cohen's kappa of two people: 1 in full agreement, 0 as by chance; 'cannot tell' is a class too.

    Args:
        a: codes [n] of one person, `NO_ANSWER` where there is none.
        b: codes [n] of the other.

    Returns:
        Kappa over the faces that both judged; None where there are none, or where both said one thing throughout.
    """
    one, other = np.asarray(a, np.int64), np.asarray(b, np.int64)
    both = (one != NO_ANSWER) & (other != NO_ANSWER)
    if not both.any():
        return None
    codes, places = np.unique(np.stack([one[both], other[both]]), return_inverse=True)
    first, second = places.reshape(2, -1)
    kappa = cohens_kappa(first, second, len(codes))
    return None if kappa is None else kappa.value


def _merged(strata: Ints, codes: NDArray[np.integer], rows: Ints) -> Ints:
    """Strata [N] renumbered so that each has two answered faces or is answered in full.

    Neighbours are joined, if they can be those of one label: `codes` [N].
    """
    _, first, current = np.unique(strata, return_index=True, return_inverse=True)
    labels = codes[first]
    while True:
        members = np.bincount(current)
        asked = np.bincount(current[rows], minlength=len(members))
        poor = np.flatnonzero(asked < np.minimum(members, _LEAST))
        if not poor.size or len(members) == 1:
            return current.astype(np.int64)
        h = int(poor[0])
        beside = [other for other in (h - 1, h + 1) if 0 <= other < len(members)]
        neighbour = min(beside, key=lambda other: labels[other] != labels[h])
        labels = np.delete(labels, h)
        _, current = np.unique(np.where(current == h, neighbour, current), return_inverse=True)
