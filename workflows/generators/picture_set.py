"""A set of pictures as a training sees it: from a folder, a zip or a FER2013 CSV file, each brought to one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...data.image_source import ImageSource
from ...data.readers.fer2013 import read_fer2013
from ...runtime.errors import DataError
from ...runtime.files import printable
from ...stylegan.training.images import fit_image, read_classes


class PictureSet:
    """Pictures that are read when they are asked for.

    Attributes:
        path: the folder, zip or CSV file; of a CSV, the Training rows.
        names: of the pictures in it.
        side, channels: what every picture is brought to, by the filter of a training.

    Raises:
        DataError: the path cannot be read or holds no picture.
    """

    def __init__(self, path: str | Path, side: int | None = None, channels: int | None = None) -> None:
        """Without a side and channels, those of the first picture hold for all."""
        self.path = Path(path)
        self._labels: np.ndarray | None = None
        if self.path.suffix.lower() == ".csv":
            faces = read_fer2013(self.path).split("Training")
            if not len(faces):
                raise DataError(f"{printable(self.path)}: holds no row of split Training")
            self._source: ImageSource | np.ndarray = faces.images[:, :, :, None]
            self._labels = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels]
            self.names: tuple[str, ...] = tuple(f"Training row {row}" for row in range(len(faces)))
        else:
            self._source = ImageSource(self.path)
            self.names = self._source.names
        first = self._read(0)
        self.side = min(first.shape[:2]) if side is None else side
        self.channels = first.shape[2] if channels is None else channels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [side, side, channels]; a DataError if the picture cannot be read."""
        return fit_image(self._read(index), self.side, self.channels)

    def classes(self) -> np.ndarray:
        """float32 [N, c_dim]: a CSV's emotions, or the labels of ``dataset.json``; a DataError without those."""
        return read_classes(self.path, self.names) if self._labels is None else self._labels

    def _read(self, index: int) -> np.ndarray:
        if isinstance(self._source, ImageSource):
            return self._source.read(self.names[index])
        return self._source[index]
