"""AffectNet (Mollahosseini et al. 2017, arXiv:1708.03985): its CSV release and the later one with annotation files.

- CSV: ``training.csv`` and ``validation.csv`` with the columns of :data:`COLUMNS`; the pictures lie below
  ``Manually_Annotated_Images`` or beside the file. The face box is cut out of pictures that are larger than it.
- annotation files: ``train_set|val_set/images/12.jpg`` with ``train_set|val_set/annotations/12_exp.npy``.

Expressions: 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; 8 none, 9 uncertain and 10
no face are left out. The published test split was never released: its ``validation`` is what papers report.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from ..faces import Box
from ..image_source import ImageSource
from ..labels import AFFECTNET
from .folders import left_out_notes, load_set, one_class_each, unread_notes
from .place import Place

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_CODES = 11
_FILES = {"training": "train", "validation": "validation"}
_SETS = {"train_set": "train", "val_set": "validation"}


def recognise(place: Place) -> bool:
    """Whether a place is one of AffectNet's tables, holds one, or is the release with annotation files."""
    if place.is_table:
        return _is_table(place.path)
    return _has_table(place.path) or any((place.path / folder / "annotations").is_dir() for folder in _SETS)


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read either release; see :func:`read_affectnet_csv` and :func:`read_affectnet_npy`."""
    tables = path.is_file() or _has_table(path)
    return (read_affectnet_csv if tables else read_affectnet_npy)(path, crop=crop or "none")


def read_affectnet_csv(path: str | Path, *, crop: str = "none") -> FaceSet:
    """Read ``training.csv``, ``validation.csv``, or a folder that holds one or both.

    Args:
        path: the file or folder; the pictures are looked for beside the files.
        crop: applied within the face box.

    Raises:
        DataError: a file is none of AffectNet's, names an unknown expression or a picture that is not there.
    """
    path = Path(path)
    files = [path] if path.is_file() else [path / f"{stem}.csv" for stem in _FILES if (path / f"{stem}.csv").is_file()]
    if not files:
        raise DataError(f"{printable(path)}: holds neither training.csv nor validation.csv")
    tables = [_read_table(file).assign(usage=_FILES.get(file.stem.lower(), "")) for file in files]
    table = pd.concat(tables, ignore_index=True)
    kept = table[table["expression"] < len(AFFECTNET)]
    if kept.empty:
        raise DataError(f"{printable(path)}: has no row with one of the expressions 0..{len(AFFECTNET) - 1}")
    names = kept["subDirectory_filePath"].tolist()
    faces_of = [" ".join(map(str, row)) for row in kept[list(COLUMNS[:5])].itertuples(index=False)]
    rows, notes = one_class_each(faces_of, [AFFECTNET[code] for code in kept["expression"]])
    kept, names = kept.iloc[rows], [names[row] for row in rows]
    with ImageSource(_image_root(files[0], names[0])) as source:
        known = set(source.names)
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise DataError(
                f"{printable(source.path)}: has no picture {printable(missing)}, which {printable(path)} names"
            )
        boxes: list[Box | None] = [
            (x, y, x + width, y + height) if np.isfinite(x + y + width + height) and width > 0 and height > 0 else None
            for x, y, width, height in kept[["face_x", "face_y", "face_width", "face_height"]].to_numpy(float)
        ]
        return load_set(
            source,
            names,
            [AFFECTNET[code] for code in kept["expression"]],
            path=path,
            layout="AffectNet csv",
            usage=kept["usage"].tolist(),
            crop=crop,
            boxes=boxes,
            official=bool((kept["usage"] != "").all()),
            record={
                "box": "face_x, face_y, face_width, face_height",
                "left_out": {"none, uncertain or no face": int((table["expression"] >= len(AFFECTNET)).sum())},
                "notes": notes,
            },
        )


def read_affectnet_npy(path: str | Path, *, crop: str = "none") -> FaceSet:
    """Read the release with annotation files.

    Args:
        path: the folder that holds ``train_set`` and ``val_set``, or one of them.
        crop: the pictures are cut to the face already.

    Raises:
        DataError: there is neither folder, or a picture or its annotation is damaged, or most have none.
    """
    path = Path(path)
    names: list[str] = []
    codes: list[int] = []
    usage: list[str] = []
    listed: list[str] = []
    folders = [folder for folder in _SETS if (path / folder / "annotations").is_dir()]
    if not folders:
        raise DataError(f"{printable(path)}: holds no train_set or val_set with annotations")
    with ImageSource(path) as source:
        for folder in folders:
            for name in source.readable:
                annotation = path / folder / "annotations" / f"{PurePosixPath(name).stem}_exp.npy"
                if not name.startswith(f"{folder}/images/"):
                    continue
                listed.append(name)
                if not annotation.is_file():
                    continue
                names.append(name)
                usage.append(_SETS[folder])
                codes.append(_code(annotation))
        if 2 * len(names) < len(listed):
            annotated = set(names)
            first = next(name for name in listed if name not in annotated)
            raise DataError(f"{printable(path)}: most pictures have no annotation, such as {printable(first)}")
        rows = [row for row, code in enumerate(codes) if code < len(AFFECTNET)]
        if not rows:
            raise DataError(f"{printable(path)}: has no image with one of the expressions 0..{len(AFFECTNET) - 1}")
        return load_set(
            source,
            [names[row] for row in rows],
            [AFFECTNET[codes[row]] for row in rows],
            path=path,
            layout="AffectNet npy",
            usage=[usage[row] for row in rows],
            crop=crop,
            official=True,
            record={
                "left_out": {"none, uncertain or no face": len(names) - len(rows)},
                "notes": [*left_out_notes(listed, names, "have no annotation"), *unread_notes(source)],
            },
        )


def _has_table(folder: Path) -> bool:
    return any(_is_table(folder / f"{stem}.csv") for stem in _FILES)


def _is_table(path: Path) -> bool:
    """Whether a file begins as AffectNet's tables do."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.readline(4096).startswith(COLUMNS[0])
    except OSError:
        return False


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, usecols=lambda name: name != "facial_landmarks", dtype={COLUMNS[0]: str})
        missing = set(COLUMNS[:5]) | {"expression"}
        missing -= set(table.columns)
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        if table[COLUMNS[0]].isna().any():
            raise ValueError(f"line {table[COLUMNS[0]].isna().argmax() + 2} names no picture")
        for name in ("expression", *COLUMNS[1:5]):
            table[name] = pd.to_numeric(table[name])
        bad = ~table["expression"].isin(range(_CODES))
        if bad.any():
            raise ValueError(f"expression {table.loc[bad, 'expression'].iloc[0]!r} is not one of 0..{_CODES - 1}")
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: cannot be read as AffectNet's table ({printable(error)})") from error
    table["expression"] = table["expression"].astype(int)
    return table


def _image_root(file: Path, first: str) -> Path:
    near = file.parent
    for root in (near, near / "Manually_Annotated_Images", near.parent / "Manually_Annotated_Images", near / "images"):
        if (root / first).is_file():
            return root
    raise DataError(
        f"{printable(file)}: its pictures, such as {printable(first)}, are not beside it nor in "
        "Manually_Annotated_Images; put them there"
    )


def _code(file: Path) -> int:
    try:
        code = int(np.load(file, allow_pickle=False).item())  # some releases keep text, some numbers
        if code not in range(_CODES):
            raise ValueError(f"expression {code}")
        return code
    except Exception as error:  # on damaged files numpy raises almost any type
        raise DataError(f"{printable(file)}: is missing or not an AffectNet expression ({printable(error)})") from error
