"""Where the faces in a picture are: three detectors behind one interface, and the square that a classifier is shown.

``haar`` comes with OpenCV 4. ``lbp`` is a third as costly; its cascade comes with scikit-image. ``yunet`` (Wu, Peng and
Yu 2023, doi:10.1007/s11633-023-1423-y) is a small convolutional network that OpenCV runs and its authors maintain; it
finds turned, partly covered and small faces that cascades miss. Its file is not part of any of these packages:
:func:`fetch_yunet` gets it once, checked against the SHA-256 that OpenCV's model zoo states.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import platformdirs

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..faces import DETECT_ENLARGE, DETECTOR, prepare_faces

DETECTORS = ("auto", "yunet", "haar", "lbp")
"""``auto``: yunet where its file is here already, else haar."""

SMALLEST = 0.1
"""Smallest face that is searched for, as a part of the picture's shorter side, unless the caller says otherwise."""

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_BYTES = 232_589
"""Both as in the Git LFS pointer of opencv/opencv_zoo. Licence of the file: MIT."""

_WINDOW = 24  # pixels of the smallest face in the picture that is searched: what OpenCV's cascades were trained on
_NEAR_FACE = 48  # pixels of a face where it is searched for near a known place: sizes are then found to 2 %
_NEAR_SIDE = 1.7  # side of the part that is searched then, in sides of the face
_TIMEOUT = 20.0


class Face(NamedTuple):
    """A detected face.

    Attributes:
        x, y, width, height: its box in pixels of the picture (x to the right, y down, origin at the top left).
        score: of the detector. yunet: its confidence, 0 to 1. Cascades: how many of their windows agree, 1 or more.
    """

    x: float
    y: float
    width: float
    height: float
    score: float


class FaceDetector(Protocol):
    """What the detectors have in common. One thread at a time: they keep state while they search.

    Attributes:
        name: ``haar``, ``lbp``, ``yunet``, or the name of a file.
        enlarge: how much larger than the box the square is that a classifier should see (:func:`face_squares`).
        quick: a search of the whole picture costs little enough to be done for every frame of a film.
    """

    name: str
    enlarge: float
    quick: bool

    def find(self, picture: np.ndarray) -> list[Face]:
        """All faces in a picture, uint8 [H, W, 3] RGB, the largest first."""
        ...

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        """The faces at about the places and sizes of ``boxes``: cheaper than :meth:`find`; at most one for each."""
        ...


def open_detector(name: str = "auto", smallest: float = SMALLEST) -> FaceDetector:
    """A face detector by name or from a file.

    Args:
        name: one of :data:`DETECTORS`, or a file: ``.xml`` a cascade of OpenCV, ``.onnx`` a YuNet.
        smallest: smallest face searched for, as a part of the picture's shorter side; half of it costs four times as
            much.

    Raises:
        UsageError: an unknown name, a part outside (0, 1], or a package that is missing.
        DataError: the file cannot be read, or ``yunet`` cannot be downloaded.

    Example:
        >>> open_detector("haar").find(np.zeros((240, 320, 3), np.uint8))
        []
    """
    if not 0 < smallest <= 1:
        raise UsageError(f"the smallest face, {smallest:g}, must be a part of the picture's side: above 0, at most 1")
    if name == "auto":
        name = "yunet" if yunet_path().is_file() else "haar"
    if name == "yunet":
        return _YuNet(fetch_yunet(), "yunet", smallest)
    if name == "haar":
        return _Cascade(_haar(), "haar", DETECT_ENLARGE, smallest)
    if name == "lbp":
        return _Cascade(_lbp(), "lbp", _LBP_ENLARGE, smallest)
    path = Path(name)
    if path.suffix.lower() not in (".xml", ".onnx"):
        raise UsageError(f"detector {name!r} is not one of {', '.join(DETECTORS)}, nor an .xml or .onnx file")
    if not path.is_file():
        raise DataError(f"{printable(path)}: there is no such file; give a detector's file or name")
    if path.suffix.lower() == ".onnx":
        return _YuNet(path, path.name, smallest)
    try:
        return _Cascade(_cascade(path.read_text(encoding="utf-8")), path.name, DETECT_ENLARGE, smallest)
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: is no cascade that OpenCV can read ({printable(error)})") from error


