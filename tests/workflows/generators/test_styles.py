"""What StyleGAN2 does besides seeds: mixing, films, projected styles, truncation by parts and in steps."""

import csv
import json
import math
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fergan.data.images import read_image
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator
from fergan.stylegan.generator import load_generator
from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config
from fergan.workflows.generators.interpolate import InterpolateOptions, film
from PIL import Image

from ..conftest import Invoke

NUM_WS = 6


@pytest.fixture
def network(tmp_path: Path) -> str:
    """``tiny.safetensors``, a StyleGAN2 of 16 pixels and 6 styles whose truncation starts from no zero."""
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=16, z_dim=6, w_dim=5, channels=(5, 4, 3), num_mapping_layers=2)
    model = StyleGAN2(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("noise_strength", "w_avg")):
                tensor.normal_(0, 0.3)
    save_generator(tmp_path / "tiny.safetensors", model)
    return "tiny.safetensors"


@pytest.fixture
def dcgan(tmp_path: Path) -> str:
    torch.manual_seed(0)
    save_generator(tmp_path / "dcgan.safetensors", DCGANGenerator(DCGANConfig(z_dim=8, base_channels=2)).eval())
    return "dcgan.safetensors"


def faces_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "faces").iterdir()}


def test_mixing_all_styles_gives_the_column_and_none_the_row(tmp_path: Path, network: str, invoke: Invoke) -> None:
    for styles in ("all", "none", "0-1"):
        done = invoke("mix", "--rows", "85,7", "--cols", "55,7,3", "--styles", styles, "--network", network,
                      "--psi", "0.7", "--noise-mode", "none", "--out", styles)  # fmt: skip
        assert done.returncode == 0, done.stderr

    def picture(styles: str, row: int, col: int) -> np.ndarray:
        return read_image(tmp_path / styles / f"{row}-{col}.png")

    faces = load_generator(tmp_path / network, device="cpu").generate([85, 7, 55, 3], 0.7, noise_mode="none")
    alone = dict(zip([85, 7, 55, 3], faces, strict=True))
    for row in (85, 7):
        for col in (55, 7, 3):
            assert np.array_equal(picture("all", row, col), alone[col])
            assert np.array_equal(picture("none", row, col), alone[row])
    mixed = picture("0-1", 85, 55)
    assert not np.array_equal(mixed, alone[85])
    assert not np.array_equal(mixed, alone[55])

    sheet = read_image(tmp_path / "0-1" / "grid.png")
    grid, margins = sheet[-3 * 16 :, -4 * 16 :], (sheet[: -3 * 16], sheet[:, : -4 * 16])
    assert all((margin < 128).any() for margin in margins)  # the seeds are written there
    assert not grid[:16, :16].any()
    assert np.array_equal(grid[:16, 16:32], alone[55])
    assert np.array_equal(grid[16:32, :16], alone[85])
    assert np.array_equal(grid[16:32, 16:32], mixed)
    assert np.array_equal(grid[32:, 32:48], alone[7])  # a seed mixed with itself


def test_mixing_takes_two_fifths_of_the_styles_by_default(tmp_path: Path, network: str, invoke: Invoke) -> None:
    for folder, styles in (("default", ()), ("named", ("--styles", "0-1"))):
        done = invoke("mix", "--rows", "1", "--cols", "2", *styles, "--network", network, "--outdir", folder)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "default/1-2.png").read_bytes() == (tmp_path / "named/1-2.png").read_bytes()


def test_a_film_goes_through_its_seeds(tmp_path: Path, network: str, dcgan: str, invoke: Invoke) -> None:
    for name in (network, dcgan):
        generator = load_generator(tmp_path / name, device="cpu")
        options = InterpolateOptions([3, 1, 3, 2], frames=3, truncation_psi=0.8)
        frames = list(film(generator, options))
        assert len(frames) == 12
        assert np.array_equal(np.stack(frames[::3]), generator.generate([3, 1, 3, 2], 0.8))
        if name == network:  # an untrained DCGAN is gray all over
            assert not any(np.array_equal(a, b) for a, b in zip(frames, frames[1:], strict=False))
        straight = list(film(generator, InterpolateOptions([3, 2], frames=5, truncation_psi=0.8, loop=False)))
        assert len(straight) == 6
        assert np.array_equal(straight[-1], frames[9])

    done = invoke("interpolate", "--seeds", "0,1", "--frames", "4", "--fps", "20", "--network", network)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "interpolation.webp") as animation:
        assert (animation.n_frames, animation.size, animation.info["loop"]) == (8, (16, 16), 0)
        animation.load()
        assert animation.info["duration"] == 50


