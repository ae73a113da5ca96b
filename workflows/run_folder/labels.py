"""Labels of a run: one Parquet file a shard while it is worked on, one CSV when it is done.

Each part carries a checksum of its rows, so that a damaged or half-written one is found and made again; the checksum of
all rows together, :func:`labels_hash`, tells whether two runs have the same labels, however they were made.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...data.run_record.run import LabelsRecord
from ...reports.statistics.table import FACE_FOUND
from ...runtime.errors import DataError
from ...runtime.files import make_folder, printable, read_regular, temporary_path, write_atomically, writing
from .faces import Face
from .folder import PART, RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CSV_ROWS = 1_000_000
"""Beyond so many faces the labels stay in their Parquet parts and no ``labels.csv`` is written."""

_CHECKSUM = b"fergan.sha256"
_CSV_CHUNK = 16_384  # rows that become text at a time

NO_FACE = "no face was found"
"""The reason of a picture that was skipped because the detector found no face in it."""


RESERVED = frozenset({"face", "seed", "psi", "label", "confidence", FACE_FOUND, "skipped"})
"""The columns of :func:`label_table` beside those of the classes, which no class may be called."""


def label_table(
    faces: Sequence[str],
    seeds: Sequence[int] | None,
    probabilities: np.ndarray,
    classes: Sequence[str],
    skipped: dict[str, str] | None = None,
    psi: Sequence[float] | None = None,
    found: np.ndarray | None = None,
) -> pd.DataFrame:
    """The rows of one shard.

    Args:
        faces: file names of all faces, skipped ones included, in order.
        seeds: of the faces, or None for foreign images.
        probabilities: float32 [M, K], a row for each face that was not skipped.
        classes: K names.
        skipped: file name -> why it could not be judged.
        psi: the truncation of each face, in a run over several; else None.
        found: bool [N], whether the detector found a face in each picture (False where it could not be read); None
            where no detector looked.

    Returns:
        Columns ``face``, ``seed`` (Int64), ``psi`` (float64, if given), ``label``, ``confidence``, one a class
        (float32), ``face_found`` (bool, if ``found`` is given), ``skipped``.
    """
    skipped = skipped or {}
    judged = np.array([face not in skipped for face in faces], dtype=bool)
    all_probabilities = np.full((len(faces), len(classes)), np.nan, dtype=np.float32)
    all_probabilities[judged] = probabilities
    names = np.array([*classes], dtype=object)
    labels = np.full(len(faces), None, dtype=object)
    confidence = np.full(len(faces), np.nan, dtype=np.float32)
    if judged.any():
        labels[judged] = names[probabilities.argmax(axis=1)]
        confidence[judged] = probabilities.max(axis=1)
    table = pd.DataFrame(
        {
            "face": pd.Series(list(faces), dtype="string"),
            "seed": pd.Series([pd.NA] * len(faces) if seeds is None else list(seeds), dtype="Int64"),
            "label": pd.Series(labels, dtype="string"),
            "confidence": confidence,
        }
    )
    if psi is not None:
        table.insert(2, "psi", np.asarray(psi, np.float64))
    for index, name in enumerate(classes):
        table[name] = all_probabilities[:, index]
    if found is not None:
        table[FACE_FOUND] = np.asarray(found, bool)
    table["skipped"] = pd.Series([skipped.get(face, pd.NA) for face in faces], dtype="string")
    return table


def face_table(
    faces: Sequence[Face],
    probabilities: np.ndarray,
    classes: Sequence[str],
    skipped: dict[str, str] | None = None,
    found: np.ndarray | None = None,
) -> pd.DataFrame:
    """:func:`label_table` for planned faces of a run."""
    seeds = [face.seed for face in faces if face.seed is not None]
    psi = [face.psi for face in faces if face.psi is not None]
    return label_table(
        [face.name for face in faces], seeds or None, probabilities, classes, skipped, psi or None, found
    )


def part_path(run: RunFolder, number: int) -> Path:
    return run.labels / part_name(number)


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def part_bytes(table: pd.DataFrame) -> bytes:
    """A shard's labels (:func:`label_table`) as a Parquet file with the checksum of its rows in the metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.Table.from_pandas(table, preserve_index=False)
    digest = RowDigest()
    digest.update(rows)
    rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), _CHECKSUM: digest.hexdigest().encode()})
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    return buffer.getvalue()


def write_part(run: RunFolder, number: int, table: pd.DataFrame) -> None:
    """Write a shard's labels, whole or not at all."""
    keep_part(run, number, part_bytes(table))


