"""The pairs of a blind comparison of two generators, as one HTML file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ...reports.pages.blind import build_blind_page
from ...runtime.errors import UsageError
from ...runtime.files import utf8_text, write_atomically
from ...stylegan.generator import default_psi, load_generator

PAIRS = 40


def write_blind_page(
    path: str | Path, networks: tuple[str, str], psi: float | None, class_index: str | None, seed: int, device: str
) -> None:
    """Draw 40 faces of each generator, seeds ``seed`` and up, and pair them; the seed decides order and sides.

    Raises:
        UsageError: the two are the same file, or a generator does not draw the class.
        DataError: a checkpoint cannot be used, or the page cannot be written.
    """
    generators = [load_generator(network, device=device) for network in networks]
    if generators[0].sha256 == generators[1].sha256:
        raise UsageError(f"--blind {networks[0]} {networks[1]}: both are the same generator; name two")
    names = (generators[0].name, generators[1].name)
    if names[0] == names[1]:  # both a training's generator.safetensors, say
        names = networks
    rng = np.random.default_rng(seed)
    seeds = [seed + int(place) for place in rng.permutation(PAIRS)]
    first, second = (
        [face.squeeze() for face in generator.generate(seeds, default_psi(generator, psi), class_index=class_index)]
        for generator in generators
    )
    left = [bool(side) for side in rng.permutation(np.arange(PAIRS) % 2 == 0)]
    said = f"{generators[0].sha256} {generators[1].sha256} {psi} {class_index} {seed}"
    page = build_blind_page(
        names=names,
        digest=hashlib.sha256(said.encode()).hexdigest()[:16],
        pairs=list(zip(first, second, strict=True)),
        first_is_left=left,
    )
    write_atomically(Path(path), utf8_text(page).encode())