def face_squares(faces: Sequence[Face], width: int, height: int, enlarge: float) -> np.ndarray:
    """The parts of a picture that a classifier should see: squares about the faces, whole pixels, inside the picture.

    FER2013 was cut out by OpenCV's frontal detector, so its square, enlarged as for the crop ``detect``
    (:data:`fergan.data.faces.DETECT_ENLARGE`), frames a face as the training faces are framed.

    Args:
        faces: in the pixels of the picture.
        width, height: of the picture.
        enlarge: the detector's.

    Returns:
        int64 [N, 3]: x, y, side; side at least 1.
    """
    squares = np.empty((len(faces), 3), np.int64)
    for row, face in enumerate(faces):
        side = max(1, min(round(max(face.width, face.height) * enlarge), width, height))
        x = round(face.x + face.width / 2 - side / 2)
        y = round(face.y + face.height / 2 - side / 2)
        squares[row] = min(max(x, 0), width - side), min(max(y, 0), height - side), side
    return squares


def cut_faces(picture: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Prepared faces: uint8 [N, 48, 48] from a picture uint8 [H, W, C] and squares of :func:`face_squares`.

    Each is ``prepare_faces([picture[y : y + side, x : x + side]])[0]``.
    """
    return prepare_faces([picture[y : y + side, x : x + side] for x, y, side in squares.tolist()])


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (a.width * a.height + b.width * b.height - across * down)


def yunet_path() -> Path:
    """Where YuNet's file is kept: in the environment's FERGAN_CACHE, else in ``~/.cache/fergan`` (on Linux)."""
    return Path(os.environ.get("FERGAN_CACHE") or platformdirs.user_cache_dir("fergan")) / YUNET_FILE


def fetch_yunet() -> Path:
    """YuNet's file, downloaded if it is not there yet (0.2 MB), and checked.

    Raises:
        DataError: it cannot be downloaded, or is not the file that OpenCV publishes.
    """
    path = yunet_path()
    by_hand = f"put {YUNET_URL} there by hand, or choose another detector: haar comes with fergan"
    try:
        here = path.is_file()
        if here:
            content = path.read_bytes()
        else:
            with urllib.request.urlopen(YUNET_URL, timeout=_TIMEOUT) as answer:
                content = answer.read(YUNET_BYTES + 1)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{printable(path)}: cannot be had ({printable(reason)}); {by_hand}") from error
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        raise DataError(f"{printable(path)}: is not the file that OpenCV publishes (SHA-256 differs); {by_hand}")
    if not here:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return path


_LBP_ENLARGE = 1.06
"""Its boxes are 1.02 times as wide as those of haar, in the median over 160 StyleGAN2 faces."""


def _cv2() -> Any:
    return importlib.import_module("cv2")  # not 'import': its type stubs have the cascade in OpenCV 4 only


def _shrunk(picture: np.ndarray, shorter: float) -> tuple[np.ndarray, float]:
    """A picture whose shorter side has at most so many pixels, and what its coordinates are divided by to go back."""
    height, width = picture.shape[:2]
    scale = min(1.0, shorter / min(height, width))
    if scale == 1.0:
        return picture, 1.0
    cv2 = _cv2()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.width * face.height, face.x, face.y))


class _Cascade:
    """Viola and Jones' detector (2001, doi:10.1109/CVPR.2001.990517), on Haar-like features or binary patterns."""

    quick = False

    def __init__(self, cascade: Any, name: str, enlarge: float, smallest: float) -> None:
        self.name, self.enlarge = name, enlarge
        self._cascade, self._side = cascade, _WINDOW / smallest

    def find(self, picture: np.ndarray) -> list[Face]:
        small, scale = _shrunk(picture, self._side)
        return _largest_first([_scaled(face, scale) for face in self._search(small, 1.1, _WINDOW, 0)])

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        height, width = picture.shape[:2]
        found: list[Face] = []
        for box in boxes:
            side = max(box.width, box.height)
            reach = side * _NEAR_SIDE / 2
            centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2
            left, top = max(0, math.floor(centre_x - reach)), max(0, math.floor(centre_y - reach))
            right, bottom = min(width, math.ceil(centre_x + reach)), min(height, math.ceil(centre_y + reach))
            if right - left < side / 2 or bottom - top < side / 2:
                continue  # it has left the picture
            part = picture[top:bottom, left:right]
            small, scale = _shrunk(part, min(part.shape[:2]) * _NEAR_FACE / side)
            here = self._search(small, 1.05, max(_WINDOW, round(side * scale / 1.25)), round(side * scale * 1.25))
            if here:
                best = max(here, key=lambda face: face.score)
                moved = _scaled(best, scale)
                face = moved._replace(x=moved.x + left, y=moved.y + top)
                if all(overlap(face, other) < 0.5 for other in found):  # two searches may end at one face
                    found.append(face)
        return found

    def _search(self, picture: np.ndarray, step: float, smallest: int, largest: int) -> list[Face]:
        cv2 = _cv2()
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes, counts = self._cascade.detectMultiScale2(
            gray, scaleFactor=step, minNeighbors=3, minSize=(smallest, smallest), maxSize=(largest, largest)
        )
        pairs = zip(np.asarray(boxes).tolist(), np.asarray(counts).tolist(), strict=True)
        return [Face(float(x), float(y), float(w), float(h), float(count)) for (x, y, w, h), count in pairs]


class _YuNet:
    """OpenCV's ``FaceDetectorYN``."""

    quick = True
    enlarge = 1.1
    """Its boxes reach from the hairline to the chin and from cheek to cheek. (Chosen by that, not measured.)"""

    def __init__(self, path: Path, name: str, smallest: float) -> None:
        self.name, self._side = name, _WINDOW / smallest
        cv2 = _cv2()
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=0.7)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except AttributeError as error:
            raise UsageError(
                "detector yunet needs OpenCV 4.8 or later; run: pip install 'opencv-python-headless>=4.8,<5'"
            ) from error
        except cv2.error as error:
            raise DataError(f"{printable(path)}: is no YuNet that OpenCV can run; fetch {YUNET_URL}") from error

    def find(self, picture: np.ndarray) -> list[Face]:
        small, scale = _shrunk(picture, self._side)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(np.ascontiguousarray(small[:, :, ::-1]))  # it was trained on BGR
        rows = np.empty((0, 15)) if rows is None else rows
        faces = [Face(row[0], row[1], row[2], row[3], row[14]) for row in rows.tolist()]
        return _largest_first([_scaled(face, scale) for face in faces if face.width > 0 and face.height > 0])

    def find_near(self, picture: np.ndarray, boxes: Sequence[Face]) -> list[Face]:
        return self.find(picture)


