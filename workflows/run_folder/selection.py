"""The faces that somebody wanted: which seeds are kept, seed by seed, and what is known of those that are not.

A selection is a fold over seeds in order, so it is the same however the seeds were shared out and however often the
process was killed. Its state is one file, ``selection.json``, which appears whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ...data.run_record.run import Agreement, Rate, SelectedRecord, SteeredRate
from ...data.run_record.settings import GenerateRecord, Steering, parse_quotas
from ...reports.statistics.shares import wilson_interval
from ...runtime.errors import DataError
from ...runtime.files import read_regular, write_atomically
from .folder import RunFolder
from .seeds import face_name

COLUMNS = ("face", "seed", "want", "label_a", "confidence_a", "label_b", "confidence_b", "edit")
"""Columns of ``manifest.csv``: A is the judge that chose the face, B the one that did not."""


class Kept(NamedTuple):
    """A face that is kept, with the labels of both judges."""

    seed: int
    label: str
    confidence: float
    second: str
    second_confidence: float


@dataclass(frozen=True)
class Scanned:
    """The judges' labels of the seeds ``start`` .. ``stop - 1``.

    Attributes:
        start, stop: the seeds.
        labels: seed -> label and confidence of those that were drawn; a label is None where the judge was less sure
            than asked, or saw no face.
        second: seed -> label and confidence of the second judge, at least for all seeds that can be kept.
    """

    start: int
    stop: int
    labels: Mapping[int, tuple[str | None, float]]
    second: Mapping[int, tuple[str, float]]


@dataclass
class Selection:
    """The state of a selection.

    Attributes:
        wanted: label -> how many faces.
        by_class: whether the generator draws classes; a seed is then drawn in the class of one wanted label, in turn,
            and kept only if the judge agrees. Seeds of labels that are no longer wanted are passed over.
        steering: how later seeds are moved, each towards one label; they are kept and passed over likewise.
        seen: seeds 0 .. seen - 1 were judged or passed over.
        drawn: label -> seeds drawn in its class, or moved towards it; else empty.
        counts: label -> how many of the seeds have it, as sure as asked; with classes, of the seeds of its own; steered
            seeds do not count.
        hits: label -> how many of the seeds that were moved towards it have it.
        kept: in the order of their seeds.
    """

    wanted: Mapping[str, int]
    by_class: bool = False
    steering: Steering | None = None
    seen: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = Counter(one.label for one in self.kept)
        self._missing = {label: n - found[label] for label, n in self.wanted.items()}

    @classmethod
    def of(cls, record: GenerateRecord) -> Selection:
        """The empty selection of a search with these settings."""
        return cls(parse_quotas(record.want or ""), record.classes is not None, record.steering())

    def found(self) -> dict[str, int]:
        """Label -> how many faces are kept."""
        return {label: n - self._missing[label] for label, n in self.wanted.items()}

    def open(self) -> tuple[str, ...]:
        """The labels of which faces are still wanted."""
        return tuple(label for label, n in self._missing.items() if n)

    def asked(self, seed: int) -> str | None:
        """The label in whose class a seed is drawn, or that it is moved towards; None where it may have any."""
        moved = self.steering.of(seed) if self.steering else None
        if moved is not None:
            return [*self.wanted][moved[0]]
        return [*self.wanted][seed % len(self.wanted)] if self.by_class else None

    def steered(self, seed: int) -> bool:
        """Whether a seed is among those that are moved."""
        return self.steering is not None and self.steering.of(seed) is not None

    def add(self, scanned: Scanned) -> list[Kept]:
        """Take the next seeds in, up to the one that fills the last quota; the faces of them that are kept."""
        fresh: list[Kept] = []
        for seed in range(scanned.start, scanned.stop):
            if not self.open():
                break
            self.seen, asked = seed + 1, self.asked(seed)
            if asked is not None:
                if not self._missing[asked]:
                    continue
                self.drawn[asked] = self.drawn.get(asked, 0) + 1
            label, sure = scanned.labels[seed]
            if label is None or asked not in (None, label):
                continue
            counts = self.hits if self.steered(seed) else self.counts
            counts[label] = counts.get(label, 0) + 1
            if self._missing.get(label):
                self._missing[label] -= 1
                fresh.append(Kept(seed, label, sure, *scanned.second[seed]))
        self.kept += fresh
        return fresh

    def to_json(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "drawn": self.drawn,
            "counts": self.counts,
            **({"hits": self.hits} if self.steering else {}),
            "kept": [[*one[:2], _text(one.confidence), one.second, _text(one.second_confidence)] for one in self.kept],
        }

    def manifest(self, edit: str = "") -> bytes:
        """``manifest.csv``: a row a face, with the columns :data:`COLUMNS`; ``edit`` of all but steered ones."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in self.kept:
            sure, second = _text(one.confidence), _text(one.second_confidence)
            moved = self.steering.edit(one.seed) if self.steering else edit
            writer.writerow([face_name(one.seed), one.seed, one.label, one.label, sure, one.second, second, moved])
        return text.getvalue().encode()

    def summary(self, max_seeds: int, family: set[str], second_family: set[str]) -> SelectedRecord:
        """The outcome of the search by judges of these families, for ``run.json``."""
        found = self.found()
        rates, agreement = {}, {}
        alone = self.steering.unmoved(self.seen) if self.steering else self.seen
        for label in self.wanted:
            n, k = self.drawn.get(label, 0) if self.by_class else alone, self.counts.get(label, 0)
            rates[label] = Rate(k, n, *_share(k, n))
            agree = sum(one.second == label for one in self.kept if one.label == label)
            agreement[label] = Agreement(agree, found[label], *_share(agree, found[label]))
        agree = sum(one.second == one.label for one in self.kept)
        return SelectedRecord(
            seeds_seen=self.seen,
            max_seeds=max_seeds,
            by_class=self.by_class,
            filled=not self.open(),
            kept=len(self.kept),
            wanted=dict(self.wanted),
            found=found,
            rates=rates,
            agreement=agreement,
            agreement_of_all=Agreement(agree, len(self.kept), *_share(agree, len(self.kept))),
            judges_are_related=not family.isdisjoint(second_family),
            judge_family=tuple(sorted(family)),
            steered=self._steered() if self.steering else None,
            steered_after=self.steering.after if self.steering else None,
        )

    def _steered(self) -> dict[str, SteeredRate]:
        """By label the seeds moved towards it, how many have it, and what the second judge says of those kept."""
        found = {}
        for label in self.wanted:
            n, k = self.drawn.get(label, 0), self.hits.get(label, 0)
            kept = [one for one in self.kept if one.label == label and self.steered(one.seed)]
            agree = sum(one.second == label for one in kept)
            found[label] = SteeredRate(k, n, *_share(k, n), len(kept), agree)
        return found


