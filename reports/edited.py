"""Faces that were moved along a direction: at each strength the labels, how far the faces went and whether they broke.

The same seeds are drawn at every strength, so what differs between strengths is the edit, not the luck of the draw.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.run_record.run import RunRecord
from ..data.run_record.settings import GenerateRecord
from .formatting import percent, plural, printable
from .settings import plain
from .statistics.shares import LabelShares, label_shares
from .statistics.table import LabelTable
from .values import share_data

_STRENGTH = re.compile(r"_edit(-?[0-9.]+(?:e-?[0-9]+)?)\.[a-z]+$")
_KEPT = 0.5  # of the unedited faces' precision: below that most faces have left those that the generator makes


@dataclass(frozen=True)
class EditedFaces:
    """The faces at one strength.

    `probability` is the mean of the label that the direction leads to. `moved` is the mean distance of a face to itself
    unedited in features, as a share of the distance of two unedited faces; `precision` the share of faces inside the
    unedited ones of other seeds. Both are None where pictures were not measured.
    """

    strength: float
    shares: LabelShares
    probability: float | None
    moved: float | None
    precision: float | None


@dataclass(frozen=True)
class Edited:
    """A sweep over strengths, ascending.

    `toward` is None where the judge does not know the label; `rising` the share of seeds whose probability of it rises
    at each step; `features` says in which features the pictures were measured.
    """

    edit: str
    toward: str | None
    parts: tuple[EditedFaces, ...]
    rising: float | None
    features: str | None

    @property
    def sentence(self) -> str:
        """The effect of the edit, in words."""
        first, last = self.parts[0], self.parts[-1]
        if self.toward is None or first.probability is None or last.probability is None:
            return f"The same seeds were moved along {self.edit} at {len(self.parts)} strengths."
        k = first.shares.classes.index(self.toward)
        text = (
            f"From strength {first.strength:g} to {last.strength:g} of {self.edit} the mean probability of "
            f"{self.toward} goes from {percent(first.probability)} to {percent(last.probability)} and its share of the "
            f"labels from {percent(first.shares.shares[k])} to {percent(last.shares.shares[k])}."
        )
        if self.rising is not None:
            text += f" At every step it rises for {percent(self.rising, 0)} of {plural(first.shares.n, 'seed')}."
        return f"{text} {self.breaks}".strip()

    @property
    def breaks(self) -> str:
        """Where pictures break, as a sentence; empty where nobody measured."""
        known = [part for part in self.parts if part.precision is not None]
        if not known:
            return ""
        least = _KEPT * (min(known, key=lambda part: abs(part.strength)).precision or 0)
        broken = [part for part in known if (part.precision or 0) < least]
        if not broken:
            return "Precision stays above half of what it is for the least edited faces."
        nearest = min(broken, key=lambda part: abs(part.strength))
        return (
            f"At strength {nearest.strength:g} precision is {nearest.precision:.2f}, less than half of what it is for "
            "the least edited faces: pictures break."
        )


def strengths_of(made: GenerateRecord | None, table: LabelTable) -> np.ndarray | None:
    """By which strength each face was moved, float64 [N]; None where the run is not a sweep over strengths."""
    if made is None or made.edit_sweep is None:
        return None
    found = [_STRENGTH.search(str(name)) for name in table.faces]
    return np.array([float(match[1]) for match in found if match]) if all(found) else None


def read_edited(record: RunRecord, table: LabelTable) -> Edited | None:
    """The sweep over strengths in a run; None where there is none."""
    made, measured = record.generate, record.edited
    strengths = strengths_of(made, table)
    if made is None or strengths is None or len(values := np.unique(strengths)) < 2:
        return None
    toward = made.edit_toward
    k = table.classes.index(toward) if toward in table.classes else None
    known = {row.strength: row for row in measured.strengths} if measured else {}
    parts = []
    for value in values.tolist():
        here, row = strengths == value, known.get(value)
        parts.append(
            EditedFaces(
                value,
                label_shares(table.codes[here], table.classes),
                None if k is None else float(table.probabilities[here, k].mean(dtype=np.float64)),
                row.moved if row else None,
                row.precision if row else None,
            )
        )
    return Edited(
        printable(plain(made.edits[0] if made.edits else "a direction"), 80),
        None if k is None else table.classes[k],
        tuple(parts),
        None if k is None else _rising(table, strengths, values, k),
        printable(plain(measured.features), 80) if measured else None,
    )


def _rising(table: LabelTable, strengths: np.ndarray, values: np.ndarray, k: int) -> float | None:
    """The share of seeds whose probability of label `k` rises at each step."""
    if table.seeds is None:
        return None
    by_seed: list[dict[int, float]] = []
    for value in values:
        here = strengths == value
        by_seed.append(dict(zip(table.seeds[here].tolist(), table.probabilities[here, k].tolist(), strict=True)))
    seeds = set.intersection(*(set(known) for known in by_seed))
    if not seeds:
        return None
    rows = np.array([[known[seed] for known in by_seed] for seed in sorted(seeds)])
    return float((np.diff(rows, axis=1) > 0).all(axis=1).mean())


def edited_data(names: list[str], edited: Edited | None) -> dict[str, Any] | None:
    """The sweep over strengths as plain JSON values, with labels called `names`."""
    if edited is None:
        return None
    return {
        "edit": edited.edit,
        "toward": edited.toward,
        "features": edited.features,
        "rising": edited.rising,
        "sentence": edited.sentence,
        "by_strength": [
            {
                "strength": part.strength,
                "n": part.shares.n,
                "probability": part.probability,
                "moved": part.moved,
                "precision": part.precision,
                "shares": share_data(names, part.shares),
            }
            for part in edited.parts
        ],
    }
