"""Style mixing: the coarse looks of one face with the fine looks of another (arXiv 1812.04948, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...data.images import write_png
from ...runtime.errors import UsageError
from ...runtime.files import make_folder
from ...stylegan.drawing import Drawing
from ...stylegan.generator import Generator
from ..progress import OnProgress, no_progress

_MAX_PIXELS = 2**28


@dataclass(frozen=True)
class MixOptions(Drawing):
    """Options of a mix.

    Attributes:
        rows: seeds that give the faces, one a row of the grid.
        cols: seeds that give the mixed-in styles, one a column.
        styles: which styles, from 0 (pose, shape of the face) to num_ws - 1 (colours), come from the column: numbers or
            ``all``; None for the first two fifths, which are 0 to 6 of the 18 of 1024 pixels, as in NVIDIA's
            style_mixing.py.
        noise_mode: ``const``, ``random`` (seeded by the row's seed) or ``none``.
    """

    rows: Sequence[int]
    cols: Sequence[int]
    styles: Sequence[int] | str | None = None
    noise_mode: str = "const"


def mix(options: MixOptions, outdir: str | Path, on_progress: OnProgress = no_progress) -> tuple[Path, int]:
    """Write the mixed faces and their grid; its path, and how many faces.

    ``ROW-COL.png`` is the row's face with the column's styles at ``options.styles``; ``SEED-SEED.png`` the face of a
    seed by itself, as NVIDIA's style_mixing.py names them; ``grid.png`` has the columns' faces along the top, the rows'
    down the left side, each with its seed at the edge.

    Raises:
        DataError: the checkpoint cannot be read or a file cannot be written.
        UsageError: the generator has no such style or only one (a DCGAN), or the grid would be too large.
    """
    generator, psi = options.open()
    styles = _styles(options.styles, generator)
    rows, cols = list(dict.fromkeys(options.rows)), list(dict.fromkeys(options.cols))
    edge = generator.img_resolution
    if (len(rows) + 1) * (len(cols) + 1) * edge**2 > _MAX_PIXELS:
        raise UsageError(
            f"a grid of {len(rows)} rows and {len(cols)} columns of {edge} pixels is too large; give fewer"
        )
    folder = make_folder(outdir)

    seeds = list(dict.fromkeys([*rows, *cols]))
    of_seed = dict(zip(seeds, generator.styles(seeds, psi, class_index=options.class_index), strict=True))
    grid = np.zeros(((len(rows) + 1) * edge, (len(cols) + 1) * edge, generator.img_channels), np.uint8)
    pairs = [(seed, seed) for seed in seeds] + [(row, col) for row in rows for col in cols if row != col]
    mixed = (_mixed(of_seed[row], of_seed[col], styles) for row, col in pairs)
    pictures = generator.draw(mixed, options.noise_mode, [row for row, _ in pairs])
    for done, ((row, col), picture) in enumerate(zip(pairs, pictures, strict=True), start=1):
        write_png(folder / f"{row}-{col}.png", picture)
        for y, x in _places(row, col, rows, cols):
            grid[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge] = picture
        on_progress(done, len(pairs))
    write_png(folder / "grid.png", _with_seeds(grid, edge, rows, cols))
    return folder / "grid.png", len(pairs)


def _with_seeds(grid: np.ndarray, edge: int, rows: list[int], cols: list[int]) -> np.ndarray:
    """The grid, uint8 [H, W, C], with a margin at the top and on the left that names the seeds."""
    font = ImageFont.load_default(max(9, edge // 12))
    margin = round(max(font.getlength(str(seed)) for seed in (*rows, *cols))) + 6
    sheet = np.full((len(grid) + margin, grid.shape[1] + margin, grid.shape[2]), 255, np.uint8)
    sheet[margin:, margin:] = grid
    image = Image.fromarray(sheet if sheet.shape[2] == 3 else sheet[:, :, 0])
    draw, ink = ImageDraw.Draw(image), 0
    for place, seed in enumerate(cols, start=1):
        draw.text((margin + round((place + 0.5) * edge), margin - 3), str(seed), ink, font, anchor="ms")
    for place, seed in enumerate(rows, start=1):
        draw.text((margin - 3, margin + round((place + 0.5) * edge)), str(seed), ink, font, anchor="rm")
    return np.asarray(image)


def _mixed(row: np.ndarray, col: np.ndarray, styles: list[int]) -> np.ndarray:
    w = row.copy()
    w[styles] = col[styles]
    return w


def _styles(wanted: Sequence[int] | str | None, generator: Generator) -> list[int]:
    last = generator.num_ws - 1
    if last < 1:
        raise UsageError(f"the generator {generator.name} has one style, so there is nothing to mix; use a StyleGAN2")
    if wanted is None:
        return list(range(round((last + 1) * 7 / 18)))
    styles = list(range(last + 1)) if isinstance(wanted, str) else list(wanted)
    if any(style > last for style in styles):
        raise UsageError(f"--styles: {generator.name} has the styles 0 to {last}, and no {max(styles)}")
    return styles


def _places(row: int, col: int, rows: list[int], cols: list[int]) -> list[tuple[int, int]]:
    """Where in the grid the picture of a pair goes, as (y, x) in pictures."""
    places = [(rows.index(row) + 1, cols.index(col) + 1)] if row in rows and col in cols else []
    if row == col:
        places += [(0, cols.index(col) + 1)] if col in cols else []
        places += [(rows.index(row) + 1, 0)] if row in rows else []
    return places