def _share(k: int, n: int) -> tuple[float | None, float | None, float | None]:
    """A share with its Wilson interval (95 %); None for each where there is nothing to divide by."""
    if not n:
        return None, None, None
    low, high = wilson_interval(k, n)
    return k / n, float(low), float(high)


def _text(sure: float) -> str:
    """A float32 as its shortest text, as ``labels.csv`` has it."""
    return str(np.float32(sure))


def read_selection(run: RunFolder, record: GenerateRecord) -> Selection:
    """Where an earlier call came to; an empty selection where there is none, or it is damaged or of other settings."""
    empty = Selection.of(record)
    try:
        found = json.loads(read_regular(run.selection))
        if found.pop("sha256") != _digest(found, record):
            return empty
        kept = [
            Kept(int(seed), str(label), float(sure), str(second), float(second_sure))
            for seed, label, sure, second, second_sure in found["kept"]
        ]
        return replace(
            empty,
            seen=int(found["seen"]),
            drawn=dict(found["drawn"]),
            counts=dict(found["counts"]),
            hits=dict(found.get("hits", {})),
            kept=kept,
        )
    except (DataError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return empty


def keep_selection(run: RunFolder, record: GenerateRecord, selection: Selection) -> None:
    """Write where a selection came to. Raises DataError where it cannot be written."""
    state = selection.to_json()
    write_atomically(run.selection, (json.dumps({**state, "sha256": _digest(state, record)}) + "\n").encode())


def _digest(state: Mapping[str, Any], record: GenerateRecord) -> str:
    """SHA-256 of a state and of what decides it, so that neither a flipped byte nor other settings pass for it."""
    settings = replace(record, seeds=None, n=0).to_json()
    return hashlib.sha256(json.dumps([settings, state], sort_keys=True).encode()).hexdigest()
