"""RAF-DB, basic expressions (Li, Deng and Du 2017): the published folder and its copy on Kaggle.

- published: ``EmoLabel/list_patition_label.txt`` (sic) with lines ``train_00001.jpg 5``, and
  ``Image/aligned/train_00001_aligned.jpg``, often within a folder ``basic``.
- Kaggle (shuvoalok/raf-db-dataset): ``DATASET/{train,test}/5/train_00001_aligned.jpg``.

Classes: 1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral. The file names give the published split.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from ..image_source import ImageSource
from ..labels import RAFDB
from .folders import left_out_notes, load_set, one_class_each, unread_notes
from .place import Place

LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_NAME = re.compile(r"(train|test)_[0-9]+(_aligned)?$")


def recognise(place: Place) -> bool:
    """Whether a folder holds a list of RAF-DB, or most pictures are named as RAF-DB's and lie in folders 1..7."""
    if any((place.path / inner / "EmoLabel" / name).is_file() for inner in ("", "basic") for name in LISTS):
        return True
    return place.most(_is_numbered)


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read RAF-DB's aligned faces (100x100 pixels).

    Args:
        path: the folder ``basic``, or one above it; or the copy on Kaggle, as a folder or zip.
        crop: aligned faces are cut to the face already.

    Returns:
        The faces. Images of other names, and pictures that the list has under two classes, are left out, and noted.

    Raises:
        DataError: there is no list of labels, it has a bad line, or a picture is missing.
    """
    lists = [file for name in LISTS for file in sorted(path.glob(f"**/EmoLabel/{name}"))]
    with ImageSource(lists[0].parent.parent / "Image" / "aligned" if lists else path) as source:
        names, codes, notes = _published(lists[0], source) if lists else _numbered(source)
        return load_set(
            source,
            names,
            [RAFDB[code - 1] for code in codes],
            path=path,
            layout="RAF-DB",
            usage=[PurePosixPath(name).name.split("_")[0] for name in names],
            crop=crop or "none",
            official=True,
            record={"notes": notes},
        )


def _is_numbered(path: PurePosixPath) -> bool:
    return bool(_NAME.match(path.stem)) and path.parent.name in set("1234567")


def _numbered(source: ImageSource) -> tuple[list[str], list[int], list[str]]:
    names = [name for name in source.readable if _is_numbered(PurePosixPath(name))]
    if not names:
        raise DataError(
            f"{printable(source.path)}: holds neither EmoLabel/{LISTS[0]} nor numbered folders of RAF-DB's files"
        )
    codes = [int(PurePosixPath(name).parent.name) for name in names]
    return names, codes, [*left_out_notes(source.readable, names), *unread_notes(source)]


def _published(list_file: Path, source: ImageSource) -> tuple[list[str], list[int], list[str]]:
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{printable(list_file)}: cannot be read ({printable(error)})") from error
    names, codes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, code = line.strip().rpartition(" ")
        stem = PurePosixPath(name.strip()).stem
        if not _NAME.match(stem) or code not in {"1", "2", "3", "4", "5", "6", "7"}:
            raise DataError(
                f"{printable(list_file)}: line {number}: {printable(line)!r} is not like 'train_00001.jpg 5' with a "
                "class from 1 to 7"
            )
        names.append(f"{stem}_aligned.jpg")
        codes.append(int(code))
    known = set(source.names)
    missing = next((name for name in names if name not in known), None) if names else "at all"
    if missing is not None:
        raise DataError(f"{printable(source.path)}: has no picture {missing}, which {printable(list_file)} names")
    rows, notes = one_class_each(names, [RAFDB[code - 1] for code in codes])
    return [names[row] for row in rows], [codes[row] for row in rows], notes
