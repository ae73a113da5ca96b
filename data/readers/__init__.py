"""Any of the data sets that fergan reads, by its path alone."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from . import affectnet, ckplus, fer2013, folders, jaffe, rafdb, wanted
from .place import Place


class Reader(Protocol):
    """A module that reads one data set in the forms in which people have it."""

    def recognise(self, place: Place) -> bool:
        """Whether it is this data set, by the names of its files and the first line of a table."""

    def read(self, path: Path, crop: str | None = None) -> FaceSet:
        """Read it.

        Args:
            path: what was recognised.
            crop: how pictures are framed; None: as fits the data set.

        Raises:
            DataError: a file is damaged, or does not fit the others.
        """


READERS: tuple[Reader, ...] = (wanted, affectnet, ckplus, rafdb, jaffe, fer2013, folders)
"""The readers; the first one that recognises a place reads it. The last two take any table and any pictures."""

_TABLES = ("fer2013.csv", "icml_face_data.csv", "ckextended.csv")


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
        return folders.read_image_folder(rest, label=label, crop=crop or "none")
    path = Path(path)
    path = next((path / name for name in _TABLES if (path / name).is_file()), path)
    place = Place(path)
    if not place.is_table and not path.exists():
        raise DataError(f"{printable(path)}: does not exist; give a data set's file, folder or zip")
    return next(reader for reader in READERS if reader.recognise(place)).read(path, crop)
