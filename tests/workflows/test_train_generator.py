"""Training generators from files: what is refused, and starting from a generator."""

from pathlib import Path

import numpy as np
import pytest
from fergan.data.images import write_png
from fergan.runtime.errors import UsageError
from fergan.stylegan.generator import load_generator
from fergan.workflows.generators.train import train_stylegan2

OPTIONS = {
    "resolution": 32,
    "channels": "3",
    "cond": False,
    "width": "tiny",
    "init": None,
    "batch_size": 16,
    "part_size": None,
    "learning_rate": 0.0025,
    "gamma": None,
    "augment": "diffaugment",
    "mirror": True,
    "snapshot_kimg": 2.0,
    "fp32": False,
    "seed": 0,
    "device": "cpu",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 40 small pictures in four colours."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        write_png(folder / f"{i}.png", np.full((16, 16, 3), [60 * (i % 4), 128, 255 - 60 * (i % 4)], np.uint8))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 48}, "power of two; 32 or 64"),
        ({"batch_size": 18}, "groups of four"),
        ({"part_size": 12}, "groups of four"),
        ({"init": "dcgan-fer2013-48"}, "is no StyleGAN2"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' here"),
    ],
)
def test_refusals(images: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_stylegan2(str(images), str(tmp_path / "out"), lambda progress: None, kimg=1.0, **{**OPTIONS, **change})
    assert not (tmp_path / "out").exists()


def test_a_training_can_start_from_a_generator(images: Path, tmp_path: Path) -> None:
    def train(out: str, **changes: object) -> Path:
        options = {**OPTIONS, "resolution": 8, "learning_rate": 1e-9, **changes}
        return train_stylegan2(str(images), str(tmp_path / out), lambda progress: None, kimg=0.016, **options)

    first = train("first", seed=3)
    second = train("second", seed=4, init=str(first))
    other = train("other", seed=4)
    a, b, c = (load_generator(path, device="cpu").generate(range(4)).astype(int) for path in (first, second, other))
    assert np.abs(a - b).max() <= 1  # with next to no learning rate, a training ends where it starts
    assert np.abs(a - c).max() > 20
    with pytest.raises(UsageError, match="img_resolution 8, but this training has 16"):
        train("third", init=str(first), resolution=16)
