"""``run.json`` as a whole, and those of its entries that are no settings: the one place that reads and writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ...runtime.claims import shortened
from ...runtime.errors import DataError
from ...runtime.files import printable, read_json, write_atomically
from ...runtime.version import __version__
from .record import Record, as_json
from .settings import ClassifyRecord, GenerateRecord

FORMAT = 1


@dataclass(frozen=True)
class LabelsRecord(Record):
    """The labels of a judge.

    Attributes:
        n, skipped: faces with a label and without.
        parts: files that hold them.
        sha256: of all labels, however they are cut into parts.
        faces_not_found: pictures in which a detector found no face; None where none looked.
        counts: label -> how many faces have it, the most frequent first.
    """

    n: int = 0
    skipped: int = 0
    parts: int = 0
    sha256: str | None = None
    faces_not_found: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Share(Record):
    """``k`` of ``n`` as a share with its Wilson interval (95 %); None for each where there is nothing to divide by."""

    k: int
    n: int
    share: float | None
    low: float | None
    high: float | None

    @property
    def limits(self) -> tuple[float, float, float] | None:
        """The share, and the ends of its interval."""
        if self.share is None or self.low is None or self.high is None:
            return None
        return self.share, self.low, self.high


@dataclass(frozen=True)
class Rate(Share):
    """Seeds that have a label, of those drawn."""

    keys: ClassVar[Mapping[str, str]] = {"k": "seen"}


@dataclass(frozen=True)
class Agreement(Share):
    """Kept faces to which the second judge gives the same label."""

    keys: ClassVar[Mapping[str, str]] = {"k": "agree"}


@dataclass(frozen=True)
class SteeredRate(Rate):
    """Seeds that have the label towards which they were moved; how many of them were kept, and on how many of those
    the second judge agrees."""

    kept: int
    agree: int


@dataclass(frozen=True)
class SelectedRecord(Record):
    """The outcome of a search for wanted faces.

    Attributes:
        seeds_seen, max_seeds: seeds that were judged or passed over, and how many were to be.
        by_class: whether each face was drawn in the class of its label; rates are then those of the class.
        filled: whether everything was found.
        kept: faces.
        wanted, found: label -> how many faces.
        rates: label -> how many of the seeds that were drawn as they are have it.
        agreement, agreement_of_all: what the second judge says of the faces kept, by label and of all.
        judges_are_related: whether the judges have a member or a teacher in common, or one is that of the other.
        judge_family: checksums of the judge that chose, its members and its teacher.
        steered, steered_after: label -> seeds moved towards it, and the seed from which on they were moved.
    """

    seeds_seen: int
    max_seeds: int
    by_class: bool
    filled: bool
    kept: int
    wanted: Mapping[str, int]
    found: Mapping[str, int]
    rates: Mapping[str, Rate]
    agreement: Mapping[str, Agreement]
    agreement_of_all: Agreement
    judges_are_related: bool
    steered: Mapping[str, SteeredRate] | None = None
    steered_after: int | None = None
    judge_family: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.wanted or any(set(self.wanted) - set(known) for known in (self.found, self.rates, self.agreement)):
            raise DataError("the search does not say of each label what it found")


@dataclass(frozen=True)
class EditedStrength(Record):
    """How far faces went at a strength, as a share of the distance of two of them, and the precision of the pictures;
    None where they were too few."""

    strength: float
    moved: float | None
    precision: float | None


@dataclass(frozen=True)
class EditedRecord(Record):
    """Measurements on the pictures of a sweep over strengths: in which features, of so many seeds."""

    features: str
    seeds: int
    strengths: tuple[EditedStrength, ...]


@dataclass(frozen=True)
class JudgeRecord(Record):
    """The entries of a judge: its settings, its labels, and why it has no whole table of them."""

    classify: ClassifyRecord | None = None
    labels: LabelsRecord | None = None
    failed: str | None = None


@dataclass(frozen=True)
class RunRecord(JudgeRecord):
    """All entries of a run; those that do not fit are None, since anybody may have put anything there.

    Attributes:
        classify, labels, failed: of the first judge; ``judges``: of each further one.
        run: name of the run.
        images: which pictures are kept, as ``--pictures`` names them; None where all are.
        storage: where else the run is kept.
        values: all that ``run.json`` holds, in its order.
    """

    run: str | None = None
    generate: GenerateRecord | None = None
    judges: Mapping[str, JudgeRecord] | None = None
    images: str | None = None
    storage: str | None = None
    selected: SelectedRecord | None = None
    edited: EditedRecord | None = None
    timings: Mapping[str, float] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunRecord:
        """The record of what ``run.json`` holds."""
        return replace(cls.from_json(values, lenient=True), values=values)

    def of_judge(self, name: str) -> RunRecord:
        """The record with the entries of a further judge in place of the first one's."""
        shared = {key: value for key, value in self.values.items() if key not in (*JUDGE_ENTRIES, "judges")}
        return self.of({**shared, **self.values.get("judges", {}).get(name, {})})

    def changed(self, judge: str | None = None, **entries: Any) -> RunRecord:
        """The record with other entries, of a further ``judge`` or of the run; those that are None are dropped."""
        values = json.loads(json.dumps(as_json(entries)))
        if judge is not None:
            judges = self.values.get("judges", {})
            values = {"judges": {**judges, judge: _but_none({**judges.get(judge, {}), **values})}}
        return self.of(_but_none({**self.values, **values}))


JUDGE_ENTRIES = tuple(item.name for item in fields(JudgeRecord))
"""Names of the entries that each judge has."""


def _but_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def read_run(path: Path, damaged: str, outdated: str) -> RunRecord | None:
    """The ``run.json`` at a path, also of earlier versions; None where there is none.

    Args:
        path: of the file.
        damaged, outdated: what to do where it cannot be read, and where a later fergan wrote it; errors end with it.

    Raises:
        DataError: it is damaged, or of another format.
    """
    values = read_json(path, damaged)
    if values is None and not path.exists():
        return None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{printable(path)}: has the run-folder format {shortened(found)}, this fergan ({__version__}) writes "
            f"format {FORMAT}; {outdated}"
        )
    judged, judges = values.get("classify"), values.get("judges", {})
    if not isinstance(judges, dict) or not all(isinstance(entry, dict) for entry in judges.values()):
        raise DataError(f"{printable(path)}: the judges in it are damaged")
    if isinstance(judged, dict):  # earlier runs do not tell it; only the crop detect has changed since
        judged.setdefault("preparation_version", 1 if judged.get("crop") == "detect" else 2)
        if judged.get("crop") == "detect":
            judged.setdefault("no_face", "whole")
    return RunRecord.of(values)


def write_run(path: Path, record: RunRecord) -> None:
    """Write ``run.json``, whole or not at all. Raises DataError where it cannot be written."""
    write_atomically(path, (json.dumps(record.values, indent=2) + "\n").encode())
