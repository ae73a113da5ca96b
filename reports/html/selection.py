"""Which faces a page shows: chosen by seed order or by confidence and by nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..statistics.table import LabelTable

SAMPLE = 60
"""Faces in the sample grid of the first screen (ten columns by six rows, or six by ten)."""

SHOW_ALL = 600
"""Up to this many faces each one is shown; beyond, `PER_LABEL` of each label."""

PER_LABEL = 60
EXTREMES = 12


@dataclass(frozen=True)
class Selection:
    """Rows of a table: the first ones, those of each label, the most and the least certain."""

    sample: list[int]
    by_label: list[list[int]]
    most: list[int]
    least: list[int]
    complete: bool
    """every face of the table is among `by_label`"""

    @classmethod
    def of(cls, table: LabelTable, among: ArrayLike | None = None) -> "Selection":
        """Choose from a table, or from its rows `among` alone: those with a picture, where not all were kept."""
        order = table.natural_order()
        if among is not None:
            order = order[np.isin(order, np.asarray(among, np.int64))]
        complete = len(order) == len(table) <= SHOW_ALL
        limit = len(table) if complete else PER_LABEL
        codes = table.codes[order]
        by_label = [order[codes == k][:limit].tolist() for k in range(len(table.classes))]
        # ties go to the natural order, so the page is the same whatever the order of the table
        sure = table.confidence[order]
        most, least = order[_first(-sure)].tolist(), order[_first(sure)].tolist()
        return cls(order[:SAMPLE].tolist(), by_label, most, least, complete)

    def rows(self, table: LabelTable, more: Sequence[int] = ()) -> list[int]:
        """All rows that are shown, and ``more``, each once, in the natural order of the table."""
        chosen = {row for part in (self.sample, *self.by_label, self.most, self.least, more) for row in part}
        if table.seeds is None:
            return sorted(chosen)
        seeds = table.seeds
        return sorted(chosen, key=lambda row: (int(seeds[row]), row))


def _first(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Places of the :data:`EXTREMES` smallest values, ascending, without sorting all of them."""
    if len(values) > EXTREMES:
        near = np.flatnonzero(values <= np.partition(values, EXTREMES - 1)[EXTREMES - 1])
    else:
        near = np.arange(len(values))
    return near[np.argsort(values[near], kind="stable")][:EXTREMES]
