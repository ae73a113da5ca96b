"""The effect of truncation on the expressions: the shares of the labels at each psi of a run that had several.

The same seeds are drawn at every psi, so the columns differ by truncation and not by the luck of the draw. The
intervals are for each psi by itself; they do not use the pairing.
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Floats
from .shares import LabelShares, label_shares
from .table import LabelTable


@dataclass(frozen=True)
class Sweep:
    """Label shares by truncation: `psi` float64 [P], ascending, and as many `shares`, each with its own faces."""

    psi: Floats
    shares: tuple[LabelShares, ...]

    def counts(self) -> list[int]:
        """Faces at each psi."""
        return [shares.n for shares in self.shares]


def sweep_of(table: LabelTable) -> Sweep | None:
    """The sweep in a table of labels, None where all faces have one psi or none is told."""
    if table.psi is None:
        return None
    values = np.unique(table.psi)
    if len(values) < 2:
        return None
    parts = tuple(label_shares(table.codes[table.psi == value], table.classes) for value in values)
    return Sweep(values, parts)
