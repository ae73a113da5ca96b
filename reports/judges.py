"""Several judges of the same faces: their shares side by side, how far they agree, what that means for the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.labels import canonical_label
from ..runtime.errors import DataError
from .correction import Correction, correct, missing_validation, shares_beside
from .formatting import NBSP, listed, percent, plural, points, printable
from .settings import plain
from .statistics.correction.prevalence import Validation
from .statistics.differences.judges import JudgeAgreement, compare_judges
from .statistics.table import LabelTable
from .values import by_name, interval, share_data

MOST = 24
"""Faces that are shown of those on which judges disagree."""

_ALIKE = 0.05  # shares that differ by less are called alike


@dataclass(frozen=True)
class JudgeLabels:
    """One judge's labels: its name in the run, its table, and its answers on labelled faces, where it has some."""

    name: str
    table: LabelTable
    validation: Validation | None = None


@dataclass(frozen=True)
class Judges:
    """Two or more judges compared.

    Attributes:
        found: how they agree, on the labels and faces that all share.
        labels: of each judge, in the spelling that they share.
        corrections: of each judge's shares, None where it has no answers on labelled faces to correct by.
    """

    found: JudgeAgreement
    labels: tuple[tuple[str, ...], ...]
    corrections: tuple[Correction | None, ...]

    def corrected(self, judge: int) -> dict[str, tuple[float, float, float]] | None:
        """By label (share, low, high) corrected for a judge's confusion (ACC); None where that is not known."""
        correction = self.corrections[judge]
        if correction is None:
            return None
        acc = correction.prevalence["ACC"]
        rows = zip(self.labels[judge], acc.shares, acc.low, acc.high, strict=True)
        return {name: (float(share), float(low), float(high)) for name, share, low, high in rows}


def judge_faces(samples: Sequence[JudgeLabels], first: Correction | None = None) -> Judges:
    """Compare judges.

    Args:
        samples: two or more, of the same faces.
        first: the correction of the first one's shares, if it was made already.

    Raises:
        DataError: they have fewer than two labels or no face in common, or validation faces do not serve.
    """
    canonical = [[canonical_label(name) for name in sample.table.classes] for sample in samples]
    try:
        found = compare_judges([sample.name for sample in samples], [sample.table for sample in samples], canonical)
    except ValueError as error:
        raise DataError(f"the judges cannot be compared: {error}") from error
    corrections = [first, *(_correction(sample) for sample in samples[1:])]
    return Judges(found, tuple(map(tuple, canonical)), tuple(corrections))


def _correction(sample: JudgeLabels) -> Correction | None:
    validation = sample.validation
    if validation is None or missing_validation(validation, sample.table.classes):
        return None
    try:
        return correct(sample.table, validation)
    except ValueError as error:
        raise DataError(f"the validation faces of {printable(sample.name)} do not serve: {error}") from error


def judges_sentence(judges: Judges) -> str:
    """One sentence: how far the answer depends on who judges."""
    found = judges.found
    first = [shares.ranking()[0] for shares in found.shares]
    k = int(found.spread.argmax())
    every = [float(shares.shares[k]) for shares in found.shares]
    low, high = int(np.argmin(every)), int(np.argmax(every))
    who = [printable(name, 40) for name in found.names]
    label = printable(found.classes[k], 40)
    span = f"{label} runs from {percent(every[low], 0)} ({who[low]}) to {percent(every[high], 0)} ({who[high]})"
    if len(set(first)) > 1:
        said = [f"{name} says {printable(found.classes[c], 40)}" for name, c in zip(who, first, strict=True)]
        head = f"Which label is the most frequent depends on the judge ({'; '.join(said)}), and {span}"
    elif found.spread[k] > _ALIKE:
        top = printable(found.classes[first[0]], 40)
        head = f"All {plural(len(who), 'judge')} call {top} most often, but the shares depend on the judge: {span}"
    else:
        top = printable(found.classes[first[0]], 40)
        head = (
            f"The answer hardly depends on the judge: all {len(who)} call {top} most often, and no share differs by "
            f"more than {points(float(found.spread[k])).lstrip('+')}"
        )
    level = f"{100 * found.all_agree.level:g}{NBSP}%"
    kappa = found.kappa
    beyond = (
        "" if kappa is None else f" (Fleiss’ κ {kappa.value:.2f}, {level} interval {kappa.low:.2f} to {kappa.high:.2f})"
    )
    return f"{head}; they give {percent(found.all_agree.value, 0)} of the faces the same label{beyond}."


def judge_notes(judges: Judges | None, failed: Sequence[tuple[str, str]]) -> list[str]:
    """Notes on the comparison, and on judges that ``failed`` (name, reason); plain sentences."""
    notes = [
        f"The judge {printable(name, 60)} has no whole table of labels: {printable(reason, 200)}."
        for name, reason in failed
    ]
    if judges is None:
        return notes
    found = judges.found
    for name, classes, correction in zip(found.names[1:], judges.labels[1:], judges.corrections[1:], strict=True):
        if correction is not None and (beside := shares_beside(correction, classes)):
            notes.append(f"{printable(name, 60)}: {beside}")
    for name, dropped in zip(found.names, found.dropped, strict=True):
        if dropped:
            notes.append(
                f"{printable(name, 60)} knows {listed([printable(label, 40) for label in dropped])} too; the judges "
                "are compared on the labels that all know, and such faces count there as its next best label."
            )
    return notes


def judges_data(judges: Judges | None, faces: Sequence[str]) -> dict[str, Any] | None:
    """The comparison as plain JSON values; ``faces`` are those of the first judge's table."""
    if judges is None:
        return None
    found = judges.found
    names, labels = [str(plain(name)) for name in found.names], [str(plain(name)) for name in found.classes]
    return {
        "sentence": judges_sentence(judges),
        "n": len(found.faces),
        "labels": labels,
        "judges": [
            {
                "name": name,
                "dropped": [str(plain(label)) for label in found.dropped[number]],
                "counts": dict(zip(labels, found.shares[number].counts.tolist(), strict=True)),
                "shares": share_data(labels, found.shares[number]),
                "corrected": _corrected(judges, number, labels),
            }
            for number, name in enumerate(names)
        ],
        "pairs": [
            {
                "a": names[pair.first],
                "b": names[pair.second],
                "agreement": interval(pair.agreement),
                "kappa": None if pair.kappa is None else interval(pair.kappa),
            }
            for pair in found.pairs
        ],
        "all_agree": interval(found.all_agree),
        "fleiss_kappa": None if found.kappa is None else interval(found.kappa),
        "spread": by_name(labels, found.spread),
        "most_disputed": [
            {
                "face": plain(faces[int(found.faces[place])]),
                "distance": float(found.disagreement[place]),
                "labels": {name: labels[found.codes[j, place]] for j, name in enumerate(names)},
            }
            for place in found.most(n=MOST)
        ],
    }


def _corrected(judges: Judges, number: int, labels: list[str]) -> dict[str, Any] | None:
    correction, shares = judges.corrections[number], judges.corrected(number)
    if correction is None or shares is None:
        return None
    return {
        "refuted": correction.refuted,
        "shares": {label: dict(zip(("share", "low", "high"), shares[label], strict=True)) for label in labels},
    }
