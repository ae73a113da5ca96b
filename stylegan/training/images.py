"""Training images from a folder, a zip or a FER2013 CSV file, as one array of one size."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.detection.squares import centre_square
from ...data.image_source import ImageSource
from ...data.images import READABLE
from ...data.readers.fer2013 import read_fer2013
from ...runtime.errors import DataError, counted
from ...runtime.files import printable

FILTER = "Pillow Lanczos"
"""Images of another size are cut to their centre square and resized with this antialiased filter."""

LABELS = "dataset.json"
"""The file in which NVIDIA's dataset_tool keeps labels: ``{"labels": [["00000/img00000000.png", 3], ...]}``."""


@dataclass(frozen=True)
class TrainingSet:
    """Attributes:
    images: uint8 [N, resolution, resolution, channels].
    classes: float32 [N, c_dim], one-hot or as the data set has them; None where no classes were asked for.
    names: of the classes, where the data tell them.
    unread: pictures that were left out because their format is not read here, or that are links to nothing.
    """

    images: np.ndarray
    classes: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    unread: tuple[str, ...] = ()


def load_training_set(path: str | Path, resolution: int, channels: int, conditional: bool = False) -> TrainingSet:
    """Read all images into memory.

    Args:
        path: a folder or zip of images, or a FER2013 CSV file, of which the Training rows are taken.
        resolution: side of the result in pixels.
        channels: 1 (gray, ITU-R 601-2 luma) or 3 (RGB).
        conditional: read the classes too: a CSV's emotions, or the labels of a ``dataset.json`` in the folder or zip
            (whole numbers become one-hot rows, lists of numbers stay as they are).

    Raises:
        DataError: the path cannot be read, or an image in it is damaged, or the labels do not fit the images.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        faces = read_fer2013(path).split("Training")
        if not len(faces):
            raise DataError(f"{path}: holds no row of split Training")
        images = np.stack([fit_image(face[:, :, None], resolution, channels) for face in faces.images])
        one_hot = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels]
        return TrainingSet(images, one_hot, tuple(faces.label_names)) if conditional else TrainingSet(images)
    with ImageSource(path) as source:
        names = source.readable
        if not names:
            raise DataError(f"{printable(path)}: none of its {len(source)} pictures can be read here ({READABLE} can)")
        classes = read_classes(path, names) if conditional else None
        images = np.stack([fit_image(source.read(name), resolution, channels) for name in names])
        return TrainingSet(images, classes, unread=tuple(sorted(set(source.names) - set(names))))


def fit_image(image: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    if image.shape == (resolution, resolution, channels):
        return image
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L" if channels == 1 else "RGB")
    left, top, side = centre_square(*picture.size)
    box = (left, top, left + side, top + side)
    fitted = np.asarray(picture.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box))
    return fitted.reshape(resolution, resolution, channels)


def read_classes(path: Path, names: tuple[str, ...]) -> np.ndarray:
    where = f"{path}: {LABELS}"
    try:
        if path.is_dir():
            text = (path / LABELS).read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(LABELS)
        pairs: Any = json.loads(text)["labels"]
    except Exception as error:  # zipfile raises many types on damaged, encrypted and oddly packed members
        raise DataError(
            f"{where}: holds no list 'labels' ({error!r}); --cond needs the class of every image"
        ) from error
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise DataError(f"{where}: 'labels' is not a list of [name, class] pairs")
    table: dict[str, Any] = {}
    for name, label in pairs:
        if table.setdefault(str(name), label) != label:
            raise DataError(f"{where}: {name} is listed under two classes, {table[str(name)]} and {label}; keep one")
    missing = [name for name in names if name not in table]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        raise DataError(f"{where}: {counted(len(missing), 'image')} {have} no label, the first is {missing[0]}")
    values = [table[name] for name in names]
    try:
        labels = np.asarray(values)
        if labels.ndim == 1 and labels.dtype.kind == "i" and labels.min() >= 0 and labels.max() < 4096:
            return np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
        if labels.ndim == 2 and labels.dtype.kind in "if" and np.isfinite(labels).all():
            return labels.astype(np.float32)
    except ValueError:  # rows of different lengths
        pass
    raise DataError(f"{where}: classes must all be whole numbers from 0, or lists of numbers of one length")
