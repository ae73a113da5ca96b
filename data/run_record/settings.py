"""The settings of the steps as ``run.json`` keeps them.

Keys that say nothing of a run are left out, so that a folder of format 1 gives the same record when it is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...runtime.errors import DataError
from ..faces import CROPS, SIZE, Preparation
from .record import Record

STEPS = (1.0, 2.0, 3.0)
"""Strengths by which steered faces are moved, in turn."""


@dataclass(frozen=True)
class Steering:
    """Which faces of a search are moved, and by what: told by the seed alone.

    Attributes:
        after: seeds from here on are moved.
        labels: that they are moved towards, in turn.
        edits: the name of the direction towards each label; empty where there is none, and
            its turns are drawn as they are, for any label.
        strengths: by which they are moved, in turn.
    """

    after: int
    labels: tuple[str, ...]
    edits: tuple[str, ...]
    strengths: tuple[float, ...] = STEPS

    def of(self, seed: int) -> tuple[int, float] | None:
        """The number of the label that a seed is moved towards, and the strength; None if it is drawn as it is."""
        if seed < self.after:
            return None
        turn, number = divmod(seed - self.after, len(self.labels))
        return (number, self.strengths[turn % len(self.strengths)]) if self.edits[number] else None

    def unmoved(self, seeds: int) -> int:
        """How many of the first ``seeds`` seeds are drawn as they are."""
        turns, rest = divmod(max(0, seeds - self.after), len(self.labels))
        return min(seeds, self.after) + turns * self.edits.count("") + self.edits[:rest].count("")

    def edit(self, seed: int) -> str:
        """Direction and strength that move a seed, as the manifest says them: ``happy.npz:2``, or nothing."""
        moved = self.of(seed)
        return f"{self.edits[moved[0]]}:{moved[1]:g}" if moved else ""


def class_of_seed(seed: int, classes: Sequence[int]) -> int | None:
    """Which of several classes a seed is drawn in; None where there are none."""
    return classes[seed % len(classes)] if classes else None


def parse_quotas(text: str) -> dict[str, int]:
    """``happy=50,neutral=50`` as :func:`format_quotas` wrote it.

    Raises:
        DataError: a quota is not a number.
    """
    try:
        return {label: int(n) for label, _, n in (part.rpartition("=") for part in text.split(",") if part)}
    except ValueError as error:
        raise DataError("the setting want of 'generate' is damaged") from error


def format_quotas(quotas: Mapping[str, int]) -> str:
    """The text of quotas for ``run.json``."""
    return ",".join(f"{label}={n}" for label, n in quotas.items())


@dataclass(frozen=True)
class GenerateRecord(Record):
    """Everything that decides the pictures of a run.

    Attributes:
        network, sha256: name and checksum of the generator's file.
        seeds: such as ``0-2,7``; None where styles were projected.
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

    entry: ClassVar[str] = "generate"
    keys: ClassVar[Mapping[str, str]] = {"class_index": "class"}
    always: ClassVar[tuple[str, ...]] = ("class_index",)

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

    def steering(self) -> Steering | None:
        """How the faces of a search are moved; None where they are not."""
        if self.steer is None or self.steer_after is None or not self.want:
            return None
        labels = tuple(parse_quotas(self.want))
        if len(labels) != len(self.steer):
            raise DataError("the setting steer of 'generate' is damaged")
        return Steering(self.steer_after, labels, self.steer, self.steer_strengths or STEPS)


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

    entry: ClassVar[str] = "classify"

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

    @property
    def size(self) -> Any:
        """The side of a prepared face, or height and width; None where the record does not tell it."""
        return self.other.get("size")

    @property
    def filter(self) -> str | None:
        """How faces were made smaller."""
        found = self.other.get("filter")
        return None if found is None else str(found)

    def preparation(self) -> Preparation | None:
        """How the faces were prepared; None where the record does not tell it."""
        if self.crop not in CROPS:
            return None
        size = SIZE if self.size is None else self.size
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
