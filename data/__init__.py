"""Label sets, readers of face data sets, and the preparation that turns any face into a 48x48 grayscale one.

>>> from fergan.data import prepare_faces, read_faces
>>> read_faces("fer2013.csv").split("Training").images.shape  # doctest: +SKIP
(28709, 48, 48)
"""

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .face_set import FaceSet as FaceSet
    from .faces import Preparation as Preparation
    from .faces import prepare_faces as prepare_faces
    from .merging import merge as merge
    from .readers import read_faces as read_faces
    from .readers.fer2013 import read_fer2013 as read_fer2013
    from .readers.ferplus import read_ferplus as read_ferplus
    from .splits import split as split

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "FaceSet": "face_set",
        "Preparation": "faces",
        "merge": "merging",
        "prepare_faces": "faces",
        "read_faces": "readers",
        "read_fer2013": "readers.fer2013",
        "read_ferplus": "readers.ferplus",
        "split": "splits",
    },
)
