"""Judges of others in runs: what they are shown, what is recorded of it, and warnings that come early."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.data.images import read_image, write_png
from PIL import Image

from ..classify.probes import LABELS, probe, said
from .conftest import Invoke

RNG = np.random.default_rng(0)


def pictures(folder: Path, faces: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, face in enumerate(faces):
        write_png(folder / f"{number:03d}.png", face)
    return folder


def test_classify_shows_a_foreign_network_its_own_faces(tmp_path: Path, invoke: Invoke) -> None:
    faces = [RNG.integers(0, 256, (100, 120, 3), np.uint8) for _ in range(3)]
    folder = pictures(tmp_path / "faces", faces)
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64])
    outcome = invoke("classify", "--images", str(folder), "--model", str(model), "--crop", "ffhq", "--run", "own")
    assert outcome.returncode == 0, outcome.stderr
    assert "net.onnx: sees faces in its own 64x64 pixels, RGB" in outcome.stderr
    box = (10 + 14, 19, 10 + 86, 91)  # the face box of an FFHQ-aligned picture, in the centre square
    pixels = [
        np.asarray(Image.fromarray(face).resize((64, 64), Image.Resampling.BICUBIC, box=box)) / 255 for face in faces
    ]
    table = pd.read_csv(tmp_path / "runs/own/labels.csv")
    np.testing.assert_allclose(table[list(LABELS)].to_numpy(), said(np.stack(pixels)), atol=1e-6)
    record = json.loads((tmp_path / "runs/own/run.json").read_text())["classify"]
    assert {key: record[key] for key in ("view", "size", "colour", "crop", "input_range", "outputs")} == {
        "view": "own",
        "size": 64,
        "colour": "rgb",
        "crop": "ffhq",
        "input_range": [0.0, 1.0],
        "outputs": "logits",
    }
    again = ("classify", "--images", str(folder), "--model", str(model), "--crop", "ffhq", "--run", "own")
    assert invoke(*again).returncode == 0
    outcome = invoke(*again, "--view", "48")
    assert outcome.returncode == 2 and '"own", is now null' in outcome.stderr
    report = invoke("report", "--run", "own", "--sensitivity", "--model", str(model))
    assert report.returncode == 0, report.stderr
    assert json.loads((tmp_path / "runs/own/report.json").read_text())["preparation"]["n"] == 3


def test_run_gives_the_labels_of_generate_and_classify(tmp_path: Path, invoke: Invoke) -> None:
    model = probe(tmp_path / "net.onnx", ["N", 3, 40, 40], card={"input_range": [[-1, 1], [0, 1], [-2, 2]]})
    assert invoke("run", "--n", "5", "--model", str(model), "--run", "once", "--device", "cpu").returncode == 0
    assert invoke("run", "--n", "5", "--model", str(model), "--run", "once", "--device", "cpu").returncode == 0
    assert invoke("generate", "--n", "5", "--run", "steps", "--device", "cpu").returncode == 0
    assert invoke("classify", "--model", str(model), "--run", "steps", "--device", "cpu").returncode == 0
    once, steps = ((tmp_path / "runs" / name / "labels.csv").read_bytes() for name in ("once", "steps"))
    assert once == steps
    face = Image.fromarray(read_image(tmp_path / "runs/steps/faces/seed0000.png"))
    pixels = np.asarray(face.resize((40, 40), Image.Resampling.BICUBIC))[None] / 255 * [2, 1, 4] + [-1, 0, -2]
    row = pd.read_csv(tmp_path / "runs/steps/labels.csv")[list(LABELS)].to_numpy()[:1]
    np.testing.assert_allclose(row, said(pixels), atol=1e-6)


def test_one_label_for_all_faces_is_warned_of(tmp_path: Path, invoke: Invoke) -> None:
    faces = [RNG.integers(0, 100, (64, 64, 3), np.uint8) for _ in range(40)]
    for face in faces:
        face[-1, -1, -1] = 255
    folder = pictures(tmp_path / "faces", faces)
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64], card={"input_range": [0, 255]})
    outcome = invoke("classify", "--images", str(folder), "--model", str(model), "--run", "a")
    assert "warning: net calls 40 of the first 40 faces sad, with 100 % certainty" in outcome.stderr
    assert "black and white as 0 and 255" in outcome.stderr
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64])
    outcome = invoke("classify", "--images", str(folder), "--model", str(model), "--run", "b")
    assert outcome.returncode == 0 and "warning" not in outcome.stderr


@pytest.mark.parametrize("command", ["classify", "annotate", "evaluate", "export"])
def test_no_command_guesses_an_input_range(command: str, tmp_path: Path, invoke: Invoke) -> None:
    folder = pictures(tmp_path / "faces", [RNG.integers(0, 256, (64, 64, 3), np.uint8)])
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64], card={"input_range": None})
    (tmp_path / "faces/happy").mkdir()
    (tmp_path / "faces/000.png").rename(tmp_path / "faces/happy/0.png")
    arguments = {
        "classify": ["--images", str(folder)],
        "annotate": ["--source", str(folder), "--csv", "faces.csv"],
        "evaluate": ["--data", str(folder)],
        "export": ["--format", "onnx", "--out", "made"],
    }
    outcome = invoke(command, "--model", str(model), *arguments[command])
    assert outcome.returncode == 1
    assert "net.onnx: nothing says what input range it takes" in outcome.stderr
    assert "imagenet" in outcome.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("run.json"))
