"""Directions: learnt from a judge, bound to their network, and added to styles exactly."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.classifier import load_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from fergan.reports.html.gallery import command
from fergan.reports.report_json import schema as report_schema
from fergan.stylegan.directions import bundled_directions, read_direction
from fergan.stylegan.generator import load_generator
from fergan.workflows.generators.direction import DirectionOptions, _across, learn_direction
from fergan.workflows.generators.edited import by_strength
from fergan.workflows.generators.features import identity_features
from fergan.workflows.run_folder.folder import RunFolder
from jsonschema import Draft202012Validator

from ..conftest import Invoke

NETWORK = "dcgan-fer2013-48"


@pytest.fixture(scope="module")
def happy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("direction") / "happy.npz"
    learn_direction(DirectionOptions("happy", ["surprise"], network=NETWORK, n=160, tested=8), path)
    return path


def test_a_direction_of_few_faces_raises_what_it_was_learnt_for(happy: Path) -> None:
    found = read_direction(happy)
    assert found.about["space"] == "z" and found.about["kept"] == ["surprise"]
    rows = found.about["measured"]["strengths"]
    assert [row["strength"] for row in rows] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert rows[4]["probability"] > rows[0]["probability"] + 0.1
    assert rows[0]["moved"] == 0 < rows[1]["moved"] < rows[4]["moved"]
    assert found.about["measured"]["features"] in ("efficientnet-lite0", "fer")
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
    assert "was measured at strengths from 0 to 3" in done.stderr
    done = invoke("generate", "--network", NETWORK, "--want", "happy=2", "--edit", edit, "--run", "wanted")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "runs" / "wanted" / "manifest.csv", newline="") as file:
        assert [row["edit"] for row in csv.DictReader(file)] == 2 * ["happy.npz:1.5"]


def test_a_sweep_draws_each_seed_at_each_strength_and_the_report_measures_it(
    happy: Path, tmp_path: Path, invoke: Invoke
) -> None:
    arguments = ["--network", NETWORK, "--n", "10", "--run", "sweep"]
    done = invoke("run", *arguments, "--edit", str(happy), "--edit-sweep", "2,0,2")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "sweep"
    expected = {f"seed{seed:04d}_edit{strength}.png" for seed in range(10) for strength in ("0.00", "2.00")}
    assert {path.name for path in (run / "faces").iterdir()} == expected
    made = json.loads((run / "run.json").read_bytes())["generate"]
    assert (made["edits"], made["edit_sweep"], made["edit_toward"]) == (["happy.npz"], [0, 2], "happy")
    generator, vector = load_generator(NETWORK), read_direction(happy).vector
    plain = generator.generate([7])[0]
    moved = next(generator.draw(generator.styles([7]) + np.float32(2) * vector))
    for name, picture in (("seed0007_edit0.00.png", plain), ("seed0007_edit2.00.png", moved)):
        assert np.array_equal(np.squeeze(read_image(run / "faces" / name)), picture.squeeze())
    report = json.loads((run / "report.json").read_bytes())
    assert not list(Draft202012Validator(report_schema()).iter_errors(report))
    edited = report["edited"]
    assert (edited["toward"], edited["edit"]) == ("happy", "happy.npz")
    first, last = edited["by_strength"]
    assert (first["strength"], first["moved"], last["n"]) == (0, 0, 10)
    assert last["probability"] > first["probability"]
    assert last["moved"] > 0
    with open(run / "labels.csv", newline="") as file:
        p = {row["face"]: float(row["happy"]) for row in csv.DictReader(file)}
    rises = [p[f"seed{seed:04d}_edit2.00.png"] > p[f"seed{seed:04d}_edit0.00.png"] for seed in range(10)]
    assert edited["rising"] == pytest.approx(np.mean(rises))
    page = (run / "report.html").read_text()
    assert "Strengths of an edit" in page
    assert (command(RunFolder(run).generate, 7, strength=2.0) or "").count("--edit happy.npz:2 ") == 1


def test_half_of_broken_faces_lie_outside_those_of_other_seeds() -> None:
    rng = np.random.default_rng(0)
    faces = rng.standard_normal((64, 4))
    far = np.where(np.arange(64)[:, None] % 4 < 2, faces, faces + 100)
    start, end = by_strength({0.0: faces, 2.0: far})
    assert start.moved == 0
    assert start.precision > 0.7
    assert end.precision == pytest.approx(start.precision / 2, abs=0.15)
    assert end.moved == pytest.approx(np.sqrt(4 * 100**2) / 2 / np.linalg.norm(np.diff(faces, axis=0), axis=1).mean())


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
        (["--edit", "joy:1", "--network", "dcgan-fer2013-48"], 2, "no direction of dcgan-fer2013-48 is called 'joy'"),
        (["--edit", "{happy}", "--edit-sweep", "0,x"], 2, "'x' is not a number"),
        (["--edit", "{happy}", "--edit-sweep", "1"], 2, "names one strength"),
        (["--edit", "{happy}:1", "--edit-sweep", "0,1"], 2, "without a strength"),
        (["--edit-sweep", "0,1"], 2, "give one --edit FILE"),
        (["--edit", "{happy}", "--edit-sweep", "0,1", "--psi-sweep", "0.5,1"], 2, "exclude each other"),
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


def test_bundled_directions_raise_their_expression_on_most_seeds() -> None:
    """At each step from 0 to 1 and 2, on seeds that they were not learnt from."""
    network = "stylegan2-faces-64"
    generator, classifier, rising = load_generator(network), load_classifier(), []
    styles = generator.styles(range(50_000, 50_012))
    for label, path in bundled_directions(network).items():
        direction = read_direction(path)
        assert direction.label == label
        assert path.stat().st_size < 20_000
        pictures = [list(generator.draw(styles + direction.offset(strength, generator))) for strength in (0, 1, 2)]
        p = [classifier.predict(prepare_faces(some))[:, classifier.labels.index(label)] for some in pictures]
        rising.append(np.mean((p[0] < p[1]) & (p[1] < p[2])))
    assert len(rising) == 7
    assert np.mean(rising) >= 0.8


def test_a_step_across_a_gradient_does_not_go_along_it() -> None:
    step, *kept = torch.randn(3, 10, 32, generator=torch.Generator().manual_seed(0))
    across = _across(step, kept)
    assert [float((across * gradient).sum()) for gradient in kept] == pytest.approx([0, 0], abs=1e-3)
    assert torch.linalg.norm(across) > 0.9 * torch.linalg.norm(step)


def test_without_the_imagenet_weights_faces_go_by_fernets_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fergan.classify.networks.efficientnet_lite.PACKAGE", "no_such_package")
    assert identity_features("cpu").name == "fer"
