"""Faces in image folders or zips with one folder a class: FER2013's redistributions, CK+48, and anybody's own.

The name of a folder decides the class, never its place in the listing: alphabetical order is not FER2013's numbering.
Published layouts, all read here:

- msambare/fer2013 (Kaggle): ``train|test/CLASS/{Training,PublicTest,PrivateTest}_12345678.jpg``. ``test`` mixes both
  test splits, and the file names alone tell them apart: they give the official split back.
- apollo2506/facial-recognition-dataset (Kaggle): ``Training/Training/Angry``, ``Testing/Testing/Suprise`` and so on,
  doubled and misspelt; six classes (no disgust).
- jonathanoheix/face-expression-recognition-dataset (Kaggle): ``images/{train,validation}/CLASS/123.jpg``, 28,821 and
  7,066 faces of FER2013 shuffled anew: official test faces are among its training faces.
- any folder of class folders, with or without folders of splits, such as ``train`` or ``Val-Images``, and numbers
  before or behind the classes' names, as in ``0_angry``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...runtime.errors import DataError, counted
from ...runtime.files import printable
from ..face_set import SPLITS, FaceSet
from ..faces import SIZE, Box, Preparation, prepare_faces
from ..image_source import ImageSource
from ..labels import FER2013, KNOWN, canonical_label, house_order
from ..origins import Origin, cut_out
from .place import Place

_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "validation"
    ),
    **dict.fromkeys(("test", "testing"), "test"),
    "publictest": "PublicTest",
    "privatetest": "PrivateTest",
}
_AROUND = "(?:fer|data|images?|imgs?|pictures?|faces?|sets?|split)*"
_SPLIT_NAME = re.compile(f"{_AROUND}({'|'.join(_SPLIT_FOLDERS)}){_AROUND}")
"""A split in the letters of a folder's name, as in ``FER2013_Train`` or ``val-images``."""
_PART_NAME = re.compile(r"(fold|part|batch|subset|cv)[\W_]*\d+", re.IGNORECASE)
"""Folders that tell neither class nor split."""
_FER2013_NAME = re.compile(rf"({'|'.join(SPLITS)})_[0-9]+$")


