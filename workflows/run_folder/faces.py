"""Which pictures a run consists of: told by its settings alone, so that every step finds the same ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from ...runtime.errors import DataError
from ...runtime.files import printable
from .seeds import face_name

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


@dataclass(frozen=True)
class Face:
    """One picture of a run.

    Attributes:
        name: of its file.
        seed: that it is made of; None for a projected style.
        row: of the file of projected styles; None for a seed.
        psi: its truncation, where the run has several.
        strength: by which a direction moves it, where the run has several.
        class_index: its class, where the run has several.
    """

    name: str
    seed: int | None = None
    row: int | None = None
    psi: float | None = None
    class_index: int | None = None
    strength: float | None = None


class FacePlan(Sequence[Face]):
    """All faces of a run in order, each made when it is asked for, so that a plan of millions takes no memory."""

    def __init__(
        self,
        seeds: Sequence[int],
        psis: Sequence[float | None] = (None,),
        projected: int = 0,
        classes: Sequence[int] = (),
        strengths: Sequence[float | None] = (None,),
    ) -> None:
        """``seeds`` once for each of ``psis`` and ``strengths``, of the ``classes`` in turn; or so many ``projected``
        styles."""
        self._seeds, self._projected, self._classes = seeds, projected, classes
        self._turns = [(psi, strength) for psi in psis for strength in strengths]

    def __len__(self) -> int:
        return self._projected or len(self._seeds) * len(self._turns)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> list[Face]: ...
    def __getitem__(self, index: int | slice) -> Face | list[Face]:
        if isinstance(index, slice):
            return [self._face(i) for i in range(*index.indices(len(self)))]
        return self._face(range(len(self))[index])

    def place(self, name: str) -> int:
        """The index of the face with a file name. Raises a DataError if there is none."""
        match = re.match(r"seed(\d+)", name)
        found = []
        if match and not self._projected:
            seed = int(match[1])
            at = self._seeds.index(seed) if seed in self._seeds else len(self)
            found = [turn * len(self._seeds) + at for turn in range(len(self._turns))]
        elif self._projected and re.fullmatch(r"proj\d+\.png", name):
            found = [int(name[4:-4])]
        for index in found:
            if index < len(self) and self[index].name == name:
                return index
        raise DataError(f"{printable(name)}: is not a face of this run")

    def _face(self, index: int) -> Face:
        if self._projected:
            return Face(f"proj{index:02d}.png", row=index)
        turn, place = divmod(index, len(self._seeds))
        seed, (psi, strength) = self._seeds[place], self._turns[turn]
        name = face_name(seed) if psi is None else sweep_name(seed, psi)
        if strength is not None:
            name = sweep_name(seed, strength, "edit")
        return Face(name, seed, psi=psi, class_index=class_of_seed(seed, self._classes), strength=strength)


def class_of_seed(seed: int, classes: Sequence[int]) -> int | None:
    """Which of several classes a seed is drawn in; None where there are none."""
    return classes[seed % len(classes)] if classes else None


def sweep_name(seed: int, value: float, what: str = "psi") -> str:
    """``seed0042_psi0.70.png`` or ``seed0042_edit1.50.png``, with more digits where two do not tell all of it."""
    short = f"{value:.2f}"
    return face_name(seed).replace(".png", f"_{what}{short if float(short) == value else value}.png")
