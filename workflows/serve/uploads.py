"""Pictures from strangers."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from ...data.images import FORMATS, read_image
from ...runtime.errors import DataError
from .refusal import Refusal


def read_picture(content: bytes, max_pixels: int) -> np.ndarray:
    """A picture, uint8 [H, W, 1 or 3], from the bytes of a file.

    Raises:
        Refusal: it is not a picture, or has too many pixels, which is seen before anything is decoded.
    """
    pixels = _count_pixels(content)
    if pixels > max_pixels:
        raise Refusal(f"The picture has {pixels} pixels; the limit is {max_pixels}", "RESOURCE_EXHAUSTED", status=413)
    try:
        return read_image(content, name="the picture")
    except DataError as error:
        raise Refusal(str(error)) from error


def _count_pixels(content: bytes) -> int:
    """By the picture's head; 0 where there is none, which read_image explains."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return int(image.width * image.height)
    except Exception:  # Pillow raises many types on damaged files
        return 0
