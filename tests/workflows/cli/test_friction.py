"""Small things that a new user tries first."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from fergan.classify.bundled import DEFAULT
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image, write_png
from PIL import Image

Invoke = Callable[..., Any]
FACE = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)


def test_one_picture_is_judged_and_the_report_opened(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "face.png", FACE)
    done = invoke("classify", "--images", "face.png", "--run", "one")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/one/labels.csv").read_text().splitlines()[1].startswith("face.png,")
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", lambda page: opened.append(page) or 0)
    done = invoke("report", "--run", "one", "--open")
    assert done.returncode == 0 and "1 face: " in done.stdout and opened == ["runs/one/report.html"]
    assert invoke("report", "--run", "one", "--open", "--format", "md").returncode == 2


def test_pictures_are_prepared_from_paths_and_pillow_images(tmp_path: Path) -> None:
    write_png(tmp_path / "face.png", FACE)
    expected = prepare_faces([read_image(tmp_path / "face.png")])
    for given in (tmp_path / "face.png", Image.fromarray(FACE), [str(tmp_path / "face.png")]):
        np.testing.assert_array_equal(prepare_faces(given), expected)


def test_models_are_listed_without_torch() -> None:
    code = (
        "import sys; from fergan.workflows.generators.catalogue import list_models; "
        "print(list_models()[0].resolution, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["64", "False"]


@pytest.mark.parametrize("command", ["generate", "run"])
def test_more_faces_than_there_are_seeds_are_refused(invoke: Invoke, command: str) -> None:
    done = invoke(command, "--n", "5000000000")
    assert done.returncode == 2 and "--n" in done.stderr and "damaged" not in done.stderr


def test_inspect_knows_names(invoke: Invoke) -> None:
    done = invoke("inspect", "dcgan-fer2013-48")
    assert done.returncode == 0 and "48 x 48, gray" in done.stdout
    assert "fergan models fernet" in invoke("inspect", "fernet").stderr


@pytest.mark.parametrize(
    "command",
    [
        ("calibrate", "--data", "x", "--out", "there.keras"),
        ("ensemble", "--model", "fernet", "--out", "there.keras"),
        ("export", "--format", "keras", "--out", "."),
    ],
)
def test_no_model_is_replaced_unasked(tmp_path: Path, invoke: Invoke, command: tuple[str, ...]) -> None:
    for name in ("there.keras", f"{DEFAULT}.keras"):
        (tmp_path / name).write_bytes(b"mine")
    done = invoke(*command)
    assert done.returncode == 2 and "exists already; give another name, or --force to replace it" in done.stderr
    assert (tmp_path / "there.keras").read_bytes() == b"mine"
