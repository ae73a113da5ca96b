"""The labels of a run as one table: from its exact Parquet parts, or from a labels.csv alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from ...reports.statistics.table import LabelTable, read_labels
from ...runtime.errors import DataError
from ...runtime.files import printable
from .folder import RunFolder
from .labels import count_parts, read_labels_csv, read_parts

if TYPE_CHECKING:
    import pyarrow as pa


_ROWS = 65_536


def read_table(run: RunFolder) -> tuple[LabelTable, pd.DataFrame | None]:
    """The labels of a run from its exact Parquet parts, and the skipped faces.

    ``labels.csv`` is an export; it is read where somebody kept nothing else of a run.

    Raises:
        DataError: as for :func:`read_inputs`.
    """
    if count_parts(run):
        return _read_parts(run)
    labels, skipped = read_labels_csv(run)
    expected, found = _expected(run), len(labels) + (0 if skipped is None else len(skipped))
    if expected and found != expected:
        raise DataError(
            f"{printable(run.labels_csv)}: holds {found} faces, run.json says {expected}; "
            f"run 'fergan classify --run {run.name}' to label them again"
        )
    return read_labels(labels, _classes(run)), skipped


def _expected(run: RunFolder) -> int:
    """How many faces the run has by its settings; 0 where they do not tell it."""
    settings = run.generate or run.classify
    return (settings.n if settings else 0) or 0


def _classes(run: RunFolder) -> tuple[str, ...] | None:
    judged = run.record.classify
    return judged.labels if judged else None


def _read_parts(run: RunFolder) -> tuple[LabelTable, pd.DataFrame | None]:
    """The labels of a run from its Parquet parts, a few at a time into one compact table, and the skipped faces.

    With seven classes 42 bytes a label stay in memory, and its name as Arrow keeps it, some 20 bytes.

    Raises:
        DataError: a part is damaged or holds something else than labels, or the parts are not all there.
    """
    expected, count, classes = _expected(run), count_parts(run), _classes(run)
    table: LabelTable | None = None
    names: list[pa.ChunkedArray] = []
    lost, done = [], 0
    for rows in _together(read_parts(run, count)):
        frame = rows.to_pandas(split_blocks=True)
        skipped = frame["skipped"].notna()
        if skipped.any():
            lost.append(frame.loc[skipped, ["face", "skipped"]].rename(columns={"skipped": "reason"}))
            rows, frame = rows.filter((~skipped).to_numpy()), frame[~skipped]
        if not len(frame):
            continue
        part = read_labels(frame.drop(columns="skipped"), classes)
        if table is None:
            table = _empty(part, max(expected, len(part)))
        if done + len(part) > len(table.codes) or (part.seeds is None) != (table.seeds is None):
            raise DataError(f"{printable(run.labels)}: holds other faces than run.json says; classify them again")
        columns = table.columns()
        for name, fresh in part.columns().items():
            if name in columns:
                columns[name][done : done + len(part)] = fresh
        names.append(rows["face"])
        done += len(part)
    missed = sum(map(len, lost))
    if table is None or (expected and done + missed != expected):
        raise DataError(
            f"{printable(run.labels)}: holds {done + missed} faces of {expected}; "
            f"run 'fergan classify --run {run.name}' to finish them"
        )
    filled = {name: column[:done] for name, column in table.columns().items()}
    return replace(table, faces=_Names(names), **filled), pd.concat(lost, ignore_index=True) if lost else None


def _together(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables of some ten thousand rows out of smaller ones."""
    import pyarrow as pa

    held: list[pa.Table] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= _ROWS:
            yield pa.concat_tables(held, promote_options="permissive")
            held = []
    if held:
        yield pa.concat_tables(held, promote_options="permissive")


def _empty(like: LabelTable, n: int) -> LabelTable:
    """A table to fill with the columns of another one, for ``n`` faces, in types that take less memory."""
    small = {"codes": np.int16, "confidence": np.float32, "probabilities": np.float32}
    columns: dict[str, Any] = {
        name: np.empty((n, *old.shape[1:]), small.get(name, old.dtype)) for name, old in like.columns().items()
    }
    return replace(like, faces=(), **columns)


class _Names(Sequence[str]):
    """File names in Arrow's memory, a tenth of what Python's strings take."""

    def __init__(self, chunks: list[pa.ChunkedArray]) -> None:
        import pyarrow as pa

        self._names = pa.chunked_array([part for chunk in chunks for part in chunk.chunks])

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return str(self._names[int(index)].as_py())
