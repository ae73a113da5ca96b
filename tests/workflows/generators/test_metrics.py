"""``fergan metrics``: what it says of pictures whose quality is known beforehand."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.data.image_source import ImageSource
from fergan.data.images import read_image, write_png
from fergan.runtime.errors import UsageError
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.drawing import Drawing
from fergan.stylegan.generator import load_generator
from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config
from fergan.workflows.generators import fakes as fakes_module
from fergan.workflows.generators import metrics
from fergan.workflows.generators.features import MetricsOptions
from fergan.workflows.generators.metrics import append_lines, judge

from ..conftest import Invoke

NETWORK = "dcgan-fer2013-48"


def _write(folder: Path, pictures: np.ndarray) -> Path:
    folder.mkdir()
    for index, picture in enumerate(pictures):
        write_png(folder / f"{index}.png", picture)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pictures, as far as the measures are concerned: faces of the same generator, by other seeds."""
    faces = load_generator(NETWORK, device="cpu").generate(range(1000, 1120))
    return _write(tmp_path_factory.mktemp("data") / "real", faces)


def _values(path: Path, features: str = "fer") -> dict[str, dict[str, object]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record["metric"]: record for record in records if record["features"]["name"] == features}


def test_a_perfect_generator_reaches_the_floor(real: Path, tmp_path: Path, invoke: Invoke) -> None:
    command = ["metrics", "--network", NETWORK, "--data", str(real), "--out", "scores.jsonl", "--device", "cpu"]
    done = invoke(*command)
    assert done.returncode == 0, done.stderr
    assert "60 and 60 pictures, 5 times" in done.stdout
    scores = _values(tmp_path / "scores.jsonl")
    assert list(scores) == [
        *("kid", "fid", "precision", "recall", "density", "coverage", "sliced_wasserstein", "vendi")
    ]
    for score in scores.values():
        low, high = score["ci95"]
        assert low <= score["value"] <= high
        assert score["value"] == pytest.approx(score["floor"]["value"], abs=5 * (score["std"] + score["floor"]["std"]))
    assert scores["kid"]["fakes"]["sha256"] == load_generator(NETWORK).sha256
    assert scores["kid"]["fakes"]["seeds"] == "0-299"
    assert scores["kid"]["features"]["dimensions"] == 256
    assert invoke(*command).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    assert lines[:8] == lines[8:]  # added, and the same again


def test_bad_pictures_are_told_from_good_ones(real: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 48, 48, 1), np.uint8)
    options = MetricsOptions(str(real), images=str(_write(tmp_path / "noise", noise)), n=80, repeats=2, device="cpu")
    scores = {record["metric"]: record for record in judge(options)}
    assert (scores["kid"]["n_real"], scores["kid"]["n_floor"]) == (80, 60)  # of 120 real pictures
    assert scores["kid"]["value"] > 100 * abs(scores["kid"]["floor"]["value"])
    assert scores["fid"]["value"] > 10 * scores["fid"]["floor"]["value"]
    assert scores["coverage"]["value"] < 0.1 < scores["coverage"]["floor"]["value"]
    assert scores["kid"]["fakes"] == {"images": "noise", "count": 80, "reused": True}


def test_copies_are_found_and_shown(real: Path, tmp_path: Path) -> None:
    """Half of the pictures are training images, every other one of those mirrored; half are new."""
    with ImageSource(real) as source:
        training = np.stack([source.read(name) for name in source.names])
    copies = training[:20].copy()
    copies[::2] = copies[::2, :, ::-1]
    new = load_generator(NETWORK, device="cpu").generate(range(2000, 2020))
    mixed = _write(tmp_path / "mixed", np.concatenate([copies, new]))
    sheet = tmp_path / "sheet.png"
    held_out = _write(tmp_path / "held_out", load_generator(NETWORK, device="cpu").generate(range(3000, 3060)))
    options = MetricsOptions(
        str(real), images=str(mixed), held_out=str(held_out), repeats=1, neighbours=str(sheet), device="cpu"
    )
    records = judge(options)
    (gap,) = [r for r in records if r["metric"] == "fld_gap"]
    assert gap["value"] > 2 * abs(gap["floor"]["value"])
    nearest = {r["features"]["name"]: r for r in records if r["metric"] == "nearest"}
    assert set(nearest) == {"pixels", "fer"}
    samples = nearest["pixels"]["samples"]
    assert len(samples) == 16
    for sample in samples:
        index, closest = int(sample["name"].split(".")[0]), sample["nearest"][0]
        if index < 20:
            assert (closest["image"], closest["mirrored"]) == (f"{index}.png", index % 2 == 0)
            assert closest["ratio"] == pytest.approx(0, abs=1e-6) and sample["percentile"] == 0
        else:
            assert closest["ratio"] > 0.2
        assert len({member["image"] for member in sample["nearest"]}) == 3
    assert 0 < sum(int(s["name"].split(".")[0]) < 20 for s in samples) < 16  # both kinds were looked at
    assert nearest["pixels"]["value"] > 0.6
    assert nearest["fer"]["value"] > 0.6
    drawn = read_image(sheet)
    red = (drawn[..., 0].astype(int) - drawn[..., 1] > 100).sum()
    assert drawn.shape[2] == 3 and red > 50


