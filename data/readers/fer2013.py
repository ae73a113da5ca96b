"""FER2013 as a CSV file: 35,887 faces of 48x48 gray pixels with seven labels and an official split.

Two spellings are in circulation. The challenge's ``fer2013.csv`` has the columns ``emotion,pixels,Usage``; Kaggle's
``icml_face_data.csv`` has ``emotion, Usage, pixels`` with leading spaces in the names. ``train.csv`` (no Usage) is read
as all Training. Source: Goodfellow et al. 2013, arXiv:1307.0414.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from ...runtime.files import read_bytes
from ..face_set import SPLITS, FaceSet
from ..labels import FER2013
from .place import Place

SIDE = 48


def recognise(place: Place) -> bool:
    """Whether a place is a table; reading it says what is wrong with one of another kind."""
    return place.is_table


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read a table; its faces are 48x48 already, so there is nothing to crop."""
    return read_fer2013(path)


def read_fer2013(path: str | Path) -> FaceSet:
    """Read ``fer2013.csv`` or ``icml_face_data.csv``.

    Args:
        path: the CSV file. Rows may be any subset of the official ones.

    Returns:
        The faces in file order, labels in FER2013 numbering (:data:`fergan.data.labels.FER2013`).

    Raises:
        DataError: the file is missing, is not a FER2013 CSV, or has a bad row; the message names the line.
    """
    return read_pixel_csv(path, FER2013)


def read_pixel_csv(path: str | Path, label_names: tuple[str, ...]) -> FaceSet:
    """A file with FER2013's columns whose emotions are indices into ``label_names``; see :func:`read_fer2013`."""
    path = Path(path)
    text = read_bytes(path, "give the path of fer2013.csv")
    header, _, body = text.partition(b"\n")
    columns = [name.strip(' "\r\t').lower() for name in header.decode("utf-8-sig", "replace").split(",")]
    missing = {"emotion", "pixels"} - set(columns)
    if missing:
        raise DataError(
            f"{path}: line 1: no column {' or '.join(sorted(missing))} among {columns[:5]}; "
            "expected the header of fer2013.csv (emotion,pixels,Usage) or icml_face_data.csv (emotion, Usage, pixels)"
        )
    emotion_at, pixels_at = columns.index("emotion"), columns.index("pixels")
    usage_at = columns.index("usage") if "usage" in columns else None

    emotions, usages, pixel_texts, lines = [], [], [], []
    for line, row in enumerate(body.split(b"\n"), start=2):
        if not row.strip():
            continue
        cells = row.split(b",")
        if len(cells) != len(columns):
            raise DataError(f"{path}: line {line}: {len(cells)} columns, expected {len(columns)}")
        emotions.append(cells[emotion_at].strip(b' "\r'))
        usages.append(b"Training" if usage_at is None else cells[usage_at].strip(b' "\r'))
        pixel_texts.append(cells[pixels_at].strip(b' "\r'))
        lines.append(line)
    if not lines:
        raise DataError(f"{path}: holds a header but no rows")

    return FaceSet(
        images=_parse_pixels(path, pixel_texts, lines),
        labels=_parse_emotions(path, emotions, lines, len(label_names)),
        usage=_parse_usages(path, usages, lines),
        label_names=label_names,
        names=np.array([f"line {line}" for line in lines]),
        official=usage_at is not None,
        record={"path": str(path), "layout": "fer2013 csv"},
    )


def _parse_emotions(path: Path, cells: list[bytes], lines: list[int], count: int) -> np.ndarray:
    valid = {str(index).encode(): index for index in range(count)}
    for cell, line in zip(cells, lines, strict=True):
        if cell not in valid:
            found = cell.decode("utf-8", "replace")
            raise DataError(f"{path}: line {line}: emotion {found!r} is not one of 0..{count - 1}")
    return np.array([valid[cell] for cell in cells], dtype=np.int64)


def _parse_usages(path: Path, cells: list[bytes], lines: list[int]) -> np.ndarray:
    valid = {name.encode(): name for name in SPLITS}
    for cell, line in zip(cells, lines, strict=True):
        if cell not in valid:
            found = cell.decode("utf-8", "replace")
            raise DataError(f"{path}: line {line}: Usage {found!r} is not one of {', '.join(SPLITS)}")
    return np.array([valid[cell] for cell in cells])


def _parse_pixels(path: Path, cells: list[bytes], lines: list[int]) -> np.ndarray:
    images = np.empty((len(cells), SIDE * SIDE), dtype=np.uint8)
    for index, (cell, line) in enumerate(zip(cells, lines, strict=True)):
        row = _decimal_bytes(cell)
        if row is None or len(row) != SIDE * SIDE:
            row = _checked_row(path, line, cell)
        images[index] = row
    return images.reshape(-1, SIDE, SIDE)


def _decimal_bytes(text: bytes) -> np.ndarray | None:
    """Numbers of one to three digits between single spaces -> uint8; None for any other text.

    Works on all digits of a row at once: 75 million numbers in under 3 s, where Python's int() takes half a minute.
    """
    characters = np.frombuffer(text + b" ", dtype=np.uint8)
    digits = characters - np.uint8(ord("0"))  # a space becomes 240
    ends = np.flatnonzero(characters == ord(" "))
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > 3 or np.count_nonzero(digits <= 9) != len(characters) - len(ends):
        return None
    values = digits[ends - 1].astype(np.int16)
    values += np.where(lengths > 1, digits[ends - 2], 0) * np.int16(10)
    values += np.where(lengths > 2, digits[ends - 3], 0) * np.int16(100)
    return values.astype(np.uint8) if values.max() <= 255 else None


def _checked_row(path: Path, line: int, cell: bytes) -> np.ndarray:
    """The slow way, for rows with odd spacing, and for saying what is wrong with a bad one."""
    parts = cell.split()
    if len(parts) != SIDE * SIDE:
        raise DataError(f"{path}: line {line}: {len(parts)} pixels, expected {SIDE * SIDE} (48 x 48)")
    for part in parts:
        if not part.isdigit() or len(part) > 99 or int(part) > 255:  # int() itself refuses thousands of digits
            found = part[:40].decode("utf-8", "replace")
            raise DataError(f"{path}: line {line}: pixel {found!r} is not a whole number from 0 to 255")
    return np.array([int(part) for part in parts], dtype=np.uint8)
