"""Shares of expressions to compare with: FER2013's, or those of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ....data.labels import FER2013, canonical_label
from ....runtime.errors import DataError
from ...formatting import listed, printable
from ..arrays import Floats, Ints
from ..correction.confusion import answers_by_class, confusion_matrix, hard_outputs, smoothing_for
from ..correction.prevalence import Validation

FER2013_TRAINING = (3995, 436, 4097, 7215, 4830, 3171, 4965)
"""Faces of each class in FER2013's Training split, in the order of `FER2013` (counted in fer2013.csv)."""


_DRAWS = 9999

NAMED_REFERENCES = ("fer2013", "uniform")


@dataclass(frozen=True)
class Reference:
    """A distribution to compare with: `shares` [K], and where it is itself a sample its `counts` [K].

    Where the shares are an estimate, `error` [B, K] are draws of what it may be wrong by. `warning` says why a
    comparison with it means less than it seems, else it is empty.
    """

    name: str
    shares: Floats
    counts: Ints | None = None
    error: Floats | None = None
    warning: str = ""


def as_labelled(expressions: Reference, validation: Validation, *, seed: int = 0) -> Reference:
    """The labels that a classifier would give to faces with these true expressions (taken as exact).

    Labels are not expressions: faces with exactly the expressions of a reference get other labels, for the classifier
    mistakes some. So labels are compared with `M r`, the confusion matrix times the shares of the reference. The
    validation faces that M comes from are a sample; how far M r may be off is drawn (Dirichlet 1/2 columns).

    Raises:
        ValueError: a class without validation faces.
    """
    counts = answers_by_class(validation.probabilities, validation.labels)
    smoothing = smoothing_for(counts.sum(axis=0))
    matrix = confusion_matrix(hard_outputs(validation.probabilities), validation.labels, smoothing)
    rng = np.random.default_rng(seed)
    columns = np.stack([rng.dirichlet(column + 0.5, _DRAWS) for column in counts.T], axis=2)
    drawn = columns @ expressions.shares
    return Reference(expressions.name, matrix @ expressions.shares, error=drawn - drawn.mean(axis=0))


def reference(name: str, classes: Sequence[str]) -> Reference:
    """A built-in reference: 'fer2013', the label shares of its Training split, or 'uniform'.

    Raises:
        DataError: another name, or 'fer2013' for classes that are not its seven.
    """
    if name == "uniform":
        return Reference("equal shares", np.full(len(classes), 1 / len(classes)))
    if name != "fer2013":
        raise DataError(f"no reference is called {printable(name, 80)!r}; known are {', '.join(NAMED_REFERENCES)}")
    known = dict(zip(FER2013, FER2013_TRAINING, strict=True))
    names = [canonical_label(label) for label in classes]
    if sorted(names) != sorted(known):
        raise DataError(
            f"the reference fer2013 has the labels {', '.join(FER2013)}, these faces have "
            f"{', '.join(map(printable, classes))}; give a CSV with the columns label and share"
        )
    counts = np.array([known[label] for label in names], np.float64)
    return Reference("FER2013 Training", counts / counts.sum())


def reference_from_table(table: pd.DataFrame, classes: Sequence[str], name: str) -> Reference:
    """A reference from a table with a column `label` and a column `share` or `count`, one row a label.

    Shares are taken as exact. Counts are a sample of their own, whose luck counts as well.

    Raises:
        DataError: missing columns, labels that are not exactly the classes, values that are not shares or counts.
    """
    where = printable(name, 120)
    columns = {str(column).strip().lower(): column for column in table.columns}
    kind = "count" if "count" in columns else "share"
    if "label" not in columns or kind not in columns:
        raise DataError(f"{where}: needs a column 'label' and a column 'share' or 'count'")
    labels = [canonical_label(str(label)) for label in table[columns["label"]]]
    wanted = [canonical_label(label) for label in classes]
    if sorted(labels) != sorted(wanted):
        odd = [label for label in labels if label not in wanted]
        lacking = [label for label in wanted if label not in labels]
        what = (
            f"has no row for {listed(lacking)} (write 0 if that is meant)"
            if lacking
            else f"names labels that these faces do not have: {listed([printable(label, 40) for label in odd[:5]])}"
            if odd
            else "names a label twice"
        )
        raise DataError(f"{where}: {what}; it needs one row for each of {', '.join(map(printable, classes))}")
    values = pd.to_numeric(table[columns[kind]], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    values = values[[labels.index(label) for label in wanted]]
    if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise DataError(f"{where}: its column '{kind}' must hold numbers from 0 on that are not all zero")
    if kind == "count":
        if (values != np.round(values)).any():
            raise DataError(f"{where}: its column 'count' must hold whole numbers; call it 'share' if it is one")
        return Reference(name, values / values.sum(), values.astype(np.int64))
    if abs(values.sum() - 1) > 0.01:
        raise DataError(f"{where}: its shares sum to {values.sum():.4g}, not to 1; write fractions, not per cent")
    return Reference(name, values / values.sum())