def _scaled(face: Face, scale: float) -> Face:
    return Face(face.x / scale, face.y / scale, face.width / scale, face.height / scale, face.score)


def _haar() -> Any:
    try:
        cv2 = _cv2()
        return _cascade(Path(f"{cv2.data.haarcascades}{DETECTOR}.xml").read_text(encoding="utf-8"))
    except (ImportError, AttributeError, OSError, ValueError) as error:  # OpenCV 5 has no cascades
        raise UsageError(
            "detector haar needs the cascades of OpenCV 4; run: pip install 'opencv-python-headless>=4.8,<5'"
        ) from error


def _lbp() -> Any:
    try:
        text = Path(importlib.import_module("skimage.data").lbp_frontal_face_cascade_filename()).read_text()
    except (ImportError, AttributeError, OSError) as error:
        raise UsageError(
            "detector lbp needs the cascade that comes with scikit-image; run: pip install 'fergan[annotate]'"
        ) from error
    # In scikit-image's copy of OpenCV's lbpcascade_frontalface.xml a name is misspelt, so that OpenCV refuses it.
    return _cascade(text.replace("featuhreParams", "featureParams"))


def _cascade(text: str) -> Any:
    """A cascade classifier from the text of its XML file; ValueError if it is none."""
    cv2 = _cv2()
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        cascade = cv2.CascadeClassifier()
        loaded = cascade.read(storage.getFirstTopLevelNode()) and not cascade.empty()
    except (cv2.error, SystemError) as error:
        raise ValueError("it is damaged") from error
    if not loaded:
        raise ValueError("it holds no cascade")
    return cascade