@pytest.mark.parametrize("name", ["a.mp4", os.fsdecode(b"\xe9.webm")])
def test_a_film_for_browsers(tmp_path: Path, dcgan: str, invoke: Invoke, name: str) -> None:
    done = invoke("interpolate", "--seeds", "0,1", "--frames", "4", "--no-loop", "--network", dcgan, "--out", name)
    assert done.returncode == 0, done.stderr
    os.rename(tmp_path / name, tmp_path / "film")  # OpenCV takes no other names than UTF-8
    film = cv2.VideoCapture(str(tmp_path / "film"))
    read = 0
    while film.read()[0]:
        read += 1
    film.release()
    assert read == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dcgan.safetensors", "film"]


def test_the_projected_style_of_a_seed_is_its_face(tmp_path: Path, network: str, invoke: Invoke) -> None:
    generator = load_generator(tmp_path / network, device="cpu")
    np.savez(tmp_path / "projected_w.npz", w=generator.styles([4, 9], 0.6))
    done = invoke("run", "--projected-w", "projected_w.npz", "--network", network, "--run", "w")
    assert done.returncode == 0, done.stderr
    assert invoke("generate", "--seeds", "4,9", "--psi", "0.6", "--network", network).returncode == 0
    seeds = faces_of(tmp_path / "runs" / "default")
    expected = {"proj00.png": seeds["seed0004.png"], "proj01.png": seeds["seed0009.png"]}
    assert faces_of(tmp_path / "runs" / "w") == expected
    with open(tmp_path / "runs" / "w" / "labels.csv", newline="") as file:
        assert [(row["face"], row["seed"]) for row in csv.DictReader(file)] == [("proj00.png", ""), ("proj01.png", "")]

    np.savez(tmp_path / "projected_w.npz", w=generator.styles([4, 10], 0.6))
    again = invoke("generate", "--projected-w", "projected_w.npz", "--network", network, "--run", "w")
    assert again.returncode == 2
    assert "projected_w_sha256 was" in again.stderr


def test_the_cutoff_leaves_later_styles_alone(tmp_path: Path, network: str, invoke: Invoke) -> None:
    common = ["generate", "--n", "3", "--psi", "0.3", "--network", network]
    for cutoff in (0, 2, NUM_WS):
        assert invoke(*common, "--psi-cutoff", str(cutoff), "--run", f"c{cutoff}").returncode == 0
    assert invoke(*common, "--run", "whole").returncode == 0
    assert invoke("generate", "--n", "3", "--psi", "1", "--network", network, "--run", "free").returncode == 0
    found = {path.name: faces_of(path) for path in (tmp_path / "runs").iterdir()}
    assert found["c0"] == found["free"]
    assert found[f"c{NUM_WS}"] == found["whole"]
    assert found["c2"] != found["free"] != found["whole"] != found["c2"]
    record = json.loads((tmp_path / "runs" / "c2" / "run.json").read_text())
    assert record["generate"]["truncation_cutoff"] == 2
    assert invoke(*common, "--psi-cutoff", "1", "--run", "c2").returncode == 2


