"""The data of the page's gallery: facts on each face, and the command that makes the face again."""

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.run_record.run import RunRecord
from ...data.run_record.settings import GenerateRecord, class_of_seed
from ..edited import strengths_of
from ..formatting import printable
from ..settings import plain
from ..statistics.table import LabelTable
from .sprites import Cell, Sprites

SCALE = 10_000
"""Probabilities are whole numbers out of this in the gallery's data."""


def gallery_data(
    table: LabelTable, rows: Sequence[int], sprites: Sprites, inputs: Sprites, record: RunRecord
) -> dict[str, Any]:
    """The faces as plain JSON values for the script of the page, one list a property.

    Returns:
        `classes`, `scale`, `settings` (pairs of texts that hold for all faces) and, for each face, `name`, `seed`,
        `psi`, `label` (a class number), `p` (a list of K whole numbers out of `scale`), `cell` and `input` (style
        classes or None) and `command` (or None).
    """
    seeds = None if table.seeds is None else [int(table.seeds[row]) for row in rows]
    psi = None if table.psi is None else [float(table.psi[row]) for row in rows]
    strengths = strengths_of(record.generate, table)
    commands = [
        None
        if seeds is None
        else command(
            record.generate,
            seeds[i],
            None if psi is None else psi[i],
            None if strengths is None else float(strengths[rows[i]]),
        )
        for i in range(len(rows))
    ]
    return {
        "classes": [printable(name, 60) for name in table.classes],
        "scale": SCALE,
        "settings": _common(record),
        "name": [printable(table.faces[row], 200) for row in rows],
        "seed": seeds,
        "psi": psi,
        "label": [int(table.codes[row]) for row in rows],
        "p": np.rint(table.probabilities[rows] * SCALE).astype(int).tolist(),
        "cell": [_css(sprites.cells.get(table.faces[row])) for row in rows],
        "input": [_css(inputs.cells.get(table.faces[row])) for row in rows],
        "command": commands,
    }


def command(
    made: GenerateRecord | None, seed: int, psi: float | None = None, strength: float | None = None
) -> str | None:
    """The `fergan generate` command that makes one face again, quoted for a POSIX shell.

    Args:
        made: the settings of the run that decide the pixels.
        seed: of the face.
        psi: its truncation, in a run over several.
        strength: of its edit, in a run over several.

    Returns:
        None where the run made no faces, or made them from projected styles.

    >>> command(GenerateRecord(network="dcgan", truncation_psi=0.7), 42)
    'fergan generate --seeds 42 --network dcgan --psi 0.7 --noise-mode const --run seed42'
    """
    if made is None or made.projected_w:
        return None
    parts: list[object] = ["fergan", "generate", "--seeds", seed]
    for option, value in (
        ("--network", made.network),
        ("--psi", made.truncation_psi if psi is None else psi),
        ("--psi-cutoff", made.truncation_cutoff),
        ("--noise-mode", made.noise_mode),
        ("--class", class_of_seed(seed, made.classes) if made.classes else made.class_index),
    ):
        if value is not None:
            parts += [option, value]
    for edit in _edits(made, seed, strength):
        parts += ["--edit", edit]
    parts += ["--run", f"seed{seed}"]
    return " ".join(shlex.quote(printable(plain(part), 300)) for part in parts)


def _edits(made: GenerateRecord, seed: int, strength: float | None) -> Sequence[str]:
    """The edits of a face: those of all, one of several strengths, or the direction by which its seed is steered."""
    if steering := made.steering():
        return [edit] if (edit := steering.edit(seed)) else []
    edits = made.edits or ()
    return edits if strength is None else [f"{edit}:{strength:g}" for edit in edits]


def _common(record: RunRecord) -> list[list[str]]:
    pairs: list[tuple[str, object]] = []
    if made := record.generate:
        pairs += [
            ("Generator", made.network),
            ("Generator SHA-256", made.sha256),
            ("Truncation ψ", made.truncation_psi),
            ("Truncated styles", made.truncation_cutoff),
            ("Noise", made.noise_mode),
            ("Class", made.class_index),
        ]
    if judged := record.classify:
        pairs += [("Classifier", judged.model), ("Crop", judged.crop)]
    return [[name, printable(plain(value), 80)] for name, value in pairs if value is not None]


def _css(cell: Cell | None) -> str | None:
    return None if cell is None else cell.css
