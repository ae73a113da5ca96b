"""Lists of rows to leave out and of labels to change, and the record of what they changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from ..labels import canonical_label
from .duplicates import pixel_hashes


def drop_rows(faces: FaceSet, path: str | Path) -> FaceSet:
    """Leave out the rows that a list names, such as the one that ``fergan audit data --drop-leaks`` writes.

    Args:
        faces: the data that the list was made for, in the same order.
        path: a CSV with the column ``row`` (from 0), or ``name``, and ``sha256`` (optional, compared with the pixels).

    Returns:
        The other rows. ``record["dropped"]`` says how many went, by which list.

    Raises:
        DataError: the list cannot be read or belongs to other data.
    """
    table = _read(path, [])
    rows = np.unique(_rows(faces, table, path))
    keep = np.ones(len(faces), dtype=bool)
    keep[rows] = False
    return dataclasses.replace(
        faces.take(keep), record={**faces.record, "dropped": {"list": str(path), "rows": len(rows)}}
    )


def relabel(faces: FaceSet, path: str | Path) -> tuple[FaceSet, pd.DataFrame]:
    """Give rows other labels.

    Args:
        faces: the data that the list was made for, in the same order.
        path: a CSV with the column ``row`` (from 0), or ``name``; ``label``, the new one; and ``sha256`` (optional).

    Returns:
        The faces with new labels, and the record of what changed: columns ``row``, ``name``, ``split``, ``from``,
        ``to``, ``sha256``; rows that had the label already are not in it.

    Raises:
        DataError: the list cannot be read, belongs to other data, names a row twice or an unknown label.
    """
    table = _read(path, ["label"])
    rows = _rows(faces, table, path)
    if len(np.unique(rows)) != len(rows):
        again = rows[pd.Series(rows).duplicated().to_numpy()][0]
        raise DataError(f"{printable(path)}: names row {again} twice; keep one of its labels")
    given = [canonical_label(label) for label in table["label"]]
    unknown = next((label for label in given if label not in faces.label_names), None)
    if unknown is not None:
        raise DataError(
            f"{printable(path)}: label {printable(unknown)!r} is none of the data's: {', '.join(faces.label_names)}"
        )
    new = faces.labels.copy()
    new[rows] = [faces.label_names.index(label) for label in given]
    changed = rows[new[rows] != faces.labels[rows]]
    texts = np.array(faces.label_names)
    record = pd.DataFrame(
        {
            "row": changed,
            "name": faces.row_names()[changed],
            "split": faces.usage[changed],
            "from": texts[faces.labels[changed]],
            "to": texts[new[changed]],
            "sha256": pixel_hashes(faces.images[changed]),
        }
    )
    notes = {**faces.record, "relabelled": {"list": str(path), "rows": len(changed)}}
    return dataclasses.replace(faces, labels=new, record=notes), record


def _read(path: str | Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: cannot be read as a CSV ({printable(error)})") from error
    missing = [name for name in columns if name not in table.columns]
    if missing or not {"row", "name"} & set(table.columns):
        wanted = ", ".join(["row or name", *columns])
        raise DataError(f"{printable(path)}: needs the columns {wanted}; it has {printable(', '.join(table.columns))}")
    return table


def _rows(faces: FaceSet, table: pd.DataFrame, path: str | Path) -> np.ndarray:
    """int64 [n]: the rows that a list names, compared with their hashes where it has any."""
    if "row" in table.columns:
        bad = ~table["row"].str.fullmatch("[0-9]{1,18}")
        if bad.any():
            raise DataError(f"{printable(path)}: {printable(table['row'][bad].iloc[0])!r} is not a row number")
        rows = table["row"].astype(np.int64).to_numpy()
        if len(rows) and rows.max() >= len(faces):
            raise DataError(f"{printable(path)}: names row {rows.max()} of {len(faces)}; it belongs to other data")
    else:
        place = {name: row for row, name in enumerate(faces.row_names().tolist())}
        unknown = next((name for name in table["name"] if name not in place), None)
        if unknown is not None:
            raise DataError(f"{printable(path)}: {printable(unknown)!r} is not in the data")
        rows = np.array([place[name] for name in table["name"]], dtype=np.int64)
    if "sha256" in table.columns:
        wrong = table["sha256"].ne("").to_numpy() & (pixel_hashes(faces.images[rows]) != table["sha256"].to_numpy(str))
        if wrong.any():
            row = rows[wrong][0]
            raise DataError(
                f"{printable(path)}: row {row} ({printable(faces.row_names()[row])}) shows another face than the list "
                "was made for; give the same data in the same order"
            )
    return rows
