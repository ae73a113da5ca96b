"""Which pictures a run consists of: told by its settings alone, so that every step finds the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .seeds import face_name, parse_seeds


@dataclass(frozen=True)
class Face:
    """One picture of a run.

    Attributes:
        name: of its file.
        seed: that it is made of; None for a projected style.
        row: of the file of projected styles; None for a seed.
        psi: its truncation, where the run has several.
    """

    name: str
    seed: int | None = None
    row: int | None = None
    psi: float | None = None


def planned_faces(settings: Mapping[str, Any]) -> list[Face]:
    """All faces of a run, in the order in which they are made and labelled.

    Args:
        settings: those of the step ``generate`` in ``run.json``.

    >>> [face.name for face in planned_faces({"seeds": "0-1", "psi_sweep": [0.5, 1.0]})]
    ['seed0000_psi0.50.png', 'seed0001_psi0.50.png', 'seed0000_psi1.00.png', 'seed0001_psi1.00.png']
    """
    if settings.get("projected_w"):
        return [Face(f"proj{row:02d}.png", row=row) for row in range(settings["n"])]
    seeds = parse_seeds(settings["seeds"])
    if not settings.get("psi_sweep"):
        return [Face(face_name(seed), seed) for seed in seeds]
    return [Face(sweep_name(seed, psi), seed, psi=psi) for psi in settings["psi_sweep"] for seed in seeds]


def sweep_name(seed: int, psi: float) -> str:
    """``seed0042_psi0.70.png``, with more digits where two do not tell all of psi."""
    short = f"{psi:.2f}"
    return face_name(seed).replace(".png", f"_psi{short if float(short) == psi else psi}.png")
