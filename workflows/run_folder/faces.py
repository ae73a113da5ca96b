"""Which pictures a run consists of: told by its settings alone, so that every step finds the same ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from ...data.run_record.settings import GenerateRecord, class_of_seed
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from .seeds import face_name, seed_sequence


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

    @classmethod
    def of(cls, made: GenerateRecord) -> FacePlan:
        """All faces of a run, in the order in which they are drawn and labelled.

        Raises:
            DataError: the record names neither seeds nor projected styles, or the wanted faces are not found yet.

        >>> [face.name for face in FacePlan.of(GenerateRecord(seeds="0-1", psi_sweep=(0.5, 1.0)))]
        ['seed0000_psi0.50.png', 'seed0001_psi0.50.png', 'seed0000_psi1.00.png', 'seed0001_psi1.00.png']
        """
        if made.projected_w:
            return cls((), projected=made.n)
        if made.want and not made.seeds:
            raise DataError(f"the wanted faces ({made.want}) are not all found yet; give the same command again")
        try:
            seeds = seed_sequence(made.seeds or "")
        except UsageError as error:
            raise DataError("the setting seeds of 'generate' is damaged") from error
        return cls(seeds, made.psi_sweep or (None,), classes=made.classes or (), strengths=made.edit_sweep or (None,))

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


def grows_from(record: GenerateRecord, before: GenerateRecord) -> bool:
    """Whether a run is the run ``before`` with more seeds after its own: its faces and labels then stay."""
    if record.psi_sweep or record.edit_sweep or record.n <= before.n:
        return False
    if record.seeds is None or (before.seeds is None and not before.want):
        return False
    if replace(record, seeds=before.seeds, n=before.n).differences(before):
        return False
    return not before.seeds or list(FacePlan.of(record)[: before.n]) == list(FacePlan.of(before))


def sweep_name(seed: int, value: float, what: str = "psi") -> str:
    """``seed0042_psi0.70.png`` or ``seed0042_edit1.50.png``, with more digits where two do not tell all of it."""
    short = f"{value:.2f}"
    return face_name(seed).replace(".png", f"_{what}{short if float(short) == value else value}.png")
