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
from ...runtime.files import printable
from ..face_set import OWN_SPLITS, SPLITS, FaceSet
from ..image_source import ImageSource
from ..labels import FER2013
from .fer2013 import read_pixel_csv
from .folders import load_faces, make_face_set, read_image_folder

CSV_LABELS = (*FER2013, "contempt")
ORIGINAL_LABELS = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
_FRAME = re.compile(r"(S[0-9]{3})_[0-9]{3}_[0-9]{8}$")


def read_ckplus_csv(path: str | Path) -> FaceSet:
    """Read ``ckextended.csv``. Its splits become ``train``, ``validation`` and ``test``: they are not FER2013's.

    Raises:
        DataError: as :func:`fergan.data.readers.fer2013.read_fer2013`.
    """
    faces = read_pixel_csv(path, CSV_LABELS)
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


def is_ck48(names: tuple[str, ...]) -> bool:
    """Whether all images are named as frames of CK+, and lie in folders."""
    return all(_FRAME.match(PurePosixPath(name).stem) and "/" in name for name in names)


def read_ck48(path: str | Path, *, crop: str = "none") -> FaceSet:
    """Read ``CK+48``: no split, ``subjects`` from the file names.

    Raises:
        DataError: as :func:`fergan.data.readers.folders.read_image_folder`; a file name that is no frame's.
    """
    faces = read_image_folder(path, crop=crop)
    stems = [PurePosixPath(name).stem for name in faces.row_names()]
    frames = [_FRAME.match(stem) for stem in stems]
    if not all(frames):
        odd = stems[[bool(frame) for frame in frames].index(False)]
        raise DataError(f"{printable(path)}: {printable(odd)} is not named as CK+ names frames (S010_004_00000017)")
    return dataclasses.replace(
        faces,
        subjects=np.array([frame[1] for frame in frames if frame]),
        record={**faces.record, "layout": "CK+48"},
    )


def read_ckplus(path: str | Path, *, last: int = 3, neutral: bool = False, crop: str = "detect") -> FaceSet:
    """Read the original release: of each labelled sequence the last frames, where the expression is at its peak.

    Args:
        path: the folder that holds ``cohn-kanade-images`` and ``Emotion``.
        last: how many frames; CK+48 took three.
        neutral: take the first frame too, as ``neutral``: every sequence begins with a neutral face.
        crop: the frames are of 640x490 pixels, so by default the face is searched for.

    Raises:
        DataError: a folder is missing, no sequence has a label, a label or an image is damaged.
    """
    path = Path(path)
    root, emotions = path / "cohn-kanade-images", path / "Emotion"
    for folder in (root, emotions):
        if not folder.is_dir():
            raise DataError(f"{printable(folder)}: does not exist; CK+ consists of cohn-kanade-images and Emotion")
    names: list[str] = []
    classes: list[str] = []
    with ImageSource(root) as source:
        sequences: dict[str, list[str]] = {}
        for name in source.names:  # in the order of their numbers
            sequences.setdefault(str(PurePosixPath(name).parent), []).append(name)
        for sequence, frames in sequences.items():
            files = sorted((emotions / sequence).glob("*_emotion.txt"))
            if not files:
                continue  # most releases label 327 of 593 sequences
            peak = frames[-last:]
            names += peak
            classes += [_emotion(files[0])] * len(peak)
            if neutral and frames[0] not in peak:
                names.append(frames[0])
                classes.append("neutral")
        if not names:
            raise DataError(f"{printable(emotions)}: holds no *_emotion.txt for the sequences in {printable(root)}")
        images, record, origins = load_faces(source, names, crop)
    return make_face_set(
        images,
        classes,
        usage=[""] * len(names),
        names=names,
        subjects=[PurePosixPath(name).parts[0] for name in names],
        origins=origins,
        record={"path": str(path), "layout": "CK+", **record, "last_frames": last, "first_as_neutral": neutral},
    )


def _emotion(file: Path) -> str:
    try:
        number = float(file.read_text())
        if number not in range(8):
            raise ValueError
        return ORIGINAL_LABELS[int(number)]
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(file)}: is not one number from 0 to 7, as CK+'s emotions are") from error
