"""What a report is made of, read from a run folder: labels, pictures, and what is known of the classifier's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from ..data.faces import CROPS, prepare_faces
from ..data.images import ImageSource, read_image
from ..reports.statistics.preparation import PreparationSensitivity, read_preparation
from ..reports.statistics.prevalence import Validation
from ..reports.statistics.table import LabelTable, read_labels
from ..runtime.errors import DataError
from ..runtime.files import printable, read_json
from .engines.options import KeptPictures, shard_of, tar_member, tar_name
from .engines.store import Store
from .faces import planned_faces
from .labels import count_parts, read_labels_csv, read_parts
from .run_folder import RunFolder
from .seeds import shard_size
from .validation import read_validation

if TYPE_CHECKING:
    import pyarrow as pa

Picture = np.ndarray

_MOST_CSV_ROWS = 200_000
_ROWS = 65_536


@dataclass(frozen=True)
class RunInputs:
    """A classified run.

    Attributes:
        run: its folder.
        table: the labelled faces.
        skipped: files that could not be judged, or None.
        validation: the classifier's answers on labelled faces, or None.
    """

    run: RunFolder
    table: LabelTable
    skipped: pd.DataFrame | None
    validation: Validation | None

    @property
    def settings(self) -> dict[str, Any]:
        return self.run.record


def read_inputs(run: RunFolder) -> RunInputs:
    """Labels of a run with what belongs to them.

    Raises:
        DataError: there are no labels, or a file is damaged.
    """
    return RunInputs(run, *read_table(run), read_validation(run))


def read_table(run: RunFolder) -> tuple[LabelTable, pd.DataFrame | None]:
    """The labels of a run, from ``labels.csv`` or, where there are many, its Parquet parts, and the skipped faces.

    Raises:
        DataError: as for :func:`read_inputs`.
    """
    if _by_parts(run):
        return _read_parts(run)
    labels, skipped = read_labels_csv(run)
    return read_labels(labels, run.record), skipped


def _by_parts(run: RunFolder) -> bool:
    """Whether labels are read from the Parquet parts: where there is no CSV, or one too large to be read at once."""
    if not run.labels_csv.exists():
        return any(run.labels.glob("part-*.parquet"))
    return int((run.record.get("labels") or {}).get("n", 0)) > _MOST_CSV_ROWS


def _read_parts(run: RunFolder) -> tuple[LabelTable, pd.DataFrame | None]:
    """The labels of a run from its Parquet parts, a few at a time into one compact table, and the skipped faces.

    With seven classes 42 bytes a label stay in memory, and its name as Arrow keeps it, some 20 bytes.

    Raises:
        DataError: a part is damaged or holds something else than labels, or the parts are not all there.
    """
    settings = run.settings("generate") or run.settings("classify") or {}
    expected, count = int(settings.get("n") or 0), count_parts(run)
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
        part = read_labels(frame.drop(columns="skipped"), run.record)
        if table is None:
            table = _empty(part, max(expected, len(part)))
        if done + len(part) > len(table.codes) or (part.seeds is None) != (table.seeds is None):
            raise DataError(f"{printable(run.labels)}: holds other faces than run.json says; classify them again")
        here = slice(done, done + len(part))
        table.codes[here], table.confidence[here] = part.codes, part.confidence
        table.probabilities[here] = part.probabilities
        if table.seeds is not None and part.seeds is not None:
            table.seeds[here] = part.seeds
        if table.psi is not None and part.psi is not None:
            table.psi[here] = part.psi
        names.append(rows["face"])
        done += len(part)
    missed = sum(map(len, lost))
    if table is None or done + missed != expected:
        raise DataError(
            f"{printable(run.labels)}: holds {done + missed} faces of {expected}; "
            f"run 'fergan classify --run {run.name}' to finish them"
        )
    whole = LabelTable(
        table.classes,
        _Names(names),
        None if table.seeds is None else table.seeds[:done],
        table.codes[:done],
        table.confidence[:done],
        table.probabilities[:done],
        None if table.psi is None else table.psi[:done],
    )
    return whole, pd.concat(lost, ignore_index=True) if lost else None


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
    return LabelTable(
        like.classes,
        (),
        None if like.seeds is None else np.empty(n, np.int64),
        np.empty(n, np.int16),
        np.empty(n, np.float32),
        np.empty((n, len(like.classes)), np.float32),
        None if like.psi is None else np.empty(n, np.float64),
    )


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


class FaceReader:
    """The judged pictures of a run by name: its own faces, or those that ``classify --images`` was given.

    Called with a name it returns uint8 [H, W] or [H, W, 3]; a DataError where the picture is gone.
    """

    def __init__(self, run: RunFolder, held: Mapping[str, Picture] | None = None) -> None:
        """``held``: pictures that are still in memory; others are read from disk."""
        self.run, self.held = run, held or {}

    def __call__(self, name: str) -> Picture:
        picture = self.held[name] if name in self.held else self._read(name)
        return picture[:, :, 0] if picture.shape[2:] == (1,) else picture

    @cached_property
    def _read(self) -> Callable[[str], Picture]:
        foreign = (self.run.settings("classify") or {}).get("images")
        if foreign is not None:
            return ImageSource(foreign).read
        return self._own

    def _own(self, name: str) -> Picture:
        if Path(name).name != name:  # a table that somebody else wrote must not reach out of the folder
            raise DataError(f"{printable(name)}: is no name of a picture in {printable(self.run.faces)}")
        path = self.run.faces / name
        kept = self.run.record.get("images")
        if kept == "tar" and not path.exists():
            plan = planned_faces(self.run.settings("generate") or {})
            place = plan.place(name)
            tar = f"faces/{tar_name(shard_of(plan, place))}"
            return read_image(tar_member(self._store.read(tar), place % shard_size(len(plan))), name=name)
        if path.exists() or "storage" not in self.run.record:
            if kept not in (None, "all") and not path.exists():
                raise DataError(
                    f"{printable(path)}: its picture was not kept (--images {printable(kept)}); "
                    "give 'fergan run' again with --images all"
                )
            return read_image(path)
        return read_image(self._store.read(f"faces/{name}"), name=name)

    @cached_property
    def _store(self) -> Store:
        return Store(self.run.record.get("storage") or self.run.path)


def kept_rows(run: RunFolder, table: LabelTable) -> Sequence[int] | None:
    """Rows of the faces whose pictures were kept, ascending, an empty list where none were; None where all were."""
    asked, made = run.record.get("images"), run.settings("generate")
    if asked is None or made is None:
        return None
    plan = planned_faces(made)
    kept = KeptPictures.parse(asked, len(plan))
    if kept.mode in ("all", "tar"):
        return None
    rows = kept.rows(len(plan))
    if len(table) == len(plan):
        return rows
    wanted = {plan[row].name for row in rows}
    return [row for row, name in enumerate(table.faces) if name in wanted]


def preparer(run: RunFolder) -> Callable[[Picture], Picture] | None:
    """The preparation that the run's classifier saw, picture by picture; None where the run does not tell it."""
    crop = (run.settings("classify") or {}).get("crop")
    if crop not in CROPS:
        return None
    return lambda picture: prepare_faces([picture], crop=crop)[0]


def sensitivity_path(run: RunFolder) -> Path:
    """Where ``report --sensitivity`` keeps its labels."""
    return run.path / "sensitivity.json"


def read_sensitivity(inputs: RunInputs) -> PreparationSensitivity | None:
    """How the labels depend on crop and filter, where that was measured.

    Raises:
        DataError: the file is damaged or of another classifier.
    """
    path = sensitivity_path(inputs.run)
    record = read_json(path)
    if record is None:
        return None
    try:
        sha256 = (inputs.run.settings("classify") or {}).get("sha256")
        return read_preparation(record, inputs.table.classes, sha256)
    except DataError as error:
        raise DataError(f"{printable(path)}: {error}; delete it, or give --sensitivity again") from error
