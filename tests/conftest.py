"""What tests share: where the real data and reference checkpoints are, when they are there at all."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.data.labels import FER2013
from fergan.data.readers.fer2013 import FaceSet


def _beside_a_parent(name: str, variable: str) -> Path:
    """The folder named by an environment variable, or ``shared/NAME`` beside any parent folder of the tests."""
    if variable in os.environ:
        return Path(os.environ[variable])
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / name).is_dir():
            return parent / "shared" / name
    pytest.skip(f"the folder {name} is not here; set {variable} to its path to run this test")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real faces: FER2013, StyleGAN2 faces, the eighth class."""
    return _beside_a_parent("data", "FERGAN_DATA")


@pytest.fixture(scope="session")
def fer2013(data_folder: Path) -> FaceSet:
    """FER2013's Training and PublicTest rows, in original order."""
    with lzma.open(data_folder / "fer2013" / "images.npy.xz") as file:
        images = np.load(file)
    table = pd.read_csv(data_folder / "fer2013" / "labels.csv")
    return FaceSet(images, table["emotion"].to_numpy(np.int64), table["Usage"].to_numpy(str), FER2013)
