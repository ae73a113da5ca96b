"""Any of the data sets that fergan reads, by its path alone."""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from ..image_source import ImageSource
from .affectnet import is_affectnet_csv, read_affectnet_csv, read_affectnet_npy
from .ckplus import is_ck48, read_ck48, read_ckplus, read_ckplus_csv
from .fer2013 import read_fer2013
from .folders import read_image_folder
from .jaffe import is_jaffe, read_jaffe
from .rafdb import LISTS, is_numbered_rafdb, read_rafdb
from .wanted import is_wanted, read_wanted

_TABLES = ("fer2013.csv", "icml_face_data.csv", "ckextended.csv")
# as a word: not the ck of "backup"
_CKPLUS = re.compile(r"(?<![a-z])(ck|cohn.?kanade)(\+|plus|extended|48)?(?![a-z])")


def read_faces(path: str | Path, *, crop: str | None = None) -> FaceSet:
    """Read a data set; what kind it is, its files tell.

    Args:
        path: ``fer2013.csv``, ``icml_face_data.csv``, ``ckextended.csv`` (a CSV with ``ck`` as a word in its name is
            read as CK+: the columns are the same and 6 and 7 are its own), AffectNet's tables, or
            a folder or zip of any layout of :mod:`fergan.data`'s readers, or a run of wanted faces.
            ``LABEL=PATH`` gives every image of a folder or zip one class, as in
            ``embarrassed=gray_embarrassed.zip``.
        crop: how pictures are framed (:func:`fergan.data.faces.prepare_faces`); None: as fits the layout, which is
            ``detect`` for CK+'s original frames and JAFFE, ``none`` for all others.

    Raises:
        DataError: the path does not exist, is of no known layout, or holds damaged files.
    """
    label, _, rest = str(path).partition("=")
    if rest and "/" not in label and not Path(path).exists():
        return read_image_folder(rest, label=label, crop=crop or "none")
    path = Path(path)
    if path.suffix.lower() == ".csv":
        if is_affectnet_csv(path):
            return read_affectnet_csv(path, crop=crop or "none")
        return read_ckplus_csv(path) if _CKPLUS.search(path.stem.lower()) else read_fer2013(path)
    if path.is_dir():
        if is_wanted(path):
            return read_wanted(path, crop=crop)
        for name in _TABLES:
            if (path / name).is_file():
                return read_faces(path / name)
        if any(is_affectnet_csv(path / name) for name in ("training.csv", "validation.csv")):
            return read_affectnet_csv(path, crop=crop or "none")
        if any((path / name / "annotations").is_dir() for name in ("train_set", "val_set")):
            return read_affectnet_npy(path, crop=crop or "none")
        if (path / "cohn-kanade-images").is_dir():
            return read_ckplus(path, crop=crop or "detect")
        if any((path / inner / "EmoLabel" / name).is_file() for inner in ("", "basic") for name in LISTS):
            return read_rafdb(path, crop=crop or "none")
    elif not path.exists():
        raise DataError(f"{printable(path)}: does not exist; give a data set's file, folder or zip")
    with ImageSource(path) as source:
        names = source.names
    if is_jaffe(names):
        return read_jaffe(path, crop=crop or "detect")
    if is_numbered_rafdb(names):
        return read_rafdb(path, crop=crop or "none")
    if is_ck48(names):
        return read_ck48(path, crop=crop or "none")
    return read_image_folder(path, crop=crop or "none")