def test_a_conditional_generator_draws_classes_as_the_data_have_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=16, z_dim=6, w_dim=5, c_dim=3, channels=(5, 4, 3), num_mapping_layers=2)
    save_generator(tmp_path / "cond.safetensors", StyleGAN2(config).eval())
    rng = np.random.default_rng(0)
    _write(tmp_path / "faces", rng.integers(0, 256, (30, 32, 32, 3), np.uint8))
    labels = {f"{index}.png": 0 if index < 24 else 2 for index in range(30)}
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for name in labels:
            out.write(tmp_path / "faces" / name, name)
        out.writestr("dataset.json", json.dumps({"labels": list(labels.items())}))
    options = MetricsOptions(str(archive), network=str(tmp_path / "cond.safetensors"), device="cpu", repeats=2)
    record = judge(options)[0]
    assert (record["fakes"]["class"], record["resolution"], record["channels"]) == ("as in the data", 16, 3)
    generator = load_generator(tmp_path / "cond.safetensors", device="cpu")
    reals = metrics.PictureSet(archive)
    drawn = fakes_module.classes_like(generator, reals, 2000, seed=0)
    assert np.bincount(drawn, minlength=3) / 2000 == pytest.approx([0.8, 0, 0.2], abs=0.04)
    fakes = fakes_module.fakes_of_generator(generator, None, None, 0, 70, reals)
    classes = fakes_module.classes_like(generator, reals, 70, seed=0)
    pictures = list(fakes.pictures())
    assert len(pictures) == 70
    assert np.array_equal(pictures[66], generator.generate([66], class_index=int(classes[66]))[0])


def test_the_grid_shows_the_first_seeds(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("metrics", "--network", NETWORK, "--grid", "grid.png", "--psi", "0.7")
    assert done.returncode == 0, done.stderr
    assert "psi 0.7" in done.stdout
    grid = read_image(tmp_path / "grid.png")
    assert grid.shape == (8 * 49 + 1, 8 * 49 + 1, 1)
    tenth = load_generator(NETWORK, device="cpu").generate([9], truncation_psi=0.7)[0]
    assert np.array_equal(grid[50:98, 50:98], tenth)


def test_the_grid_of_a_conditional_generator_has_a_row_for_each_class(tmp_path: Path) -> None:
    said = metrics.write_sample_grid(tmp_path / "grid.png", Drawing(network="dcgan-fer2013-48-cond", device="cpu"), 0)
    assert said.startswith("56 samples") and "one row for each of angry, disgust" in said
    second = load_generator("dcgan-fer2013-48-cond", device="cpu").generate([1], class_index="disgust")[0]
    assert np.array_equal(read_image(tmp_path / "grid.png")[50:98, 50:98], second)


def test_a_file_of_lines_is_never_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"metric": "old"}')  # by hand, without a line end
    append_lines(path, [{"metric": "new"}])
    assert [json.loads(line)["metric"] for line in path.read_text().splitlines()] == ["old", "new"]


def test_inception_needs_torch_fidelity(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UsageError, match=r"pip install 'fergan\[metrics\]'"):
        judge(MetricsOptions(str(real), features="fer,inception"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--data is missing"),
        (["--data", "REAL", "--n", "121"], 2, "has 120 pictures; give at most that"),
        (["--data", "REAL", "--n", "5"], 2, "give at least 6"),
        (["--data", "few"], 1, "8 pictures, too few; at least 12"),
        (["--data", "REAL", "--images", "few", "--n", "9"], 2, "has 8 pictures; give at most that"),
        (["--data", "broken"], 1, "3.png: is truncated or damaged"),
        (
            ["--data", "REAL", "--images", "mixed"],
            1,
            "12 pictures are 48 x 48 gray, but not 0_icon.png (8 x 8 gray); remove these or",
        ),
        (["--data", "nowhere"], 1, "nowhere: does not exist"),
        (["--data", "REAL", "--network", "dcgan-fer2013"], 2, "did you mean dcgan-fer2013-48"),
        (["--data", "REAL", "--network", "dcgan-fer2013-48", "--class", "1"], 2, "has no classes"),
        (["--data", "REAL", "--images", "few", "--psi", "0.5"], 2, "--images and --psi exclude each other"),
        (["--grid", "grid.png", "--neighbours", "sheet.png"], 2, "--neighbours needs --data"),
        (["--data", "REAL", "--out", "no/where.jsonl"], 1, "make the folder first"),
    ],
)
def test_bad_input_gets_one_clear_line(
    arguments: list[str], code: int, message: str, real: Path, tmp_path: Path, invoke: Invoke
) -> None:
    _write(tmp_path / "few", np.zeros((8, 48, 48, 1), np.uint8))
    broken = _write(tmp_path / "broken", np.random.default_rng(0).integers(0, 256, (12, 48, 48, 1), np.uint8))
    (broken / "3.png").write_bytes((broken / "3.png").read_bytes()[:500])
    mixed = _write(tmp_path / "mixed", np.zeros((12, 48, 48, 1), np.uint8))
    write_png(mixed / "0_icon.png", np.zeros((8, 8, 1), np.uint8))  # comes first
    done = invoke("metrics", *(str(real) if word == "REAL" else word for word in arguments))
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
