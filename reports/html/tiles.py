"""One face as the templates show it: where its picture lies, what is said of it, what is written below it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..formatting import percent, printable
from ..statistics.table import LabelTable
from .sprites import Cell, Sprites


@dataclass(frozen=True)
class Tile:
    """A face with its texts, which are not escaped yet; `index` is its place in the gallery's data, if it has one."""

    cell: Cell | None
    alt: str
    caption: str
    detail: str = ""
    index: int | None = None


Caption = Callable[[LabelTable, int], tuple[str, str]]


def make_tiles(
    table: LabelTable,
    rows: Sequence[int],
    sprites: Sprites,
    caption: Caption,
    index: Mapping[int, int] | None = None,
) -> list[Tile]:
    """Tiles of some rows of the table; `index` gives, for a row, its place in the gallery's data."""
    tiles = []
    for row in rows:
        name = printable(table.faces[row], 120)
        label = printable(table.classes[table.codes[row]], 60)
        alt = f"{name}: {label}, {percent(table.confidence[row], 0)}"
        place = None if index is None else index.get(row)
        tiles.append(Tile(sprites.cells.get(table.faces[row]), alt, *caption(table, row), place))
    return tiles


def label_only(table: LabelTable, row: int) -> tuple[str, str]:
    return printable(table.classes[table.codes[row]], 24), ""


def confidence_only(table: LabelTable, row: int) -> tuple[str, str]:
    return percent(table.confidence[row], 0), ""


def label_and_confidence(table: LabelTable, row: int) -> tuple[str, str]:
    return f"{printable(table.classes[table.codes[row]], 24)} {percent(table.confidence[row], 1)}", ""


def first_and_second(table: LabelTable, row: int) -> tuple[str, str]:
    """The label and the runner-up, each with its probability."""
    given = table.codes[row]
    rest = table.probabilities[row].copy()
    rest[given] = -1
    other = int(np.argmax(rest))
    first = f"{printable(table.classes[given], 24)} {percent(table.confidence[row], 0)}"
    return first, f"{printable(table.classes[other], 24)} {percent(max(rest[other], 0), 0)}" if len(rest) > 1 else ""
