"""Label sets, readers of face data sets, and the preparation that turns any face into a 48x48 grayscale one.

>>> from fergan.data import prepare_faces, read_faces
>>> read_faces("fer2013.csv").split("Training").images.shape  # doctest: +SKIP
(28709, 48, 48)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .face_set import FaceSet
    from .faces import Preparation, prepare_faces
    from .merging import merge
    from .readers import read_faces
    from .readers.fer2013 import read_fer2013
    from .readers.ferplus import read_ferplus
    from .splits import split

__all__ = [
    "FaceSet",
    "Preparation",
    "merge",
    "prepare_faces",
    "read_faces",
    "read_fer2013",
    "read_ferplus",
    "split",
]

_HOMES = {
    "FaceSet": "face_set",
    "Preparation": "faces",
    "merge": "merging",
    "prepare_faces": "faces",
    "read_faces": "readers",
    "read_fer2013": "readers.fer2013",
    "read_ferplus": "readers.ferplus",
    "split": "splits",
}


def __getattr__(name: str) -> object:
    """Import a name of the face when it is first asked for (PEP 562): the package itself loads nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