def test_a_sweep_makes_and_reports_the_same_seeds_at_each_psi(tmp_path: Path, network: str, invoke: Invoke) -> None:
    sweep = ["--n", "40", "--psi-sweep", "1,0.25,0.125", "--network", network]
    done = invoke("run", *sweep, "--run", "sweep")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "sweep"
    assert invoke("generate", "--n", "40", "--psi", "1", "--network", network).returncode == 0
    plain = faces_of(tmp_path / "runs" / "default")
    faces = faces_of(run)
    assert len(faces) == 120
    assert {name: faces[name.replace(".png", "_psi1.00.png")] for name in plain} == plain

    with open(run / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["face", "seed", "psi", "label", "confidence"]
    assert rows[0]["face"] == "seed0000_psi0.125.png"
    assert [(row["seed"], row["psi"]) for row in rows[38:42]] == [
        ("38", "0.125"), ("39", "0.125"), ("0", "0.25"), ("1", "0.25")]  # fmt: skip

    report = json.loads((run / "report.json").read_text())
    z = 1.959963984540054
    assert [part["psi"] for part in report["sweep"]["by_psi"]] == [0.125, 0.25, 1.0]
    for part in report["sweep"]["by_psi"]:
        counts = Counter(row["label"] for row in rows if float(row["psi"]) == part["psi"])
        assert part["n"] == 40
        for label in report["labels"]:
            k, share = counts[label], part["shares"][label]
            half = z * math.sqrt(k * (40 - k) / 40 + z * z / 4)
            assert part["counts"][label] == k
            assert share["share"] == pytest.approx(k / 40)
            if k not in (1, 2):  # whose lower limit is another
                assert share["low"] == pytest.approx((k + z * z / 2 - half) / (40 + z * z), abs=1e-9)
            if 40 - k not in (1, 2):  # likewise the upper one
                assert share["high"] == pytest.approx((k + z * z / 2 + half) / (40 + z * z), abs=1e-9)
    page = (run / "report.html").read_text()
    assert "Truncation sweep" in page
    assert "0.125, 0.25, 1.0" in page
    assert "at 3 truncations" in page

    # three commands do the same, and a plain run has no such section
    labels = (run / "labels.csv").read_bytes()
    for step in (["generate", *sweep], ["classify"], ["report"]):
        done = invoke(*step, "--run", "steps")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "steps" / "labels.csv").read_bytes() == labels
    assert invoke("classify").returncode == invoke("report").returncode == 0
    assert json.loads((tmp_path / "runs" / "default" / "report.json").read_text())["sweep"] is None
    assert "Truncation sweep" not in (tmp_path / "runs" / "default" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("mix --rows 1 --cols 2 --network dcgan.safetensors", 2, "nothing to mix"),
        ("mix --rows 1 --cols 2 --styles 0-6 --network tiny.safetensors", 2, "styles 0 to 5, and no 6"),
        ("mix --rows 1,x --cols 2", 2, "--rows '1,x': 'x' is not a seed"),
        ("mix --rows 1 --cols 2 --styles 3-1", 2, "--styles '3-1'"),
        ("mix --rows 0-9000 --cols 0-9000 --styles 0 --network tiny.safetensors", 2, "too large"),
        ("interpolate --seeds 1", 2, "two seeds"),
        ("interpolate --seeds 1,2 --out a.gif", 2, ".webp, .webm, .mp4"),
        ("interpolate --seeds 1,2 --out gone/a.webp", 1, "gone/a.webp"),
        ("generate --psi-sweep 0.5,x", 2, "'x' is not a number"),
        ("generate --psi-sweep 0.5,nan", 2, "'nan' is not a number"),
        ("generate --psi-sweep 0.5,.50", 2, "--psi"),
        ("generate --psi-sweep 0.5,1 --psi 1", 2, "exclude each other"),
        ("generate --projected-w w.npz --seeds 1", 2, "--projected-w and --seeds exclude"),
        ("generate --projected-w w.npz --psi-cutoff 1", 2, "--projected-w and --psi-cutoff exclude"),
        ("generate --projected-w gone.npz --network tiny.safetensors", 1, "gone.npz"),
        ("generate --projected-w junk.npz --network tiny.safetensors", 1, "junk.npz: is not an .npz"),
        ("generate --projected-w pickled.npz --network tiny.safetensors", 1, "pickled.npz: is not an .npz"),
        ("generate --projected-w other.npz --network tiny.safetensors", 1, "holds no array 'w'"),
        ("generate --projected-w wide.npz --network tiny.safetensors", 1, "[1, 6, 7]"),
        ("generate --projected-w nan.npz --network tiny.safetensors", 1, "must hold finite floats"),
        ("generate --n 1 --psi-cutoff 7 --network tiny.safetensors", 2, "at most 6"),
    ],
)
def test_bad_input_gets_one_clear_error(
    arguments: str, code: int, said: str, tmp_path: Path, network: str, dcgan: str, invoke: Invoke
) -> None:
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "pickled.npz", w=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", v=np.zeros(3))
    np.savez(tmp_path / "wide.npz", w=np.zeros((1, 6, 7), np.float32))
    np.savez(tmp_path / "nan.npz", w=np.full((1, 6, 5), np.nan, np.float32))
    before = {path.name for path in tmp_path.iterdir()}
    done = invoke(*arguments.split())
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left <= {"runs", "mix"}