def keep_part(run: RunFolder, number: int, content: bytes) -> None:
    """Write what :func:`part_bytes` gave, whole or not at all."""
    make_folder(run.labels)
    write_atomically(part_path(run, number), content)


def read_part(content: bytes, name: str) -> pa.Table:
    """The rows of a part, checked against their checksum, which parts that others wrote may lack.

    Raises:
        DataError: it is half-written or damaged; ``name`` is what the message calls it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        digest = RowDigest()
        digest.update(rows)
        said = (rows.schema.metadata or {}).get(_CHECKSUM, b"").decode("ascii", "replace")
    except Exception as error:  # on damaged bytes pyarrow raises many types
        raise DataError(
            f"{name}: is damaged ({type(error).__name__}); run the same command again to redo it"
        ) from error
    if (said and said != digest.hexdigest()) or not {"face", "skipped"} <= set(rows.column_names):
        raise DataError(f"{name}: does not match its checksum; run the same command again to redo it")
    # pandas' own metadata is not part of the checksum, and what is damaged there ends in a KeyError of pyarrow
    return rows.replace_schema_metadata({_CHECKSUM: said.encode()} if said else None)


def whole_part(
    run: RunFolder, number: int, names: Sequence[str], mended: Callable[[str], bool] = lambda name: False
) -> bool:
    """Whether a shard's labels are there with their checksum, undamaged, and those of the faces ``names``.

    They are not where ``mended`` says of a skipped face that its picture can be read by now, or where it is not told in
    which pictures a face was found although the run looks for faces.
    """
    path = part_path(run, number)
    if not path.is_file():  # a named pipe would keep us waiting for ever
        return False
    try:
        rows = read_part(path.read_bytes(), path.name)
    except (OSError, DataError):
        return False
    if _CHECKSUM not in (rows.schema.metadata or {}) or rows["face"].to_pylist() != list(names):
        return False
    judged = run.classify
    if judged is not None and judged.crop == "detect" and FACE_FOUND not in rows.column_names:
        return False
    skipped = rows.filter(rows["skipped"].is_valid()).select(["face", "skipped"]).to_pylist()
    return not any(mended(row["face"]) for row in skipped if row["skipped"] != NO_FACE)


def labelled_names(run: RunFolder) -> list[str]:
    """File names of all faces that have labels or were skipped, in order; an empty list where a part is damaged."""
    try:
        return [name for rows in read_parts(run, count_parts(run)) for name in rows["face"].to_pylist()]
    except DataError:
        return []


def read_parts(run: RunFolder, count: int) -> Iterator[pa.Table]:
    """The rows of parts 0 .. count - 1, part by part, checked.

    Raises:
        DataError: a part is missing or damaged.
    """
    for number in range(count):
        path = part_path(run, number)
        again = "run the same command again to redo it"
        try:
            content = read_regular(path, advice=again)
        except OSError as error:
            raise DataError(f"{printable(path)}: cannot be read ({error.strerror}); {again}") from error
        yield read_part(content, printable(path))


def count_parts(run: RunFolder) -> int:
    """How many part files there are."""
    return sum(1 for path in run.labels.glob("part-*.parquet") if PART.fullmatch(path.name))


class RowDigest:
    """SHA-256 over the rows of label tables, the same however the rows are cut into tables.

    Each column is hashed by itself, texts as their lengths in bytes (int32, -1 for none) and their bytes, numbers as
    they are, little-endian (-1 for no seed, one bit pattern for NaN); the digest is that of the columns' names and
    digests.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def update(self, rows: pa.Table) -> None:
        for name in rows.column_names:
            for kind, data in _canonical(rows[name]):
                self._columns.setdefault(f"{name}/{kind}", hashlib.sha256()).update(data)

    def hexdigest(self) -> str:
        whole = hashlib.sha256()
        for name, digest in sorted(self._columns.items()):
            whole.update(f"{len(name.encode())}:{name}:{digest.hexdigest()}\n".encode())
        return whole.hexdigest()


