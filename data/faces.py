"""From any face picture to what the expression classifiers see: 48x48 grayscale, framed as FER2013 frames faces.

Classifiers that were made for larger or for RGB faces see them in their own size and colours (:class:`Preparation`).
The steps are always the same three, whatever holds the pixels: gray (ITU-R 601-2 luma) unless RGB is wanted, crop, one
antialiased resize.
Downsampling without antialiasing changes what a network sees (Parmar et al. 2022, arXiv:2104.11222, for FID), so the
filter is named, fixed and recorded with the results (:class:`Preparation`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from ..runtime.errors import UsageError
from .crops import CROPS as CROPS
from .detection.cascades import HAAR, HAAR_ENLARGE
from .detection.detectors import SMALLEST, open_detector
from .detection.face import FaceDetector
from .detection.squares import centre_square, face_squares
from .images import image_pixels, read_image

SIZE = 48
"""Side of a prepared face in pixels: that of FER2013."""

COLOURS = ("gray", "rgb")

GRAY = "ITU-R 601-2 luma"
"""Y = 0.299 R + 0.587 G + 0.114 B, on the stored (gamma) values: Pillow's mode L."""

FILTER = "Pillow bicubic"
"""Bicubic (a = -0.5), stretched to the size of the target's pixels when shrinking, so that fine detail averages out.

The power spectrum of generated faces, prepared, was compared with that of FER2013 (six bands, pictures of 128 and
1024 pixels): all of Pillow's filters come about as near (mean deviation 0.04 to 0.09 in log10) but for bilinear (0.15
to 0.18). Of the others bicubic enlarges well, where box gives blocks, and rings less than Lanczos.
"""

FFHQ_BOX = (0.14, 0.19, 0.86, 0.91)
"""(left, top, right, bottom) of the face in an FFHQ-aligned picture, as fractions of its side.

Found by a search over centred squares in steps of 0.01: the one whose mean over 1004 StyleGAN2 (FFHQ) faces correlates
most with the mean of FER2013's Training faces: 0.926, against 0.273 for the whole picture. Each of 20 bootstrap
resamples of the faces gave the same box, and sides from 0.69 to 0.74 stay above 0.919. Independent of that, OpenCV's
detector, with which FER2013 was cropped, finds much the same: its median box is (0.17, 0.21, 0.84, 0.88).
"""

VERSION = 2
"""Raised whenever the same settings give other pixels. 2: ``detect`` frames faces as the detector ``haar`` does
everywhere else; version 1 searched a picture of another size. ``none`` and ``ffhq`` are the same in both."""

