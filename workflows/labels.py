"""Labels of a run: one Parquet file a shard while it is worked on, one CSV when it is done."""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.errors import DataError
from ..data.images import printable, write_atomically
from .faces import Face
from .run_folder import RunFolder

FIXED = ("face", "seed", "label", "confidence")
"""The columns before the classes' own, with ``psi`` after ``seed`` in a run over several truncations. A face that could
not be read has no label but a ``skipped`` reason."""


def label_table(
    faces: Sequence[str],
    seeds: Sequence[int] | None,
    probabilities: np.ndarray,
    classes: Sequence[str],
    skipped: dict[str, str] | None = None,
    psi: Sequence[float] | None = None,
) -> pd.DataFrame:
    """The rows of one shard.

    Args:
        faces: file names of all faces, skipped ones included, in order.
        seeds: of the faces, or None for foreign images.
        probabilities: float32 [M, K], a row for each face that was not skipped.
        classes: K names.
        skipped: file name -> why it could not be judged.
        psi: the truncation of each face, in a run over several; else None.

    Returns:
        Columns ``face``, ``seed`` (Int64), ``psi`` (float64, if given), ``label``, ``confidence``, one a class
        (float32), ``skipped``.
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
    table["skipped"] = pd.Series([skipped.get(face, pd.NA) for face in faces], dtype="string")
    return table


def face_table(
    faces: Sequence[Face], probabilities: np.ndarray, classes: Sequence[str], skipped: dict[str, str] | None = None
) -> pd.DataFrame:
    """:func:`label_table` for planned faces of a run."""
    seeds = [face.seed for face in faces if face.seed is not None]
    psi = [face.psi for face in faces if face.psi is not None]
    return label_table([face.name for face in faces], seeds or None, probabilities, classes, skipped, psi or None)


def part_path(run: RunFolder, number: int) -> Path:
    return run.labels / f"part-{number:05d}.parquet"


def write_part(run: RunFolder, number: int, table: pd.DataFrame) -> None:
    """Write a shard's labels, whole or not at all."""
    run.labels.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomically(part_path(run, number), buffer.getvalue())


def merge_parts(run: RunFolder, count: int) -> int:
    """Join all parts into ``labels.csv``, and ``skipped.csv`` if any face was skipped.

    Returns:
        How many faces were skipped.

    Raises:
        DataError: a part is missing or damaged.
    """
    tables = []
    for number in range(count):
        path = part_path(run, number)
        try:
            tables.append(pd.read_parquet(path))
        except Exception as error:  # pyarrow raises many types on damaged files
            raise DataError(
                f"{printable(path)}: is missing or damaged ({type(error).__name__}); delete it and classify again"
            ) from error
    table = pd.concat(tables, ignore_index=True)
    lost = table["skipped"].notna()
    good = table[~lost].drop(columns="skipped")
    write_atomically(run.labels_csv, good.to_csv(index=False).encode())
    run.skipped_csv.unlink(missing_ok=True)
    if lost.any():
        reasons = table.loc[lost, ["face", "skipped"]].rename(columns={"skipped": "reason"})
        write_atomically(run.skipped_csv, reasons.to_csv(index=False).encode())
    return int(lost.sum())


def read_labels_csv(run: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """``labels.csv`` as written by :func:`merge_parts`, and the skipped faces if there are any.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if not run.labels_csv.exists():
        raise DataError(f"{printable(run.path)}: has no labels.csv; run 'fergan classify --run {run.name}' first")
    try:
        # names and labels are text, whatever they look like ("NA", "1")
        types: dict[Hashable, str] = {"face": "str", "label": "str", "seed": "Int64"}
        table = pd.read_csv(run.labels_csv, dtype=types, keep_default_na=False, na_values={"seed": [""]})
        lost = None
        if run.skipped_csv.exists():
            lost = pd.read_csv(run.skipped_csv, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{printable(run.labels_csv)}: cannot be read ({error}); run 'fergan classify' again"
        ) from error
    return table, lost
