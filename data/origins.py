"""Where the faces of a set came from, so that they can be prepared again: larger, or in colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ..runtime.errors import DataError
from ..runtime.files import printable
from .face_set import FaceSet
from .faces import Box, Preparation
from .image_source import ImageSource


@dataclass(frozen=True, slots=True)
class Origin:
    """The picture of a face.

    Attributes:
        path: of the folder or zip.
        name: in it.
        crop: how the face was framed.
        box: the part that was cut out first (left, top, right, bottom, in pixels), None for all of it.
    """

    path: str
    name: str
    crop: str = "none"
    box: Box | None = None


def cut_out(image: np.ndarray, box: Box | None) -> np.ndarray:
    """The part of a picture in a box, or all of it where the box is outside."""
    if box is None:
        return image
    left, top, right, bottom = (round(edge) for edge in box)
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return inside if inside.size else image


def prepared_again(
    faces: FaceSet,
    rows: Sequence[int] | np.ndarray,
    preparation: Preparation,
    sources: dict[str, ImageSource] | None = None,
) -> np.ndarray:
    """Some faces of a set in another size or in colour, uint8 [len(rows), *shape], from their pictures.

    Faces that came as 48x48 pixels, such as those of ``fer2013.csv``, are enlarged.

    Args:
        preparation: its size and colour; each face keeps its crop.
        sources: folders and zips that are open, by path, for callers who come again; what is opened is added. None
            opens and closes them here.

    Raises:
        DataError: a picture cannot be read any more.
    """
    if preparation.fer2013:
        return faces.images[rows]
    plain = replace(preparation, crop="none")
    opened: dict[str, ImageSource] = {} if sources is None else sources

    def prepared(row: int) -> np.ndarray:
        origin: Origin | None = None if faces.origins is None else faces.origins[row]
        if origin is None:
            return plain.prepare([faces.images[row]])[0]
        picture = cut_out(_read(opened[origin.path], origin), origin.box)
        return replace(preparation, crop=origin.crop).prepare([picture])[0]

    wanted = [int(row) for row in np.asarray(rows).tolist()]
    try:
        for row in wanted:
            origin = None if faces.origins is None else faces.origins[row]
            if origin is not None and origin.path not in opened:
                opened[origin.path] = ImageSource(origin.path)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and resizing release Python's lock
            done = list(pool.map(prepared, wanted))
    finally:
        if sources is None:
            for source in opened.values():
                source.close()
    return np.stack(done) if done else preparation.none()


def _read(source: ImageSource, origin: Origin) -> np.ndarray:
    try:
        return source.read(origin.name)
    except KeyError as error:
        raise DataError(f"{printable(origin.path)}: {printable(origin.name)} is no longer there") from error
