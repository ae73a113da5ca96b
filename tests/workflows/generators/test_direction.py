"""Directions: learnt from a judge, bound to their network, and added to styles exactly."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fergan.data.images import read_image
from fergan.stylegan.directions import read_direction
from fergan.stylegan.generator import load_generator
from fergan.workflows.generators.direction import DirectionOptions, learn_direction

from ..conftest import Invoke

NETWORK = "dcgan-fer2013-48"


@pytest.fixture(scope="module")
def happy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("direction") / "happy.npz"
    learn_direction(DirectionOptions("happy", ["sad"], network=NETWORK, n=400), path)
    return path


def test_a_direction_of_few_faces_raises_what_it_was_learnt_for(happy: Path) -> None:
    found = read_direction(happy)
    assert found.about["space"] == "z"
    rows = found.about["measured"]["strengths"]
    assert [row["strength"] for row in rows] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert rows[4]["probability"] > rows[0]["probability"] + 0.1
    assert rows[0]["moved"] == 0 < rows[1]["moved"] < rows[4]["moved"]
    assert all(0 <= row["precision"] <= 1 and sum(row["shares"].values()) == pytest.approx(1) for row in rows)
    assert read_image(happy.with_suffix(".png")).shape[:2] == (8 * 48, 7 * 48)


def test_faces_are_moved_by_the_direction_and_the_run_says_so(happy: Path, tmp_path: Path, invoke: Invoke) -> None:
    edit = f"{happy}:1.5"
    done = invoke("generate", "--network", NETWORK, "--n", "3", "--edit", edit)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    generator, direction = load_generator(NETWORK), read_direction(happy)
    drawn = list(generator.draw(generator.styles(range(3)) + np.float32(1.5) * direction.vector))
    faces = tmp_path / "runs" / "default" / "faces"
    for seed, picture in enumerate(drawn):
        assert np.array_equal(np.squeeze(read_image(faces / f"seed{seed:04d}.png")), picture.squeeze())
    made = json.loads((faces.parent / "run.json").read_bytes())["generate"]
    assert made["edits"] == ["happy.npz:1.5"]
    assert made["edits_sha256"] == [direction.sha256]
    assert invoke("generate", "--network", NETWORK, "--n", "3").returncode == 2
    done = invoke("generate", "--network", NETWORK, "--n", "2", "--edit", f"{happy}:9", "--run", "far")
    assert done.returncode == 0
    assert "was learnt for strengths from 0 to 3" in done.stderr
    done = invoke("generate", "--network", NETWORK, "--want", "happy=2", "--edit", edit, "--run", "wanted")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "runs" / "wanted" / "manifest.csv", newline="") as file:
        assert [row["edit"] for row in csv.DictReader(file)] == 2 * ["happy.npz:1.5"]


def test_a_film_goes_from_a_face_to_the_face_moved(happy: Path, tmp_path: Path, invoke: Invoke) -> None:
    arguments = ["interpolate", "--network", NETWORK, "--seeds", "5", "--frames", "4", "--edit", f"{happy}:2"]
    done = invoke(*arguments, "--out", "film.webp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 frames")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--edit", "{happy}:much"], 2, "happy.npz:2"),
        (["--edit", "{happy}"], 2, "happy.npz:2"),
        (["--edit", "nothing.npz:1"], 1, "cannot be read"),
        (["--edit", "{happy}:1", "--network", "stylegan2-faces-64"], 1, "is a direction of dcgan-fer2013-48"),
    ],
)
def test_bad_edits_are_one_line(happy: Path, invoke: Invoke, arguments: list[str], code: int, said: str) -> None:
    done = invoke("generate", "--n", "2", *(text.format(happy=happy) for text in arguments))
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_judge_that_does_not_know_the_label_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("direction", "--toward", "contempt", "--network", NETWORK)
    assert done.returncode == 2
    assert "does not know this label" in done.stderr
    assert invoke("direction", "--toward", "sad", "--keep", "sad", "--network", NETWORK).returncode == 2
    assert invoke("direction", "--toward", "sad", "--out", "sad.txt", "--network", NETWORK).returncode == 2
    (tmp_path / "mine.png").write_bytes(b"a picture of my own")
    done = invoke("direction", "--toward", "sad", "--out", "mine.npz", "--network", NETWORK)
    assert done.returncode == 2 and "mine.png: exists already" in done.stderr
    (tmp_path / "broken.npz").write_bytes(b"PK")
    assert invoke("generate", "--n", "1", "--edit", "broken.npz:1").returncode == 1


@pytest.mark.slow
def test_the_wanted_expression_rises_with_the_strength_on_most_seeds(tmp_path: Path) -> None:
    """On 85 of 100 as measured, for the bundled network and happy; not on so many for expressions it never draws."""
    found = learn_direction(DirectionOptions("happy"), tmp_path / "happy.npz")
    assert found.about["measured"]["rising"] >= 0.8
    rows = found.about["measured"]["strengths"]
    assert rows[4]["shares"]["happy"] > 0.9 > rows[0]["shares"]["happy"]
