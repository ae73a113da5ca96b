"""JAFFE (Lyons et al. 1998): 213 pictures of ten Japanese women, one folder of files ``KA.AN1.39.tiff``.

The name says who (KA), which expression (AN anger, DI disgust, FE fear, HA happy, NE neutral, SA sad, SU surprise),
which take and which number. 256x256 gray, with hair and shoulders. There is no published split; with ten
persons, split by person.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...runtime.errors import DataError
from ..face_set import FaceSet
from ..images import ImageSource
from .folders import load_faces, make_face_set

CODES = {
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
_NAME = re.compile(rf"([A-Z]{{2}})\.({'|'.join(CODES)})[0-9]+\.[0-9]+$", re.IGNORECASE)


def is_jaffe(names: tuple[str, ...]) -> bool:
    """Whether all images are named as JAFFE's."""
    return all(_NAME.match(PurePosixPath(name).stem) for name in names)


def read_jaffe(path: str | Path, *, crop: str = "detect") -> FaceSet:
    """Read JAFFE: labels and ``subjects`` from the file names, whatever folders they lie in.

    Args:
        path: the folder or zip.
        crop: the pictures show more than the face, so by default it is searched for.

    Raises:
        DataError: a file is not named as JAFFE's, or cannot be read.
    """
    with ImageSource(path) as source:
        matches = [_NAME.match(PurePosixPath(name).stem) for name in source.names]
        for name, match in zip(source.names, matches, strict=True):
            if match is None:
                raise DataError(f"{source.label(name)}: is not named as JAFFE's pictures are (KA.AN1.39.tiff)")
        images, record = load_faces(source, source.names, crop)
        return make_face_set(
            images,
            [CODES[match[2].upper()] for match in matches if match],
            usage=[""] * len(matches),
            names=source.names,
            subjects=[match[1].upper() for match in matches if match],
            record={"path": str(path), "layout": "JAFFE", **record},
        )
