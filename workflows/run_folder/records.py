"""The settings of the steps as ``run.json`` keeps them: one typed record a step, written and read here alone.

Keys that say nothing of a run are left out, so that a folder of format 1 gives the same record when it is read again.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from ...data.faces import CROPS, SIZE, Preparation
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from .faces import STEPS, FacePlan, Steering
from .seeds import seed_sequence

_KEYS = {"class_index": "class"}
_ALWAYS = ("class_index",)
"""Names in ``run.json`` that are not the attribute's, and attributes that are written even where they are None."""


class Record:
    """The base of the records: JSON values in and out."""

    step: ClassVar[str]
    other: Mapping[str, Any]

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read a record.

        Raises:
            DataError: a value is of the wrong type; the message names the key.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"the settings of {cls.step!r} are not a table")
        hints = typing.get_type_hints(cls)
        rest = dict(values)
        given: dict[str, Any] = {}
        for name in _names(cls):
            key = _KEYS.get(name, name)
            if key not in rest:
                continue
            value = rest.pop(key)
            value = tuple(value) if isinstance(value, list) else value
            if not _fits(value, hints[name]):
                raise DataError(f"the setting {printable(key)} of {cls.step!r} is damaged")
            given[name] = value
        return cls(**given, other=rest)  # type: ignore[call-arg]

    def to_json(self) -> dict[str, Any]:
        """The record as ``run.json`` keeps it."""
        found: dict[str, Any] = {}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.name == "other":
                found.update(value)
            elif value is not None or item.name in _ALWAYS:
                found[_KEYS.get(item.name, item.name)] = list(value) if isinstance(value, tuple) else value
        return found

    def differences(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Keys whose values differ, each with the value here and the one of ``other``."""
        # through JSON, which turns tuples into lists
        mine, theirs = (json.loads(json.dumps(record.to_json())) for record in (self, other))
        return {key: (mine.get(key), theirs.get(key)) for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)}


def refuse_other(what: str, differing: Iterable[str]) -> None:
    """Refuse, by a DataError, to work for a run with another ``what``, where settings differ."""
    if differing := list(differing):
        raise DataError(
            f"a worker has another {what} than the run ({', '.join(differing)}); install the same fergan everywhere "
            "and give files by a path that all machines share"
        )


def _names(kind: type) -> list[str]:
    return [item.name for item in fields(kind) if item.name != "other"]


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is of a type such as ``int | None`` or ``tuple[str, ...] | None``."""
    for option in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        if typing.get_origin(option) is tuple:
            inner = typing.get_args(option)[0]
            if isinstance(value, tuple) and value and all(_fits(item, inner) for item in value):
                return True
            continue
        kind = (int, float) if option is float else typing.get_origin(option) or option
        if isinstance(value, kind) and not isinstance(value, bool):
            return True
    return False


@dataclass(frozen=True)
class GenerateRecord(Record):
    """Everything that decides the pictures of a run.

    Attributes:
        network, sha256: name and checksum of the generator's file.
        seeds: as :func:`~.seeds.format_seeds` writes them; None where styles were projected.
        projected_w, projected_w_sha256: the file of projected styles, in place of seeds.
        n: pictures.
        truncation_psi: of all faces; None with ``psi_sweep`` or projected styles.
        psi_sweep: the psi at which each seed was drawn.
        truncation_cutoff: styles that are truncated; None for all.
        noise_mode, class_index: as they were asked for.
        classes: in place of ``class_index``; seed ``s`` is drawn in class ``classes[s % len(classes)]``.
        edits, edits_sha256: the directions by which every face was moved, as ``happy.npz:2``, and their files.
        edit_sweep: the strengths by which each seed was moved along the one direction, whose edit then has none.
        edit_toward: the label that this direction leads to.
        steer, steer_sha256: for each label of ``want`` the direction that moves faces towards it, and its file; empty
            where there is none. None where nothing is steered.
        steer_after, steer_strengths: seeds from ``steer_after`` on are moved, by these strengths in turn.
        resolution, channels: of the pictures.
        licence: of the generator.
        want: ``happy=50,neutral=50`` where faces were drawn until so many of each label were found; ``seeds`` are then
            those that were kept, None and ``n`` 0 until a search has ended.
        judge, judge_sha256, judge_crop, judge_no_face: the classifier that chose them, and how it saw them.
        judge_view: of a network of others its size, colours, input range and labels, as JSON.
        min_confidence: the least with which it had to be sure.
        second_judge, second_judge_sha256: the classifier that had no say in the choice.
        other: keys that this fergan does not know.
    """

    step: ClassVar[str] = "generate"

    network: str | None = None
    sha256: str | None = None
    projected_w: str | None = None
    projected_w_sha256: str | None = None
    seeds: str | None = None
    n: int = 0
    psi_sweep: tuple[float, ...] | None = None
    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    noise_mode: str = "const"
    class_index: int | None = None
    classes: tuple[int, ...] | None = None
    edits: tuple[str, ...] | None = None
    edits_sha256: tuple[str, ...] | None = None
    edit_sweep: tuple[float, ...] | None = None
    edit_toward: str | None = None
    steer: tuple[str, ...] | None = None
    steer_sha256: tuple[str, ...] | None = None
    steer_after: int | None = None
    steer_strengths: tuple[float, ...] | None = None
    resolution: int | None = None
    channels: int | None = None
    licence: str | None = None
    want: str | None = None
    judge: str | None = None
    judge_sha256: str | None = None
    judge_crop: str | None = None
    judge_no_face: str | None = None
    judge_view: str | None = None
    min_confidence: float | None = None
    second_judge: str | None = None
    second_judge_sha256: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    def faces(self) -> FacePlan:
        """All faces of the run, in the order in which they are drawn and labelled.

        Raises:
            DataError: the record names neither seeds nor projected styles, or the wanted faces are not found yet.

        >>> [face.name for face in GenerateRecord(seeds="0-1", psi_sweep=(0.5, 1.0)).faces()]
        ['seed0000_psi0.50.png', 'seed0001_psi0.50.png', 'seed0000_psi1.00.png', 'seed0001_psi1.00.png']
        """
        if self.projected_w:
            return FacePlan((), projected=self.n)
        if self.want and not self.seeds:
            raise DataError(f"the wanted faces ({self.want}) are not all found yet; give the same command again")
        try:
            return FacePlan(
                seed_sequence(self.seeds or ""),
                self.psi_sweep or (None,),
                classes=self.classes or (),
                strengths=self.edit_sweep or (None,),
            )
        except UsageError as error:
            raise DataError("the setting seeds of 'generate' is damaged") from error

    def steering(self) -> Steering | None:
        """How the faces of a search are moved; None where they are not."""
        if self.steer is None or self.steer_after is None or not self.want:
            return None
        labels = tuple(part.rpartition("=")[0] for part in self.want.split(","))
        if len(labels) != len(self.steer):
            raise DataError("the setting steer of 'generate' is damaged")
        return Steering(self.steer_after, labels, self.steer, self.steer_strengths or STEPS)

    def grows_from(self, before: GenerateRecord) -> bool:
        """Whether this is the run ``before`` with more seeds after its own: its faces and labels then stay."""
        if self.psi_sweep or self.edit_sweep or self.n <= before.n:
            return False
        if self.seeds is None or (before.seeds is None and not before.want):
            return False
        if replace(self, seeds=before.seeds, n=before.n).differences(before):
            return False
        return not before.seeds or list(self.faces()[: before.n]) == list(before.faces())


@dataclass(frozen=True)
class ClassifyRecord(Record):
    """Everything that decides the labels of a run.

    Attributes:
        model, sha256: name and checksum of the classifier's file.
        labels: its classes, in order.
        crop: which part of a picture is judged.
        other: what else the preparation of the faces records of itself.
        input_range, outputs, licence: of the classifier, where they are not the usual ones.
        no_face: what becomes of a picture in which ``detect`` finds no face: ``whole`` or ``skip``; else None.
        columns: names of all its outputs, where some are not labels.
        name: of the judge in the run, where that is not the model's.
        images, n, pictures_sha256: the foreign pictures that were judged in place of the run's own faces.
    """

    step: ClassVar[str] = "classify"

    model: str | None = None
    sha256: str | None = None
    labels: tuple[str, ...] | None = None
    crop: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    input_range: tuple[float | list[float], ...] | None = None
    outputs: str | None = None
    columns: tuple[str, ...] | None = None
    licence: str | None = None
    no_face: str | None = None
    name: str | None = None
    images: str | None = None
    n: int | None = None
    pictures_sha256: str | None = None

    def preparation(self) -> Preparation | None:
        """How the faces were prepared; None where the record does not tell it."""
        if self.crop not in CROPS:
            return None
        size = self.other.get("size", SIZE)
        both = [size, size] if isinstance(size, int) else size
        if not isinstance(both, list) or len(both) != 2 or not all(type(n) is int and 0 < n < 2**14 for n in both):
            return None
        return Preparation(self.crop, (both[0], both[1]), "rgb" if self.other.get("colour") == "rgb" else "gray")

    def span(self) -> str:
        """The classifier's input range as people write it: ``-1,1``, or ``0,255`` where nothing else is recorded."""
        if not self.input_range:
            return "0,255"
        return ",".join(f"{x:g}" if isinstance(x, (int, float)) else str(x) for x in self.input_range)

    def judged_by(self) -> tuple[object, ...]:
        """The settings that must be equal for the labels of two runs to be comparable."""
        return self.sha256, self.crop, self.no_face, dict(self.other), self.input_range, self.labels
