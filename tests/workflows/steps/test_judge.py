"""Judges of others in runs: what they are shown, what is recorded of it, and warnings that come early."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.classify.bundled import DEFAULT
from fergan.data.image_source import ImageSource
from fergan.data.images import read_image, write_png
from fergan.reports.report_json import schema
from fergan.stylegan.generator import load_generator
from fergan.workflows.run_folder.labels import RESERVED, label_table
from PIL import Image

from ...support.probes import LABELS, probe, said
from ..conftest import Invoke

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


def three(folder: Path) -> list[str]:
    """Three probes that see the same faces differently."""
    spans = {"a": [0, 1], "b": [1, 0], "c": [0, 3]}
    sizes = {"a": 64, "b": 64, "c": 40}
    made = [
        probe(folder / f"{name}.onnx", ["N", 3, sizes[name], sizes[name]], card={"input_range": spans[name]})
        for name in spans
    ]
    return [text for path in made for text in ("--model", str(path))]


def test_several_judges_label_as_each_would_alone(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "faces", [RNG.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(70)])
    judges = three(tmp_path)
    read: list[str] = []
    original = ImageSource.read

    def counted(source: ImageSource, name: str) -> np.ndarray:
        read.append(name)
        return original(source, name)

    monkeypatch.setattr(ImageSource, "read", counted)
    outcome = invoke("classify", "--images", str(folder), *judges, "--run", "all")
    assert outcome.returncode == 0, outcome.stderr
    assert len(read) == 70
    run = tmp_path / "runs/all"
    for number, (name, place) in enumerate((("a", run), ("b", run / "judges/b"), ("c", run / "judges/c"))):
        assert invoke("classify", "--images", str(folder), *judges[2 * number :][:2], "--run", name).returncode == 0
        assert (place / "labels.csv").read_bytes() == (tmp_path / "runs" / name / "labels.csv").read_bytes()
    before = (run / "run.json").read_bytes()
    assert invoke("classify", "--images", str(folder), *judges, "--run", "all").returncode == 0
    assert (run / "run.json").read_bytes() == before  # nothing was left to do

    assert invoke("report", "--run", "all").returncode == 0
    data = json.loads((run / "report.json").read_text())
    pytest.importorskip("jsonschema").validate(data, schema())
    judged = data["judges"]
    assert [judge["name"] for judge in judged["judges"]] == ["a", "b", "c"]
    tables = [pd.read_csv(place / "labels.csv") for place in (run, run / "judges/b", run / "judges/c")]
    same = (tables[0]["label"] == tables[1]["label"]).mean()
    assert judged["pairs"][0]["agreement"]["value"] == pytest.approx(same)
    page = (run / "report.html").read_text()
    assert judged["sentence"].split(";")[0] in page and "Where they differ most" in page
    assert "Cohen's kappa" in invoke("report", "--run", "all", "--format", "md").stdout

    checked = [invoke("check", "--run", "all", "--judge", name, "--reference", "uniform") for name in ("a", "b")]
    alone = [invoke("check", "--run", name, "--reference", "uniform") for name in ("a", "b")]
    assert [one.stdout for one in checked] == [one.stdout for one in alone]
    outcome = invoke("check", "--run", "all", "--judge", "d", "--reference", "uniform")
    assert outcome.returncode == 2 and "no such judge; its judges: a, b, c" in outcome.stderr
    assert invoke("classify", "--images", str(folder), *judges[4:], "--run", "all").returncode == 0  # one by itself
    assert invoke("classify", "--images", str(folder), *judges[:2], "--run", "all", "--force").returncode == 0
    assert not list(run.glob("judges/*/labels*/*")) and "judges" not in json.loads((run / "run.json").read_text())


def test_a_judge_that_fails_costs_its_own_labels(tmp_path: Path, invoke: Invoke) -> None:
    faces = [RNG.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(6)]
    for face in faces:
        face[0, 0, 0] = 10
    faces[2][0, 0, 0] = 77
    folder = pictures(tmp_path / "faces", faces)
    good = probe(tmp_path / "good.onnx", ["N", 3, 64, 64])
    bad = probe(tmp_path / "bad.onnx", ["N", 3, 64, 64], breaks_at=77, card={"input_range": [0, 255]})
    both = ("--model", str(good), "--model", str(bad))
    assert invoke("classify", "--images", str(folder), *both, "--run", "one").returncode == 0
    run = tmp_path / "runs/one"
    lost = pd.read_csv(run / "judges/bad/skipped.csv")
    assert lost["face"].tolist() == ["002.png"] and "NaN or infinity" in lost["reason"][0]
    assert len(pd.read_csv(run / "labels.csv")) == 6 and len(pd.read_csv(run / "judges/bad/labels.csv")) == 5
    assert invoke("report", "--run", "one").returncode == 0
    assert json.loads((run / "report.json").read_text())["judges"]["n"] == 5

    for number in range(6):
        faces[number][0, 0, 0] = 77
        write_png(folder / f"{number:03d}.png", faces[number])
    outcome = invoke("classify", "--images", str(folder), *both, "--run", "two")
    assert outcome.returncode == 0 and "the judge bad failed and has no whole table of labels" in outcome.stderr
    assert invoke("report", "--run", "two").returncode == 0
    data = json.loads((tmp_path / "runs/two/report.json").read_text())
    assert data["n"] == 6 and data["judges"] is None
    assert any("bad has no whole table" in note for note in data["notes"])
    outcome = invoke("classify", "--images", str(folder), *both[2:], *both[:2], "--run", "three")  # the first one fails
    assert outcome.returncode == 1 and "NaN or infinity" in outcome.stderr
    assert invoke("report", "--run", "three").returncode == 0
    outcome = invoke("classify", "--images", str(folder), *both[2:], "--run", "four")
    assert outcome.returncode == 1 and "NaN or infinity" in outcome.stderr


def test_judges_that_do_not_go_together_are_refused(tmp_path: Path, invoke: Invoke) -> None:
    folder = pictures(tmp_path / "faces", [RNG.integers(0, 256, (64, 64, 3), np.uint8)])
    one = probe(tmp_path / "one.onnx", ["N", 3, 64, 64])
    (tmp_path / "other").mkdir()
    twin = probe(tmp_path / "other/one.onnx", ["N", 3, 64, 64], card={"labels": ["a", "b", "c", "Anger"]})
    for arguments, words in (
        (("--model", str(one), "--model", str(one)), "two judges are called one; name them apart: --model NAME=FILE"),
        (("--model", str(one), "--model", f"x={twin}"), "have not two labels in common"),
        (("--model", str(one), "--model", "fernet", "--input-range", "0,1"), "--labels and --input-range are of one"),
        (("--model", str(one), "--model", f"..={twin}"), "is not a name for a judge"),
    ):
        outcome = invoke("classify", "--images", str(folder), *arguments, "--run", "no")
        assert outcome.returncode == 2 and words in outcome.stderr, outcome.stderr
    assert not (tmp_path / "runs/no/run.json").exists()

    both = ("--model", str(one), "--model", f"x={one}")
    assert invoke("classify", "--images", str(folder), *both, "--run", "yes").returncode == 0
    card = json.loads(one.with_suffix(".json").read_text())
    one.with_suffix(".json").write_text(json.dumps({**card, "labels": [*LABELS[1:], LABELS[0]]}))
    outcome = invoke("classify", "--images", str(folder), *both, "--run", "yes")
    assert outcome.returncode == 2 and "labels was" in outcome.stderr


def test_a_label_called_as_a_column_of_the_table_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    folder = pictures(tmp_path / "faces", [RNG.integers(0, 256, (64, 64, 3), np.uint8)])
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64], card={"labels": None})
    for name in ("seed", "label", "psi", "face_found", "skipped"):
        given = ("classify", "--images", str(folder), "--model", str(model), "--labels", f"happy,{name},sad,angry")
        done = invoke(*given)
        assert done.returncode == 2 and f"its label {name} is also a column" in done.stderr, done.stderr
    table = label_table(["a"], [0], np.float32([[1]]), ["x"], psi=[1.0], found=np.array([True]))
    assert {*table.columns} == {"x", *RESERVED}


def test_run_with_two_judges(tmp_path: Path, invoke: Invoke) -> None:
    judges = three(tmp_path)[:4]
    assert invoke("run", "--n", "70", *judges, "--run", "here", "--device", "cpu").returncode == 0
    outcome = invoke("run", "--n", "70", *judges, "--run", "there", "--device", "cpu", "--workers", "2")
    assert outcome.returncode == 0, outcome.stderr
    for name in ("labels.csv", "judges/b/labels.csv"):
        here, there = (tmp_path / "runs" / run / name for run in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
    assert json.loads((tmp_path / "runs/there/report.json").read_text())["judges"]["n"] == 70
    part = tmp_path / "runs/here/judges/b/labels/part-00001.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:100])
    assert invoke("run", "--n", "70", *judges, "--run", "here", "--device", "cpu").returncode == 0
    assert part.read_bytes() == whole


def test_a_run_whose_first_judge_fails_tells_what_the_other_said(tmp_path: Path, invoke: Invoke) -> None:
    first_pixel = float(load_generator("stylegan2-faces-64", device="cpu").generate([0])[0, 0, 0, 0])
    bad = probe(tmp_path / "bad.onnx", ["N", 3, 64, 64], breaks_at=first_pixel, card={"input_range": [0, 255]})
    given = ("run", "--n", "1", "--network", "stylegan2-faces-64", "--device", "cpu")
    outcome = invoke(*given, "--model", str(bad), "--model", "fernet", "--run", "half")
    assert outcome.returncode == 0, outcome.stderr
    assert "the judge bad failed" in outcome.stderr and "report in" in outcome.stdout
    assert "sha256" not in outcome.stdout
    assert len(pd.read_csv(tmp_path / "runs/half/judges/fernet/labels.csv")) == 1


def test_evaluate_shows_a_foreign_network_its_own_faces(tmp_path: Path, invoke: Invoke) -> None:
    for number in range(6):
        folder = tmp_path / "data/validation" / LABELS[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{number}.png", RNG.integers(0, 256, (90, 90, 3), np.uint8))
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64])
    given = ("evaluate", "--data", "data", "--model", str(model), "--out", "own", "--views", "ten")
    outcome = invoke(*given)
    assert outcome.returncode == 0, outcome.stderr
    assert "sees faces in its own 64x64 pixels" in outcome.stderr
    with np.load(tmp_path / "own/answers.npz") as answers:
        found, labels = answers["probabilities"].astype(float), answers["label_names"].tolist()
    files = sorted((tmp_path / "data").rglob("*.png"))
    faces = [np.asarray(Image.open(file).resize((64, 64), Image.Resampling.BICUBIC)) for file in files]
    expected = said(np.stack(faces) / 255)[:, [LABELS.index(label) for label in labels]]
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=2e-3)
    assert invoke(*given[:-3], "small", "--view", "48").returncode == 0
    with np.load(tmp_path / "small/answers.npz") as answers:
        assert np.abs(answers["probabilities"] - found).max() > 0.01


def test_annotate_with_two_judges(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("generate", "--n", "2", "--device", "cpu").returncode == 0
    model = probe(tmp_path / "net.onnx", ["N", 3, 64, 64])
    given = ("annotate", "--source", str(tmp_path / "runs/default/faces"), "--detector", "haar")
    outcome = invoke(*given, "--model", DEFAULT, "--model", f"mine={model}", "--csv", "two.csv")
    assert outcome.returncode == 0 and "sees faces in its own 64x64" in outcome.stderr
    assert invoke(*given, "--csv", "one.csv").returncode == 0
    assert invoke(*given, "--model", str(model), "--csv", "mine.csv").returncode == 0
    two, one, mine = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("two", "one", "mine"))
    assert len(two) > 0 and list(two.columns[: len(one.columns)]) == list(one.columns)
    pd.testing.assert_frame_equal(two[one.columns], one)
    for column in ("label", "confidence", *LABELS):
        assert two[f"mine:{column}"].tolist() == mine[column].tolist()
    outcome = invoke(*given, "--model", "fernet", "--model", "fernet", "--csv", "no.csv")
    assert outcome.returncode == 2 and "two models are called 'fernet'" in outcome.stderr