_FILTER = Image.Resampling.BICUBIC
_local = threading.local()

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Preparation:
    """How faces are prepared: part of the measurement, to be recorded with it.

    Attributes:
        crop: one of :data:`CROPS`.
        size: (height, width) of the prepared face in pixels. Where they differ, the square face is stretched, as the
            usual ``resize((width, height))`` does.
        colour: one of :data:`COLOURS`.
        version: of the steps from picture to face; see :data:`VERSION`.

    Raises:
        UsageError: an unknown crop or colour.
    """

    crop: str = "none"
    size: tuple[int, int] = (SIZE, SIZE)
    colour: str = "gray"
    version: int = field(default=VERSION, init=False)

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise UsageError(f"crop {self.crop!r} is not one of {', '.join(CROPS)}")
        if self.colour not in COLOURS:
            raise UsageError(f"colour {self.colour!r} is not one of {', '.join(COLOURS)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prepared face: (height, width), or (height, width, 3) in colour."""
        return self.size if self.colour == "gray" else (*self.size, 3)

    @property
    def fer2013(self) -> bool:
        """Whether faces come out as FER2013 has them: 48x48, gray."""
        return self.shape == (SIZE, SIZE)

    def as_dict(self) -> dict[str, Any]:
        """Every setting that decides the prepared pixels, as plain JSON values."""
        height, width = self.size
        settings: dict[str, Any] = {
            "preparation_version": self.version,
            "crop": self.crop,
            "size": height if height == width else [height, width],
            **({"gray": GRAY} if self.colour == "gray" else {"colour": "rgb"}),
            "filter": FILTER,
            **({} if self.fer2013 else {"view": "own"}),
        }
        if self.crop == "ffhq":
            settings["box"] = list(FFHQ_BOX)
        if self.crop == "detect":
            settings["detector"] = HAAR
            settings["detect_smallest"] = SMALLEST
            settings["detect_enlarge"] = HAAR_ENLARGE
        return settings

    def prepare(self, images: Any, missed: list[int] | None = None) -> np.ndarray:
        r"""uint8 [N, \*shape]: faces as :func:`prepare_faces` makes them, in this size and colour."""
        faces = []
        for index, picture in enumerate(_pictures(images)):
            image = _image(picture, self.colour)
            box = _detect(picture) if self.crop == "detect" else None
            if self.crop == "detect" and box is None and missed is not None:
                missed.append(index)
            if box is not None:  # as cut_faces does: what lies outside the square has no part in the face
                image, box = image.crop(box), None
            if box is None:
                part = FFHQ_BOX if self.crop == "ffhq" else (0.0, 0.0, 1.0, 1.0)
                box = part_of_square(image.width, image.height, part)
            faces.append(self._of_box(image, box))
        return np.stack(faces) if faces else self.none()

    def none(self) -> np.ndarray:
        r"""uint8 [0, \*shape]: no faces."""
        return np.empty((0, *self.shape), dtype=np.uint8)

    def _of_box(self, image: Image.Image, box: Box) -> np.ndarray:
        face = np.asarray(image.resize(self.size[::-1], _FILTER, box=box))
        return face if face.ndim == len(self.shape) else np.repeat(face[..., None], 3, axis=2)


def prepare_faces(
    images: Any,
    crop: str = "none",
    *,
    size: int | tuple[int, int] = SIZE,
    colour: str = "gray",
    missed: list[int] | None = None,
) -> np.ndarray:
    """Prepare face pictures for an expression classifier.

    A picture that is not square is first cut to its centre square (rounded towards the top left), so that faces keep
    their proportions; only ``crop="detect"`` searches the whole of it. A 48x48 gray picture passes ``crop="none"``
    unchanged. Smaller pictures are enlarged with the same filter. The same pixels give the same bytes, whatever holds
    them and whatever other pictures come with them.

    Args:
        images: uint8 array or torch tensor [N, H, W, 3], [N, H, W, 1] or [N, H, W] (gray), RGB order, 0..255; or any
            iterable of single arrays or tensors [H, W, 3], [H, W, 1] or [H, W], which may differ in size. A picture's
            path or a Pillow image stands for its pixels, alone or among others.
        crop: ``none`` the whole picture; ``ffhq`` the fixed :data:`FFHQ_BOX`, for generators trained on FFHQ-aligned
            faces; ``detect`` the largest frontal face that OpenCV finds, or as ``none`` where it finds none.
        size: of the prepared faces in pixels, or (height, width).
        colour: ``gray`` or ``rgb``; a gray picture has three equal channels then.
        missed: a list to which the indices of pictures without a detected face are appended (``detect`` only).

    Returns:
        uint8 [N, height, width], 0..255, or [N, height, width, 3] in colour. N is 0 for no pictures.

    Raises:
        UsageError: unknown crop or colour, pixels that are not uint8, another shape or number of channels, a side of
            zero; or ``detect`` where OpenCV has no cascade classifier.

    Example:
        >>> prepare_faces(np.zeros((2, 256, 256, 3), dtype=np.uint8), crop="ffhq").shape
        (2, 48, 48)
    """
    both = (size, size) if isinstance(size, int) else size
    return Preparation(crop, both, colour).prepare(images, missed)


def detect_faces(images: Any) -> list[Box | None]:
    """The largest frontal face in each picture: the box that ``prepare_faces(images, crop="detect")`` cuts out.

    Returns:
        For each picture a square (left, top, right, bottom) in its pixels, inside the picture; None where no face was
        found. Faces below a tenth of the shorter side, or below 24 pixels, are not searched for.

    Raises:
        UsageError: as :func:`prepare_faces`.
    """
    return [_detect(picture) for picture in _pictures(images)]


def cut_faces(picture: np.ndarray, squares: np.ndarray, preparation: Preparation | None = None) -> np.ndarray:
    """Prepared faces from a picture uint8 [H, W, C] and squares of :func:`~.detection.squares.face_squares`.

    Each is ``prepare_faces([picture[y : y + side, x : x + side]])[0]``, or what ``preparation`` without its crop makes
    of that.
    """
    wanted = Preparation() if preparation is None else replace(preparation, crop="none")
    return wanted.prepare([picture[y : y + side, x : x + side] for x, y, side in squares.tolist()])


def _pictures(images: Any) -> Iterator[np.ndarray]:
    """Single uint8 pictures [H, W] or [H, W, 3], checked, from any accepted container."""
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    if isinstance(images, bytes) or not (isinstance(images, Iterable) or _is_tensor(images)):
        raise UsageError(f"images must be uint8 arrays, tensors, paths or Pillow images, not {type(images).__name__}")
    whole = _array(images)
    if whole is not None:
        if whole.ndim == 3 and whole.shape[2] in (1, 3):
            raise UsageError(f"images has the shape {list(whole.shape)} of a single picture; pass [picture] instead")
        if whole.ndim not in (3, 4):
            raise UsageError(f"images must be [N, H, W, 3 or 1] or [N, H, W], not {list(whole.shape)}")
        if whole.ndim == 4 and whole.shape[3] not in (1, 3) and whole.shape[1] in (1, 3):
            raise UsageError(f"images {list(whole.shape)} seems to be [N, C, H, W]; give channels last: [N, H, W, C]")
        if len(whole) == 0 and whole.dtype != np.uint8:
            raise UsageError(f"images must hold uint8 values 0..255, not {whole.dtype}")
    for index, item in enumerate(images if whole is None else whole):
        picture = _array(item)
        if picture is None:
            kind = type(item).__name__
            raise UsageError(f"image {index} must be a uint8 array or tensor, a path or a Pillow image, not {kind}")
        if picture.dtype != np.uint8:
            raise UsageError(f"image {index} must hold uint8 values 0..255, not {picture.dtype}; scale and round first")
        if picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (1,), (3,)):
            raise UsageError(f"image {index} must be [H, W, 3], [H, W, 1] or [H, W], not {list(picture.shape)}")
        if 0 in picture.shape:
            raise UsageError(f"image {index} has no pixels: {list(picture.shape)}")
        yield picture[:, :, 0] if picture.shape[2:] == (1,) else picture


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "numpy")  # torch's, told without importing torch


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, str | os.PathLike):
        return read_image(value)
    if isinstance(value, Image.Image):
        return image_pixels(value)
    if _is_tensor(value):
        return value.detach().cpu().numpy()
    return value if isinstance(value, np.ndarray) else None


def _image(picture: np.ndarray, colour: str) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    return image if picture.ndim == 2 or colour == "rgb" else image.convert("L")


def part_of_square(width: int, height: int, part: Box) -> Box:
    """``part``, in fractions of the centre square of a picture, in its pixels."""
    x, y, side = centre_square(width, height)
    return x + part[0] * side, y + part[1] * side, x + part[2] * side, y + part[3] * side


def _detect(picture: np.ndarray) -> Box | None:
    """The square about the largest face, enlarged: whole pixels, inside the picture."""
    height, width = picture.shape[:2]
    detector = _detector()
    found = detector.find(np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture)
    if not found:
        return None
    [[x, y, side]] = face_squares(found[:1], width, height, detector.enlarge).tolist()
    return float(x), float(y), float(x + side), float(y + side)


def _detector() -> FaceDetector:
    """The Haar cascade, one a thread: it keeps state while it searches."""
    if not hasattr(_local, "detector"):
        _local.detector = open_detector("haar")
    return _local.detector
