"""Training images from a folder, a zip or a FER2013 CSV file, as one array of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...data.errors import DataError
from ...data.fer2013 import read_fer2013
from ...data.images import ImageSource

FILTER = "Pillow Lanczos"
"""Images of another size are cut to their centre square and resized with this antialiased filter."""


def load_training_images(path: str | Path, resolution: int, channels: int) -> np.ndarray:
    """Read all images into memory.

    Args:
        path: a folder or zip of images, or a FER2013 CSV file, of which the Training rows are taken.
        resolution: side of the result in pixels.
        channels: 1 (gray, ITU-R 601-2 luma) or 3 (RGB).

    Returns:
        uint8 [N, resolution, resolution, channels].

    Raises:
        DataError: the path cannot be read, or any image in it cannot.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        faces = read_fer2013(path).split("Training")
        if not len(faces):
            raise DataError(f"{path}: holds no row of split Training")
        return np.stack([_fit(face[:, :, None], resolution, channels) for face in faces.images])
    with ImageSource(path) as source:
        return np.stack([_fit(image, resolution, channels) for _, image in source.images()])


def _fit(image: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    if image.shape == (resolution, resolution, channels):
        return image
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L" if channels == 1 else "RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    fitted = np.asarray(picture.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box))
    return fitted.reshape(resolution, resolution, channels)