def _canonical(column: pa.ChunkedArray) -> Iterable[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        yield "numbers", np.where(np.isnan(values), np.nan, values).astype(values.dtype.newbyteorder("<")).tobytes()
    elif pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
        yield "numbers", pc.fill_null(column, -1).to_numpy().astype("<i8").tobytes()
    elif pa.types.is_null(column.type):
        yield "lengths", np.full(len(column), -1, "<i4").tobytes()
        yield "text", b""
    else:
        yield "lengths", pc.fill_null(pc.binary_length(column), -1).to_numpy().astype("<i4").tobytes()
        yield "text", "".join(column.drop_null().to_pylist()).encode()


def labels_hash(run: RunFolder) -> str:
    """SHA-256 of all labels of a run in the order of its faces: equal if and only if two runs have equal labels.

    How the run was cut into shards, by which engine it was made and how often it was interrupted makes no difference.

    Raises:
        DataError: a part is missing or damaged.
    """
    digest = RowDigest()
    for rows in read_parts(run, count_parts(run)):
        digest.update(rows)
    return digest.hexdigest()


def merge_parts(run: RunFolder, count: int) -> int:
    """Join all parts into ``labels.csv`` (up to :data:`MOST_CSV_ROWS`), and ``skipped.csv``; how many were skipped.

    Part after part is read, checked and written, so memory does not grow with the run. How many labels there are, of
    which classes, and their :func:`labels_hash` go into ``run.json``; so does, where a detector looked for faces, how
    many of the judged pictures it found none in.

    Raises:
        DataError: a part is missing or damaged, or a file cannot be written.
    """
    digest, total, chunks, held = RowDigest(), 0, [], 0
    reasons, labels, missed = [], Counter[str](), None
    for number in range(count, count_parts(run)):  # of a smaller run that grew into larger shards
        part_path(run, number).unlink(missing_ok=True)
    with _CSVDraft(run.labels_csv) as draft:
        for rows in read_parts(run, count):
            digest.update(rows)
            total += len(rows)
            labels.update(
                {row["values"]: row["counts"] for row in rows["label"].drop_null().value_counts().to_pylist()}
            )
            if FACE_FOUND in rows.column_names:
                whole = rows.filter(rows["skipped"].is_null())
                missed = (missed or 0) + whole[FACE_FOUND].to_pylist().count(False)
            if rows["skipped"].null_count < len(rows):
                frame = rows.select(["face", "skipped"]).to_pandas()
                reasons.append(frame[frame["skipped"].notna()].rename(columns={"skipped": "reason"}))
            if total > MOST_CSV_ROWS:
                draft.drop()
                continue
            chunks.append(rows)
            held += len(rows)
            if held >= _CSV_CHUNK:
                draft.add(chunks)
                chunks, held = [], 0
        draft.add(chunks)
        draft.finish()
    skipped = sum(map(len, reasons))
    run.skipped_csv.unlink(missing_ok=True)
    if reasons:
        write_atomically(run.skipped_csv, pd.concat(reasons).to_csv(index=False).encode())
    counts = dict(labels.most_common())
    run.put(labels=LabelsRecord(total - skipped, skipped, count, digest.hexdigest(), missed, counts))
    return skipped


class _CSVDraft:
    """A CSV that takes its name when it is finished, and is gone if it is not."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, temporary_path(path)
        self._dropped = self._begun = False

    def __enter__(self) -> _CSVDraft:
        return self

    def add(self, tables: Sequence[pa.Table]) -> None:
        import pyarrow as pa

        if self._dropped or not tables:
            return
        table = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        good = table[table["skipped"].isna()].drop(columns="skipped")
        with writing(self._path), open(self._draft, "ab" if self._begun else "wb") as file:
            file.write(good.to_csv(index=False, header=not self._begun).encode())
        self._begun = True

    def drop(self) -> None:
        self._dropped = True

    def finish(self) -> None:
        with writing(self._path):
            if self._dropped:
                self._path.unlink(missing_ok=True)
            else:
                self._draft.replace(self._path)

    def __exit__(self, *error: object) -> None:
        self._draft.unlink(missing_ok=True)


def read_labels_csv(run: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """``labels.csv`` as written by :func:`merge_parts`, and the skipped faces if there are any.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if not run.labels_csv.exists():
        raise DataError(f"{printable(run.path)}: has no labels; run 'fergan classify --run {run.name}' first")
    try:
        # names and labels are text, whatever they look like ("NA", "1")
        types: dict[Hashable, str] = {"face": "str", "label": "str", "seed": "Int64"}
        table = pd.read_csv(
            io.BytesIO(read_regular(run.labels_csv)), dtype=types, keep_default_na=False, na_values={"seed": [""]}
        )
        lost = None
        if run.skipped_csv.exists():
            lost = pd.read_csv(io.BytesIO(read_regular(run.skipped_csv)), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{printable(run.labels_csv)}: cannot be read ({error}); run 'fergan classify' again"
        ) from error
    return table, lost
