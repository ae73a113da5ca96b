"""The data of the page's gallery: facts on each face, and the command that makes the face again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..edited import strengths_of
from ..formatting import printable
from ..settings import plain, step_settings
from ..statistics.table import LabelTable
from .sprites import Cell, Sprites

SCALE = 10_000
"""Probabilities are whole numbers out of this in the gallery's data."""


def gallery_data(
    table: LabelTable, rows: Sequence[int], sprites: Sprites, inputs: Sprites, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The faces as plain JSON values for the script of the page, one list a property.

    Returns:
        `classes`, `scale`, `settings` (pairs of texts that hold for all faces) and, for each face, `name`, `seed`,
        `psi`, `label` (a class number), `p` (a list of K whole numbers out of `scale`), `cell` and `input` (style
        classes or None) and `command` (or None).
    """
    seeds = None if table.seeds is None else [int(table.seeds[row]) for row in rows]
    psi = None if table.psi is None else [float(table.psi[row]) for row in rows]
    strengths = strengths_of(settings, table)
    commands = [
        None
        if seeds is None
        else command(
            settings,
            seeds[i],
            None if psi is None else psi[i],
            None if strengths is None else float(strengths[rows[i]]),
        )
        for i in range(len(rows))
    ]
    return {
        "classes": [printable(name, 60) for name in table.classes],
        "scale": SCALE,
        "settings": _common(settings),
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
    settings: Mapping[str, Any], seed: int, psi: float | None = None, strength: float | None = None
) -> str | None:
    """The `fergan generate` command that makes one face again, quoted for a POSIX shell.

    Args:
        settings: of the run; those of the step `generate` decide the pixels.
        seed: of the face.
        psi: its truncation, in a run over several.
        strength: of its edit, in a run over several.

    Returns:
        None where the run made no faces, or made them from projected styles.

    >>> command({"generate": {"network": "dcgan", "truncation_psi": 0.7, "noise_mode": "const"}}, 42)
    'fergan generate --seeds 42 --network dcgan --psi 0.7 --noise-mode const --run seed42'
    """
    generate = step_settings(settings, "generate")
    if not generate or generate.get("projected_w"):
        return None
    parts: list[object] = ["fergan", "generate", "--seeds", seed]
    for option, value in (
        ("--network", generate.get("network")),
        ("--psi", generate.get("truncation_psi") if psi is None else psi),
        ("--psi-cutoff", generate.get("truncation_cutoff")),
        ("--noise-mode", generate.get("noise_mode")),
        ("--class", _class(generate, seed)),
    ):
        if value is not None:
            parts += [option, value]
    for edit in _edits(generate, seed, strength):
        parts += ["--edit", edit]
    parts += ["--run", f"seed{seed}"]
    return " ".join(shlex.quote(printable(plain(part), 300)) for part in parts)


def _edits(generate: Mapping[str, Any], seed: int, strength: float | None) -> list[object]:
    """The edits of a face: those of all, one of several strengths, or the direction by which its seed is steered."""
    steer, after, steps = (generate.get(f"steer{key}") for key in ("", "_after", "_strengths"))
    if isinstance(steer, list) and isinstance(after, int) and isinstance(steps, list) and steer and steps:
        turn, number = divmod(seed - after, len(steer))
        return [f"{steer[number]}:{steps[turn % len(steps)]:g}"] if seed >= after and steer[number] else []
    edits = generate.get("edits")
    found = list(edits) if isinstance(edits, list | tuple) else []
    return found if strength is None else [f"{edit}:{strength:g}" for edit in found]


def _class(generate: Mapping[str, Any], seed: int) -> object:
    """The class of a face: of the run, or one of several that its seeds take in turn."""
    classes = generate.get("classes")
    return classes[seed % len(classes)] if isinstance(classes, list) and classes else generate.get("class")


def _common(settings: Mapping[str, Any]) -> list[list[str]]:
    generate, classify = step_settings(settings, "generate"), step_settings(settings, "classify")
    several = "psi_sweep" in generate
    pairs = [
        ("Generator", generate.get("network")),
        ("Generator SHA-256", generate.get("sha256")),
        ("Truncation ψ", None if several else generate.get("truncation_psi")),
        ("Truncated styles", generate.get("truncation_cutoff")),
        ("Noise", generate.get("noise_mode")),
        ("Class", generate.get("class")),
        ("Classifier", classify.get("model")),
        ("Crop", classify.get("crop")),
    ]
    return [[name, printable(plain(value), 80)] for name, value in pairs if value is not None]


def _css(cell: Cell | None) -> str | None:
    return None if cell is None else cell.css
