"""CK+, the extended Cohn-Kanade set (Lucey et al. 2010), in its three circulating forms.

- ``ckextended.csv``: the columns of fer2013.csv; emotions 0..5 as in FER2013, 6 neutral, 7 contempt. Its split is not
  by person, and who is seen is lost.
- ``CK+48/``: ``anger|contempt|disgust|fear|happy|sadness|surprise/S010_004_00000017.png``, the last three frames of
  each labelled sequence, 48x48; ``S010`` is the person.
- the original: ``cohn-kanade-images/S005/001/S005_001_00000011.png``, sequences from neutral to the peak, and
  ``Emotion/S005/001/S005_001_00000011_emotion.txt`` for the labelled ones: 0 neutral, 1 anger, 2 contempt, 3 disgust,
  4 fear, 5 happy, 6 sadness, 7 surprise. ``Landmarks/`` and ``FACS/`` lie beside them and are not used.

Several frames show one moment of one person, so a split of CK+ must keep persons together.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath

import numpy as np

from ...runtime.errors import DataError
from ...runtime.files import printable, require_folder
from ..face_set import OWN_SPLITS, SPLITS, FaceSet
from ..image_source import ImageSource
from ..labels import CKPLUS, CKPLUS_CSV
from .fer2013 import read_pixel_csv
from .folders import label_of_folder, left_out_notes, load_set, split_of_folder, unread_notes
from .place import Place

_FRAME = re.compile(r"(S[0-9]{3})_[0-9]{3}_[0-9]{8}$")
# as a word: not the ck of "backup"
_TABLE = re.compile(r"(?<![a-z])(ck|cohn.?kanade)(\+|plus|extended|48)?(?![a-z])")
_FRAMES = "cohn-kanade-images"
_LAST = 3


def recognise(place: Place) -> bool:
    """Whether a place is a table with ``ck`` as a word in its name, the original release, or mostly frames of CK+48."""
    if place.is_table:
        return bool(_TABLE.search(place.path.stem.lower()))
    if (place.path / _FRAMES).is_dir():
        return True
    return place.most(lambda path: bool(_FRAME.match(path.stem)) and len(path.parts) > 1)


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read any of the three; see :func:`read_ckplus_csv`, :func:`read_ckplus` and :func:`read_ck48`."""
    if path.suffix.lower() == ".csv":
        return read_ckplus_csv(path)
    if (path / _FRAMES).is_dir():
        return read_ckplus(path, crop=crop or "detect")
    return read_ck48(path, crop=crop or "none")


def read_ckplus_csv(path: str | Path) -> FaceSet:
    """Read ``ckextended.csv``. Its splits become ``train``, ``validation`` and ``test``: they are not FER2013's.

    Raises:
        DataError: as :func:`fergan.data.readers.fer2013.read_fer2013`.
    """
    faces = read_pixel_csv(path, CKPLUS_CSV)
    own = dict(zip(SPLITS, OWN_SPLITS, strict=True))
    return dataclasses.replace(
        faces,
        usage=np.array([own[name] for name in faces.usage.tolist()]),
        official=False,
        record={
            "path": str(path),
            "layout": "CK+ csv",
            "notes": ["its split is not by person: frames of one sequence may lie on both sides"],
        },
    )


def read_ck48(path: str | Path, *, crop: str = "none") -> FaceSet:
    """Read ``CK+48``: no split, ``subjects`` from the file names. Images of other names are left out, and noted.

    Raises:
        DataError: no file is named as CK+'s frames are, or one cannot be read or lies in no class folder.
    """
    with ImageSource(path) as source:
        found = [
            (name, frame)
            for name in source.readable
            if "/" in name and (frame := _FRAME.match(PurePosixPath(name).stem))
        ]
        if not found:
            raise DataError(f"{printable(path)}: no image is named as CK+ names frames (S010_004_00000017)")
        names = [name for name, _ in found]
        return load_set(
            source,
            names,
            [label_of_folder(path, PurePosixPath(name)) for name in names],
            path=path,
            layout="CK+48",
            usage=[split_of_folder(PurePosixPath(name)) for name in names],
            crop=crop,
            subjects=[frame[1] for _, frame in found],
            record={"notes": [*left_out_notes(source.readable, names), *unread_notes(source)]},
        )


def read_ckplus(path: str | Path, *, crop: str = "detect") -> FaceSet:
    """Read the original release: of each labelled sequence the last three frames, where the expression peaks.

    Args:
        path: the folder that holds ``cohn-kanade-images`` and ``Emotion``.
        crop: the frames are of 640x490 pixels, so by default the face is searched for.

    Raises:
        DataError: a folder is missing, no sequence has a label, a label or an image is damaged.
    """
    path = Path(path)
    root, emotions = path / _FRAMES, path / "Emotion"
    for folder in (root, emotions):
        require_folder(folder, "CK+ consists of cohn-kanade-images and Emotion")
    names: list[str] = []
    classes: list[str] = []
    with ImageSource(root) as source:
        sequences: dict[str, list[str]] = {}
        for name in source.names:  # in the order of their numbers
            if not _FRAME.match(PurePosixPath(name).stem):
                continue
            sequences.setdefault(str(PurePosixPath(name).parent), []).append(name)
        for sequence, frames in sequences.items():
            files = sorted((emotions / sequence).glob("S*_emotion.txt"))
            if not files:
                continue  # most releases label 327 of 593 sequences
            peak = frames[-_LAST:]
            names += peak
            classes += [_emotion(files[0])] * len(peak)
        if not names:
            raise DataError(f"{printable(emotions)}: holds no *_emotion.txt for the sequences in {printable(root)}")
        return load_set(
            source,
            names,
            classes,
            path=path,
            layout="CK+",
            crop=crop,
            subjects=[PurePosixPath(name).parts[0] for name in names],
            record={"last_frames": _LAST},
        )


def _emotion(file: Path) -> str:
    try:
        number = float(file.read_text(encoding="utf-8-sig"))
        if number not in range(len(CKPLUS)):
            raise ValueError
        return CKPLUS[int(number)]
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(file)}: is not one number from 0 to 7, as CK+'s emotions are") from error
