"""A set of pictures as a training sees it: from a folder, a zip or a FER2013 CSV file, each brought to one size."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...data.image_source import ImageSource
from ...data.readers.fer2013 import read_fer2013
from ...runtime.errors import DataError, counted
from ...runtime.files import printable
from ...stylegan.training.images import fit_image, read_classes


class PictureSet:
    """Pictures that are read when they are asked for.

    Attributes:
        path: the folder, zip or CSV file; of a CSV, the rows of one split.
        names: of the pictures in it.
        side, channels: what every picture is brought to, by the filter of a training.

    Raises:
        DataError: the path cannot be read or holds no picture.
    """

    def __init__(self, path: str | Path, *, one_shape: bool = False, split: str = "Training") -> None:
        """Without ``one_shape``, ``side`` and ``channels`` begin as those of the first picture; with it, a DataError
        names the pictures that differ in size or kind."""
        self.path = Path(path)
        self._labels: np.ndarray | None = None
        if self.path.suffix.lower() == ".csv":
            faces = read_fer2013(self.path).split(split)
            if not len(faces):
                raise DataError(f"{printable(self.path)}: holds no row of split {split}")
            self._source: ImageSource | np.ndarray = faces.images[:, :, :, None]
            self._labels = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels]
            self.names: tuple[str, ...] = tuple(f"{split} row {row}" for row in range(len(faces)))
        else:
            self._source = ImageSource(self.path)
            self.names = self._source.readable
            if not self.names:
                raise DataError(f"{printable(self.path)}: none of its pictures can be read here")
        height, width, self.channels = self._one_shape() if one_shape else self._read(0).shape
        self.side = min(height, width)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [side, side, channels]; a DataError if the picture cannot be read."""
        return fit_image(self._read(index), self.side, self.channels)

    def classes(self) -> np.ndarray:
        """float32 [N, c_dim]: a CSV's emotions, or the labels of ``dataset.json``; a DataError without those."""
        return read_classes(self.path, self.names) if self._labels is None else self._labels

    def _one_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of all pictures; a DataError names those that differ from most.

        Bringing all to the first one's would let a single odd picture decide what is measured.
        """
        if not isinstance(self._source, ImageSource):
            return self._source.shape[1:]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            shapes = list(pool.map(lambda index: self._read(index).shape, range(len(self))))
        [(usual, count), *others] = Counter(shapes).most_common()
        if others:
            odd = [
                f"{name} ({_in_words(shape)})" for name, shape in zip(self.names, shapes, strict=True) if shape != usual
            ]
            more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
            most = f"{counted(count, 'picture')} {'is' if count == 1 else 'are'}"
            raise DataError(
                f"{printable(self.path)}: {most} {_in_words(usual)}, but not "
                f"{printable(', '.join(odd[:3]))}{more}; remove these or bring all to one size and kind first"
            )
        return usual

    def _read(self, index: int) -> np.ndarray:
        if isinstance(self._source, ImageSource):
            return self._source.read(self.names[index])
        return self._source[index]


def _in_words(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width} x {height} {'gray' if channels == 1 else 'colour'}"