def recognise(place: Place) -> bool:
    """Whether a place is a folder or zip of pictures."""
    return bool(place.names)


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read class folders; see :func:`read_image_folder`."""
    return read_image_folder(path, crop=crop or "none")


def read_image_folder(path: str | Path, *, label: str | None = None, crop: str = "none") -> FaceSet:
    """Read a folder, or a zip, of class folders in any of the layouts above.

    Args:
        path: the folder or zip.
        label: the class of every image, for a folder without class folders.
        crop: see :func:`fergan.data.faces.prepare_faces`; 48x48 gray images pass ``none`` unchanged.

    Returns:
        The faces in the order of :func:`..image_source.list_images`; ``label_names`` are the classes found, in the
        order of FER2013, then FER+, then the alphabet. ``official`` where file names or folders carry FER2013's splits.

    Raises:
        DataError: an image cannot be read, lies in no class folder, or class folders are mere numbers.
    """
    with ImageSource(path) as source:
        names = source.readable
        paths = [PurePosixPath(name) for name in names]
        classes = (
            [label_of_folder(path, name) for name in paths] if label is None else [canonical_label(label)] * len(paths)
        )
        usage, official, notes = _splits(paths, set(classes))
        return load_set(
            source,
            names,
            classes,
            path=path,
            layout="image folder",
            usage=usage,
            crop=crop,
            official=official,
            record={"notes": [*notes, *unread_notes(source)]},
        )


def load_set(
    source: ImageSource,
    names: Sequence[str],
    classes: Sequence[str],
    *,
    path: str | Path,
    layout: str,
    record: Mapping[str, Any],
    usage: Sequence[str] | None = None,
    crop: str = "none",
    boxes: Sequence[Box | None] | None = None,
    subjects: Sequence[str] | None = None,
    official: bool = False,
) -> FaceSet:
    """Read and prepare images of known classes, on all cores.

    Args:
        source: the folder or zip.
        names, classes: of the images wanted, in order. Classes that occur become ``label_names``, in the house order.
        path, layout, record: what the set's record says, beside the preparation of the faces.
        usage: the split of each image; None for none.
        crop: see :func:`fergan.data.faces.prepare_faces`.
        boxes: for each image the part to cut out first (left, top, right, bottom, in pixels), or None for all of it.
        subjects, official: as in :class:`FaceSet`.

    Raises:
        DataError: an image cannot be read.
    """

    def load(item: tuple[str, Box | None]) -> tuple[np.ndarray, bool]:
        name, box = item
        image, missed = cut_out(source.read(name), box), list[int]()
        return prepare_faces([image], crop, missed=missed)[0], bool(missed)

    items = list(zip(names, boxes or [None] * len(names), strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and resizing release Python's lock
        done = list(pool.map(load, items))
    prepared: dict[str, Any] = {"preparation": Preparation(crop).as_dict()}
    if crop == "detect":
        prepared["faces_not_found"] = sum(missed for _, missed in done)
    origins = np.empty(len(items), object)
    origins[:] = [Origin(str(source.path), name, crop, box) for name, box in items]
    label_names = house_order(classes)
    index = {name: number for number, name in enumerate(label_names)}
    return FaceSet(
        images=np.stack([face for face, _ in done]) if done else np.empty((0, SIZE, SIZE), np.uint8),
        labels=np.array([index[name] for name in classes], dtype=np.int64),
        usage=np.array([""] * len(names) if usage is None else usage, dtype=str),
        label_names=label_names,
        names=np.array(names, dtype=str),
        subjects=None if subjects is None else np.array(subjects, dtype=str),
        official=official,
        record={"path": str(path), "layout": layout, **prepared, **record},
        origins=origins,
    )


def left_out_notes(
    names: Sequence[str], kept: Iterable[str], why: str = "are not named as this data set's"
) -> list[str]:
    """A note on the images that are not kept, if there are any."""
    others = sorted(set(names) - set(kept))
    return [f"left out: {len(others)} of {len(names)} images {why}, such as {printable(others[0])}"] if others else []


def unread_notes(source: ImageSource) -> list[str]:
    """A note on the images whose format is not read or that are links to nothing, if there are any."""
    return left_out_notes(source.names, source.readable, "cannot be read here")


def one_class_each(pictures: Sequence[Hashable], classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """The rows of a list of labels but for those of pictures that it has under two classes, and a note on these."""
    first: dict[Hashable, str] = {}
    torn: dict[Hashable, str] = {}
    for picture, label in zip(pictures, classes, strict=True):
        if first.setdefault(picture, label) != label:
            torn.setdefault(picture, f"{printable(picture)} ({first[picture]} and {label})")
    kept = [row for row, picture in enumerate(pictures) if picture not in torn]
    example = next(iter(torn.values()), "")
    return kept, [
        f"left out: {counted(len(torn), 'picture')} listed under two classes, such as {example}"
    ] if torn else []


def label_of_folder(root: str | Path, name: PurePosixPath) -> str:
    """The class that an image's folders tell: the innermost with a known name, else the innermost.

    Raises:
        DataError: there is none, it is a split's, or a number.
    """
    folders = [part for part in reversed(name.parts[:-1]) if not (_split_name(part) or _PART_NAME.fullmatch(part))]
    for folder in folders:
        for label in (canonical_label(folder), canonical_label(re.sub(r"^[\d\W_]+|[\d\W_]+$", "", folder))):  # 0_angry
            if label in KNOWN:
                return label
    if not folders:
        raise DataError(
            f"{printable(root)}: {printable(name)} lies in no class folder; put each class into a folder of its name, "
            f"or name the class of the whole folder: LABEL={printable(root)}"
        )
    if folders[0].isdigit():
        raise DataError(
            f"{printable(root)}: the folder of {printable(name)} is a number, and data sets number their classes "
            "differently; rename the folders to the names of the expressions"
        )
    return canonical_label(folders[0])


def split_of_folder(name: PurePosixPath) -> str:
    """The split that an image's folders name, one of ``train``, ``validation``, ``test``, ``PublicTest`` and
    ``PrivateTest``; empty if they name none. The nearest folder counts: ``train_images/test/happy`` is test."""
    return next((split for part in reversed(name.parts[:-1]) if (split := _split_name(part))), "")


def _split_name(folder: str) -> str:
    found = _SPLIT_NAME.fullmatch(re.sub(r"[\d\W_]+", "", folder.lower()))
    return _SPLIT_FOLDERS[found[1]] if found else ""


def _splits(paths: list[PurePosixPath], classes: set[str]) -> tuple[list[str], bool, list[str]]:
    matches = [_FER2013_NAME.match(path.stem) for path in paths]
    usage = [split_of_folder(path) for path in paths]
    odd = [path for path, match in zip(paths, matches, strict=True) if match is None]
    if 2 * len(odd) < len(paths):
        usage = [match[1] if match else folder for match, folder in zip(matches, usage, strict=True)]
        notes = ["official split of FER2013, by the file names"]
        if odd:
            notes.append(
                f"{len(odd)} of {len(paths)} files are not named as FER2013's, such as {printable(odd[0])}: "
                "their split is that of their folder"
            )
        # pictures of others may be trained on, but not be tested on as if they were FER2013's
        return usage, all(split_of_folder(path) == "train" for path in odd), notes
    if {"PublicTest", "PrivateTest"} & set(usage):
        usage = ["Training" if split == "train" else split for split in usage]
        return usage, set(usage) <= set(SPLITS), ["split of FER2013, by the folders' names"]
    numbered = all(path.stem.isdigit() for path in paths)
    if set(usage) == {"train", "validation"} and numbered and classes <= set(FER2013):
        return usage, False, ["looks like a copy of FER2013 with a shuffled split: official test faces are in train"]
    outside = [path for path, split in zip(paths, usage, strict=True) if not split] if any(usage) else []
    if outside:
        return (
            usage,
            False,
            [
                f"{len(outside)} of {counted(len(paths), 'picture')} lie in no folder of a split, such as "
                f"{printable(outside[0])}: neither trained on nor tested on"
            ],
        )
    return usage, False, []
