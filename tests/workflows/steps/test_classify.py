"""Labelling pictures: what is counted, and what is said about those without a face."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fergan import load_generator
from fergan.data.faces import detect_faces
from fergan.data.images import write_png


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two faces that the detector finds, and two pictures without any."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    drawn = list(load_generator(None, device="cpu").faces(range(6)))
    found = [face for face, box in zip(drawn, detect_faces(drawn), strict=True) if box is not None]
    for number, face in enumerate(found[:2]):
        write_png(folder / f"face{number}.png", face)
    slope = np.repeat(np.arange(64, dtype=np.uint8)[:, None] * 3, 64, axis=1)
    write_png(folder / "hill0.png", slope)
    write_png(folder / "hill1.png", slope.T)
    return folder


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_without_a_face_are_counted_and_named(
    pictures: Path, tmp_path: Path, invoke: Callable[..., Any]
) -> None:
    done = invoke("classify", "--images", "pictures", "--crop", "detect", "--run", "whole")
    assert done.returncode == 0, done.stderr
    assert "no face was found in 2 pictures" in done.stderr and done.stdout.count("4 faces: ") == 1
    run = tmp_path / "runs" / "whole"
    assert [(row["face"], row["face_found"]) for row in rows(run)] == [
        ("face0.png", "True"), ("face1.png", "True"), ("hill0.png", "False"), ("hill1.png", "False")
    ]  # fmt: skip
    assert invoke("report", "--run", "whole").returncode == 0
    data = json.loads((run / "report.json").read_text())
    assert (data["n"], data["faces_not_found"]) == (4, 2)
    assert any("No face was found" in note for note in data["notes"])
    assert "No face was found" in (run / "report.html").read_text()

    for part in (run / "labels").iterdir():
        part.unlink()  # the export alone tells it too
    assert invoke("report", "--run", "whole").returncode == 0
    assert json.loads((run / "report.json").read_text())["faces_not_found"] == 2


def test_pictures_without_a_face_can_be_left_out(pictures: Path, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    command = ("classify", "--images", "pictures", "--crop", "detect", "--no-face", "skip", "--run", "skip")
    done = invoke(*command)
    assert done.returncode == 0, done.stderr
    assert "2 pictures could not be judged" in done.stderr
    run = tmp_path / "runs" / "skip"
    assert [row["face"] for row in rows(run)] == ["face0.png", "face1.png"]
    assert (run / "skipped.csv").read_text().count("no face was found") == 2
    part = run / "labels" / "part-00000.parquet"
    before = part.stat().st_mtime_ns
    assert invoke(*command).returncode == 0
    assert part.stat().st_mtime_ns == before  # nothing is judged again

    other = invoke(*command[:5], "--run", "skip")  # the other way is another measurement
    assert other.returncode == 2 and "no_face" in other.stderr
    assert invoke("classify", "--images", "pictures", "--no-face", "skip").returncode == 2


def test_a_run_that_looks_for_faces_tells_the_same_as_its_steps(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    assert invoke("run", "--n", "12", "--crop", "detect", "--run", "one").returncode == 0
    assert invoke("generate", "--n", "12", "--run", "two").returncode == 0
    assert invoke("classify", "--crop", "detect", "--run", "two").returncode == 0
    one, two = (json.loads((tmp_path / "runs" / name / "run.json").read_text()) for name in ("one", "two"))
    assert one["labels"] == two["labels"] and "faces_not_found" in one["labels"]


def test_a_name_that_is_not_utf8_goes_through_labels_and_page(
    pictures: Path, tmp_path: Path, invoke: Callable[..., Any]
) -> None:
    (pictures / "face0.png").rename(os.fsdecode(bytes(pictures) + b"/caf\xe9.png"))
    assert invoke("classify", "--images", "pictures", "--run", "odd").returncode == 0
    run = tmp_path / "runs" / "odd"
    assert rows(run)[0]["face"] == r"caf\udce9.png"
    assert invoke("report", "--run", "odd").returncode == 0
    data = json.loads((run / "report.json").read_text("utf-8"))
    assert data["unreadable_pictures"] == 0 and r"caf\udce9.png" in (run / "report.html").read_text("utf-8")
