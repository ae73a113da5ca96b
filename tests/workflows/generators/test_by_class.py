"""A conditional generator judged class by class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.classifier import load_classifier
from fergan.data.images import read_image
from fergan.data.labels import NAMED
from fergan.runtime.errors import UsageError
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.dcgan import ClassNorm, DCGANConfig, DCGANGenerator
from fergan.stylegan.generator import load_generator
from fergan.workflows.generators.features import MetricsOptions
from fergan.workflows.generators.metrics import judge
from PIL import Image

from ..conftest import Invoke

LABELS = NAMED["fer2013"]


def test_each_class_has_its_distance_and_its_agreement(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["emotion,pixels,Usage"]
    for row in range(28):  # classes 0 to 5 have four faces or more, and class 6 none
        pixels = " ".join(map(str, rng.integers(0, 256, 48 * 48)))
        rows.append(f"{row % 6},{pixels},Training")
    (tmp_path / "faces.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    generator = DCGANGenerator(DCGANConfig(z_dim=6, base_channels=4, c_dim=7)).eval()
    save_generator(tmp_path / "cond.safetensors", generator, metadata={"classes": list(LABELS)})
    options = MetricsOptions(
        str(tmp_path / "faces.csv"), network=str(tmp_path / "cond.safetensors"), repeats=3, by_class=True, device="cpu"
    )
    records = {(record["metric"], record.get("class")): record for record in judge(options)}
    for name in LABELS[:6]:
        assert records["kid_of_class", name]["n_real"] == 2
        assert records["kid_of_class", name]["ci95"] is not None
        assert 0 <= records["agreement", name]["value"] <= 1
    assert ("agreement", LABELS[6]) not in records
    # noise is one expression to the classifier, so that agreement with all classes adds up to one
    assert sum(records["agreement", name]["floor"]["value"] for name in LABELS[:6]) == pytest.approx(1, abs=0.01)


def test_an_unconditional_generator_has_no_classes_to_compare(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--by-class needs a conditional generator"):
        pictures = np.random.default_rng(0).integers(0, 256, (12, 48, 48, 1), np.uint8)
        np.savetxt(
            tmp_path / "faces.csv",
            [f"0,{' '.join(map(str, picture.ravel()))},Training" for picture in pictures],
            fmt="%s",
            header="emotion,pixels,Usage",
            comments="",
        )
        judge(MetricsOptions(str(tmp_path / "faces.csv"), network="dcgan-fer2013-48", by_class=True, device="cpu"))


def test_the_grid_has_a_row_for_each_class(tmp_path: Path, invoke: Invoke) -> None:
    torch.manual_seed(0)
    generator = DCGANGenerator(DCGANConfig(z_dim=6, img_resolution=32, base_channels=4, c_dim=3)).eval()
    for layer in generator.layers:
        if isinstance(layer, ClassNorm):
            torch.nn.init.normal_(layer.by_class.weight)
    save_generator(tmp_path / "cond.safetensors", generator, metadata={"classes": ["a", "b", "c"]})
    done = invoke("metrics", "--network", "cond.safetensors", "--grid", "grid.png")
    assert "24 samples of cond at psi 1, one row for each of a, b, c in grid.png" in done.stdout
    grid = read_image(tmp_path / "grid.png")
    assert grid.shape == (3 * 33 + 1, 8 * 33 + 1, 1)
    (face,) = load_generator(tmp_path / "cond.safetensors", device="cpu").generate([2], class_index="b")
    assert np.array_equal(grid[34:66, 67:99], face)
    assert not np.array_equal(grid[1:33, 67:99], face)


def test_a_class_without_a_network_is_of_the_bundled_conditional_generator(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("generate", "--n", "1", "--class", "disgust", "--run", "shown").returncode == 0
    record = json.loads((tmp_path / "runs" / "shown" / "run.json").read_text())["generate"]
    assert (record["network"], record["class"]) == ("dcgan-fer2013-48-cond", 1)
    (face,) = load_generator("dcgan-fer2013-48-cond", device="cpu").generate([0], class_index="disgust")
    assert np.array_equal(read_image(tmp_path / "runs" / "shown" / "faces" / "seed0000.png"), face)
    done = invoke("metrics", "--grid", "grid.png", "--class", "happy")
    assert "64 samples of dcgan-fer2013-48-cond" in done.stdout, done.stderr
    done = invoke("interpolate", "--seeds", "0,1", "--frames", "2", "--class", "1", "--out", "film.webp")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "film.webp").size == (48, 48)
    other = invoke("generate", "--n", "1", "--class", "disgust", "--network", "dcgan-fer2013-48", "--run", "other")
    assert other.returncode == 2 and "dcgan-fer2013-48 has no classes" in other.stderr


def test_the_bundled_conditional_generator_draws_classes_and_differs_within_each() -> None:
    generator = load_generator("dcgan-fer2013-48-cond", device="cpu")
    assert generator.class_names == LABELS
    drawn = np.stack([generator.generate(range(8), class_index=name)[..., 0] for name in LABELS]).astype(float)
    assert np.array_equal(drawn[1], generator.generate(range(8), class_index=1)[..., 0])  # by name or not
    assert drawn.std(axis=1).mean() > 25  # other seeds are other faces; real ones have 55
    assert drawn.std(axis=0).mean() > 5  # and a seed is another picture in another class
    judge_of = load_classifier("fernet", device="cpu")
    said = judge_of.predict(generator.generate(range(40), class_index="happy")[..., 0]).argmax(axis=1)
    assert np.mean(said == judge_of.labels.index("happy")) > 0.5
