"""labels.csv as checked arrays: whatever is wrong with a table is said here, once, with the face it is wrong at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...runtime.errors import DataError
from ..formatting import count, percent, percent_range, plural, printable
from .shares import label_shares

FACE_FOUND = "face_found"
"""The column that tells, where a detector looked for faces, whether it found one in the picture."""
_SUM_TOLERANCE = 0.02  # probabilities may have been rounded to two digits on their way through a CSV


@dataclass(frozen=True)
class LabelTable:
    """N classified faces, in the order of the table.

    `faces` are file names, `seeds` int64 [N] or None when any face has none, `codes` integers [N] in 0..K-1,
    `confidence` [N] in [0, 1], `probabilities` [N, K] with rows that sum to 1 (within rounding), both float64 or, where
    there are millions, float32; `psi` float64 [N], the truncation of each face, or None where the table does not tell
    it; `face_found` bool [N], whether a detector found a face in the picture, or None where none looked.
    """

    classes: tuple[str, ...]
    faces: Sequence[str]
    seeds: NDArray[np.int64] | None
    codes: NDArray[np.integer]
    confidence: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    psi: NDArray[np.float64] | None = None
    face_found: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.faces)

    def _repr_html_(self) -> str:
        """The labels counted: HTML for a notebook."""
        shares = label_shares(self.codes, self.classes)
        head = "".join(f"<th>{name}</th>" for name in ("Label", "Faces", "Share", f"{100 * shares.level:g} % interval"))
        rows = "".join(
            f"<tr><th>{escape(printable(shares.classes[k], 60))}</th><td>{shares.counts[k]}</td>"
            f"<td>{percent(shares.shares[k])}</td><td>{percent_range(shares.low[k], shares.high[k])}</td></tr>"
            for k in shares.ranking()
        )
        return f"<table><caption>{plural(len(self), 'face')}</caption><tr>{head}</tr>{rows}</table>"

    def where(self, chosen: NDArray[np.bool_]) -> "LabelTable":
        """The faces for which `chosen` [N] holds, in the same order."""
        rows = np.flatnonzero(chosen)
        faces = tuple(self.faces[row] for row in rows.tolist())
        return replace(self, faces=faces, **{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Any]:
        """The arrays with a row for each face, by their names; without those that are None."""
        names = ("seeds", "codes", "confidence", "probabilities", "psi", "face_found")
        return {name: column for name in names if (column := getattr(self, name)) is not None}

    def natural_order(self) -> NDArray[np.int64]:
        """Row numbers [N] by ascending seed, or in table order where seeds are missing: an order nobody chose."""
        if self.seeds is None or (self.seeds[1:] >= self.seeds[:-1]).all():
            return np.arange(len(self))
        return np.argsort(self.seeds, kind="stable")


def class_names(labels: pd.DataFrame, given: Sequence[str] | None) -> tuple[str, ...]:
    """The class names: those given, or else the columns after `confidence`.

    Raises:
        DataError: no class, a class named twice, or a class without its column of probabilities.
    """
    columns = [str(column) for column in labels.columns]
    if given:
        names = list(given)
    elif "confidence" in columns:
        names = [name for name in columns[columns.index("confidence") + 1 :] if name != FACE_FOUND]
    else:
        names = []
    if not names:
        raise DataError("the labels table has no class columns after 'confidence': classify the faces again")
    if len(set(names)) != len(names):
        raise DataError("the labels table names a class twice: " + ", ".join(map(printable, names)))
    missing = [name for name in names if columns.count(name) != 1]
    if missing:
        raise DataError(f"the labels table has no column of probabilities for {', '.join(map(printable, missing))}")
    return tuple(names)


def read_labels(labels: pd.DataFrame, classes: Sequence[str] | None = None) -> LabelTable:
    """Check a table with the columns `face`, `seed`, `label`, `confidence` and one column a class.

    Args:
        labels: one row a face; `seed` may be missing or null (images that no generator of ours made); a column `psi`
            that is not a class tells the truncation of each face, and `face_found` whether a face was found in it.
        classes: the class names, in order; None for the columns after `confidence`.

    Raises:
        DataError: no rows, a missing column, a label that is not a class, or a confidence or probability that is
            missing, not a number, or outside [0, 1]; the message names the first face concerned.
    """
    for column in ("face", "label", "confidence"):
        if column not in labels.columns:
            raise DataError(
                f"the labels table has no column '{column}'; it needs face, seed, label, confidence and the classes"
            )
    if len(labels) == 0:
        raise DataError("the labels table has no faces: there is nothing to report; generate and classify some first")
    classes = class_names(labels, classes)
    faces = tuple(map(str, labels["face"]))
    # through a dict, because pandas' string columns cannot hold every str (a lone surrogate, for one)
    code = {name: k for k, name in enumerate(classes)}
    codes = np.fromiter((code.get(str(label), -1) for label in labels["label"]), np.int64, len(labels))
    _refuse(codes < 0, faces, "has a label that is none of the classes " + ", ".join(map(printable, classes)))

    columns = ["confidence", *classes]
    numbers = np.stack(
        [pd.to_numeric(labels[c], errors="coerce").to_numpy(np.float64, na_value=np.nan) for c in columns], 1
    )
    with np.errstate(invalid="ignore"):
        outside = np.logical_not((numbers >= -1e-6) & (numbers <= 1 + 1e-6))
    _refuse(outside[:, 0], faces, "has a confidence that is missing or not a number from 0 to 1")
    _refuse(outside.sum(axis=1) > 0, faces, "has a probability that is missing or not a number from 0 to 1")
    numbers = np.clip(numbers, 0, 1)
    total = numbers[:, 1:].sum(axis=1)
    _refuse(np.abs(total - 1) > _SUM_TOLERANCE, faces, "has probabilities that do not sum to 1")
    psi, found = _psi(labels, classes), _face_found(labels, classes)
    return LabelTable(classes, faces, _seeds(labels), codes, numbers[:, 0], numbers[:, 1:], psi, found)


def _seeds(labels: pd.DataFrame) -> NDArray[np.int64] | None:
    if "seed" not in labels.columns:
        return None
    seeds = pd.to_numeric(labels["seed"], errors="coerce")
    if seeds.isna().any():
        return None
    return seeds.to_numpy(np.int64)


def _psi(labels: pd.DataFrame, classes: tuple[str, ...]) -> NDArray[np.float64] | None:
    if "psi" not in labels.columns or "psi" in classes:
        return None
    psi = pd.to_numeric(labels["psi"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return psi if np.isfinite(psi).all() else None


def _face_found(labels: pd.DataFrame, classes: tuple[str, ...]) -> NDArray[np.bool_] | None:
    if FACE_FOUND not in labels.columns or FACE_FOUND in classes:
        return None
    found = labels[FACE_FOUND].map({True: True, False: False, "True": True, "False": False})
    return None if found.isna().any() else found.to_numpy(bool)


def _refuse(wrong: NDArray[np.bool_], faces: tuple[str, ...], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        others = f" (and {count(rows.size - 1)} more)" if rows.size > 1 else ""
        raise DataError(f"labels table: {printable(faces[rows[0]], 120)} {what}{others}; classify the faces again")
