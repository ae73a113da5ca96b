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
from ..image_source import ImageSource
from .folders import left_out_notes, load_set, unread_notes
from .place import Place

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


def recognise(place: Place) -> bool:
    """Whether most images are named as JAFFE's."""
    return place.most(lambda path: bool(_NAME.match(path.stem)))


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read JAFFE: labels and ``subjects`` from the file names, whatever folders they lie in.

    Args:
        path: the folder or zip.
        crop: the pictures show more than the face, so by default it is searched for.

    Raises:
        DataError: no file is named as JAFFE's, or one cannot be read. Others are left out, and noted.
    """
    with ImageSource(path) as source:
        found = [(name, match) for name in source.readable if (match := _NAME.match(PurePosixPath(name).stem))]
        if not found:
            raise DataError(f"{source.label(source.names[0])}: is not named as JAFFE's pictures are (KA.AN1.39.tiff)")
        names = [name for name, _ in found]
        return load_set(
            source,
            names,
            [CODES[match[2].upper()] for _, match in found],
            path=path,
            layout="JAFFE",
            crop=crop or "detect",
            subjects=[match[1].upper() for _, match in found],
            record={"notes": [*left_out_notes(source.readable, names), *unread_notes(source)]},
        )
