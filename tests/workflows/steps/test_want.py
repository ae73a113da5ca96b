"""Wanted faces: the same ones whoever finds them and however often they are interrupted, and no others."""

import csv
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.bundled import DEFAULT
from fergan.classify.classifier import load_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from fergan.data.labels import NAMED
from fergan.reports.html.gallery import command
from fergan.reports.report_json import schema
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator
from fergan.stylegan.directions import Direction, read_direction, save_direction
from fergan.stylegan.generator import load_generator
from fergan.workflows.engines.options import EngineOptions
from fergan.workflows.engines.run import run_all
from fergan.workflows.run_folder.faces import FacePlan
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.selection import Scanned, Selection
from fergan.workflows.steps import want as step
from fergan.workflows.steps.classify import classify
from fergan.workflows.steps.generate import GenerateOptions
from fergan.workflows.steps.judge import ClassifyOptions
from fergan.workflows.steps.want import WantOptions, generate_wanted, shortfall
from jsonschema import Draft202012Validator

from ..conftest import Invoke

OPTIONS = GenerateOptions((), network="dcgan-fer2013-48")
WANT = WantOptions({"sad": 12, "happy": 20})


def rows(run: RunFolder) -> list[dict[str, str]]:
    with open(run.manifest, newline="") as file:
        return list(csv.DictReader(file))


def contents(run: RunFolder) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in run.faces.iterdir()}
    return {**files, "manifest": run.manifest.read_bytes(), "selection": run.selection.read_bytes()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished search; not to be changed by tests."""
    run = RunFolder(tmp_path_factory.mktemp("want") / "run")
    with run.lock():
        generate_wanted(run, OPTIONS, WANT)
    return run


def test_only_wanted_faces_are_written_and_classify_says_the_same_of_them(found: RunFolder, tmp_path: Path) -> None:
    kept = rows(found)
    assert [row["want"] for row in kept].count("sad") == 12
    assert [row["want"] for row in kept].count("happy") == 20
    assert {path.name for path in found.faces.iterdir()} == {row["face"] for row in kept}
    again = RunFolder(tmp_path / "run")
    with again.lock():
        classify(again, ClassifyOptions(images=str(found.faces)))
    with open(again.labels_csv, newline="") as file:
        judged = {row["face"]: (row["label"], row["confidence"]) for row in csv.DictReader(file)}
    assert judged == {row["face"]: (row["label_a"], row["confidence_a"]) for row in kept}
    assert found.generate is not None
    assert found.generate.n == 32
    selected = found.record.selected
    assert selected.seeds_seen == int(kept[-1]["seed"]) + 1
    assert sum(rate.k for rate in selected.rates.values()) >= 32
    assert selected.agreement["sad"].k == sum(row["label_b"] == "sad" == row["want"] for row in kept)
    assert selected.judges_are_related  # the default was taught by the best, or is part of it


def interrupting(monkeypatch: pytest.MonkeyPatch, shard: int) -> Callable[[int], None]:
    """Searches by shards of so many seeds, all saved; what is returned says after how many more Ctrl-C comes."""
    monkeypatch.setattr(step, "_SAVED", -1.0)
    monkeypatch.setattr(step, "SHARD", shard)
    whole, left = step.Searcher.__call__, 0

    def stops(self: step.Searcher, task: step.SearchTask) -> Scanned:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return whole(self, task)

    def stop_after(tasks: int) -> None:
        nonlocal left
        left = tasks

    monkeypatch.setattr(step.Searcher, "__call__", stops)
    return stop_after


def test_a_search_that_is_interrupted_anywhere_ends_with_the_same_bytes(
    found: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after = interrupting(monkeypatch, 16)
    run = RunFolder(tmp_path / "run")
    for calls in range(1, 100):
        stop_after(1 + calls % 2)
        run = RunFolder(tmp_path / "run")
        with run.lock():
            try:
                generate_wanted(run, OPTIONS, WANT)
                break
            except KeyboardInterrupt:
                assert run.generate is not None
                assert run.generate.n == 0
                next(run.faces.glob("*.png")).unlink()
    assert calls > 1
    assert contents(run) == contents(found)
    run.selection.write_bytes(run.selection.read_bytes().replace(b'"seen"', b'"sEen"'))
    stop_after(100)
    with run.lock():
        generate_wanted(run, OPTIONS, WANT)  # a damaged state is made again
    assert contents(run) == contents(found)


@pytest.mark.parametrize(
    "engine",
    [
        EngineOptions(),
        EngineOptions(workers=2),
        pytest.param(
            EngineOptions("ray", 2),
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
            ],
        ),
    ],
)
def test_every_engine_finds_the_same(found: RunFolder, tmp_path: Path, engine: EngineOptions) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        run_all(run, OPTIONS, ClassifyOptions(), engine=engine, want=WANT)
    assert contents(run) == contents(found)
    assert run.record.selected == found.record.selected
    assert run.labels_csv.read_text().count("\n") == 33


def test_a_call_that_finds_all_done_leaves_the_time_that_it_took(tmp_path: Path, invoke: Invoke) -> None:
    command = ("generate", "--want", "happy=2", "--network", "dcgan-fer2013-48")
    assert invoke(*command).returncode == 0
    record = (tmp_path / "runs/default/run.json").read_bytes()
    assert b"generate_seconds" in record
    assert invoke(*command).returncode == 0
    assert (tmp_path / "runs/default/run.json").read_bytes() == record


def test_how_seeds_are_cut_into_pieces_makes_no_difference() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(np.array(["a", "b", "c", None], object), 500, p=[0.6, 0.1, 0.2, 0.1]).tolist()
    sure = random.random(500).astype(np.float32).tolist()
    answers = dict(enumerate(zip(labels, sure, strict=True)))
    second = dict.fromkeys(range(500), ("b", 0.5))
    ends = []
    for size in (1, 7, 64, 500):
        selection = Selection({"a": 30, "b": 10})
        for start in range(0, 500, size):
            selection.add(Scanned(start, min(start + size, 500), answers, second))
        ends.append((selection.to_json(), selection.manifest(), selection.summary(500, {"a"}, {"b"})))
    assert all(end == ends[0] for end in ends)
    kept = selection.kept
    assert [one.seed for one in kept if one.label == "a"] == [i for i, name in enumerate(labels) if name == "a"][:30]
    assert selection.counts["c"] == labels[: selection.seen].count("c")


def test_a_conditional_generator_draws_each_wanted_label_in_its_class(tmp_path: Path, invoke: Invoke) -> None:
    torch.manual_seed(0)
    network = DCGANGenerator(DCGANConfig(z_dim=6, base_channels=4, c_dim=7)).eval()
    save_generator(tmp_path / "cond.safetensors", network, metadata={"classes": list(NAMED["fer2013"])})
    options = GenerateOptions((), network=str(tmp_path / "cond.safetensors"))
    noise = load_generator(options.network).generate(range(3), class_index=0)
    classifier = load_classifier()
    label = classifier.labels[int(classifier.predict(prepare_faces(noise))[0].argmax())]  # of any noise
    other = "happy" if label != "happy" else "sad"
    run = RunFolder(tmp_path / "run")
    with run.lock():
        generate_wanted(run, options, WantOptions({label: 3, other: 2}, max_seeds=20))
    kept, selected = rows(run), run.record.selected
    order = [name for name in classifier.labels if name in (label, other)]
    assert [int(row["seed"]) % 2 for row in kept] == 3 * [order.index(label)]
    assert selected.rates[label].n == 3  # its class is not drawn any more
    assert (selected.rates[other].k, selected.rates[other].n) == (0, 10)
    assert "0 of 2 found in 10 seeds" in (shortfall(run) or "")
    assert run.generate is not None
    assert [face.class_index for face in FacePlan.of(run.generate)] == 3 * [NAMED["fer2013"].index(label)]
    index = NAMED["fer2013"].index(label)
    drawn = load_generator(options.network).generate([int(row["seed"]) for row in kept], class_index=index)
    for row, picture in zip(kept, drawn, strict=True):
        assert np.array_equal(np.squeeze(read_image(run.faces / row["face"])), picture.squeeze())
    assert f"--class {index}" in (command(run.generate, int(kept[0]["seed"])) or "")


@pytest.fixture(scope="module")
def directions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directions at random towards two expressions."""
    generator, random = load_generator(OPTIONS.network), np.random.default_rng(0)
    found = {label: tmp_path_factory.mktemp("steer") / f"{label}.npz" for label in ("happy", "sad")}
    for label, path in found.items():
        vector = 0.3 * random.standard_normal(generator.w_dim).astype(np.float32)
        save_direction(
            path, Direction(vector, label, generator.name, generator.sha256, "fernet", "", (0.0, 3.0), about={})
        )
    return found


def test_what_drawing_does_not_find_is_steered_and_the_list_says_by_what(
    directions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steer = tuple(read_direction(path) for path in directions.values())
    options, want = replace(OPTIONS, steer=steer, steer_after=4), WantOptions({"happy": 9, "sad": 5, "neutral": 3})
    run, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "other")
    with run.lock():
        run_all(run, options, ClassifyOptions(), want=want)
    stop_after = interrupting(monkeypatch, 8)
    stop_after(1)
    with other.lock():
        with pytest.raises(KeyboardInterrupt):
            generate_wanted(other, options, want)
        stop_after(1000)
        generate_wanted(other, options, want)
    assert contents(other) == contents(run)
    kept, generator, made = rows(run), load_generator(OPTIONS.network), run.generate
    assert made is not None
    assert (made.steer, made.steer_after) == (("happy.npz", "sad.npz", ""), 4)
    assert {row["want"] for row in kept if row["edit"]} == {"happy", "sad"}
    for row in kept:
        seed, styles = int(row["seed"]), generator.styles([int(row["seed"])])
        edit = row["edit"]
        if seed < 4:
            assert not edit
        elif (seed - 4) % 3 < 2:  # the third label has no direction
            assert edit == f"{row['want']}.npz:{1 + (seed - 4) // 3 % 3}"
            vector = read_direction(directions[row["want"]]).vector
            styles = styles + np.float32(edit.rpartition(":")[2]) * vector
            assert f" --edit {edit} " in (command(run.generate, seed) or "")
        picture = read_image(run.faces / row["face"])
        assert np.array_equal(np.squeeze(picture), next(generator.draw(styles)).squeeze())
    selected = run.record.selected
    assert selected.rates["sad"].n == 4 + sum((seed - 4) % 3 == 2 for seed in range(4, selected.seeds_seen))
    for label in ("happy", "sad"):
        assert selected.steered[label].kept == sum(row["want"] == label and bool(row["edit"]) for row in kept)
    report = json.loads((run.path / "report.json").read_bytes())
    assert not list(Draft202012Validator(schema()).iter_errors(report))
    assert report["selected"]["steered"]["sad"]["kept"] == selected.steered["sad"].kept
    assert "moved along directions" in (run.path / "report.html").read_text()


def test_a_search_in_vain_says_what_it_would_take_and_goes_on(tmp_path: Path, invoke: Invoke) -> None:
    arguments = ["generate", "--want", "happy=2,disgust=3", "--network", "dcgan-fer2013-48", "--min-confidence", "0.5"]
    done = invoke(*arguments, "--max-seeds", "40")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "disgust: 0 of 3 found in 40 seeds" in done.stderr
    assert "would take" in done.stderr
    run = RunFolder(tmp_path / "runs" / "default")
    assert len(list(run.faces.iterdir())) == 2
    before = run.selection.read_bytes()
    assert invoke(*arguments, "--max-seeds", "40").returncode == 1
    assert run.selection.read_bytes() == before
    assert invoke(*arguments, "--max-seeds", "100").returncode == 1
    assert json.loads(run.selection.read_bytes())["seen"] == 100
    assert "100 seeds" in (shortfall(RunFolder(run.path)) or "")
    done = invoke("generate", "--n", "40", "--network", "dcgan-fer2013-48")
    assert done.returncode == 2
    assert 'want was "disgust=3,happy=2", is now null' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--want", "joy"], "write happy=50"),
        (["--want", "happy=0"], "give 1 or more"),
        (["--want", "happy=-3"], "give 1 or more"),
        (["--want", "happy=1,Happy=2"], "twice"),
        (["--want", "contempt=1"], f"{DEFAULT} does not know this label, only angry"),
        (["--want", "happy=1", "--seeds", "0-9"], "exclude each other"),
        (["--want", "happy=1", "--n", "9"], "exclude each other"),
        (["--want", "happy=9", "--max-seeds", "8"], "fewer than the 9 faces"),
        (["--want", "happy=1", "--second-judge", DEFAULT], "cannot check it"),
        (["--want", "happy=1", "--judge", "nobody"], "nobody"),
        (["--judge", "fernet"], "goes with --want"),
        (["--steer"], "goes with --want"),
        (["--want", "happy=1", "--direction", "a.npz"], "goes with --steer"),
        (["--want", "happy=1", "--steer-after", "0"], "goes with --steer"),
        (["--want", "happy=1", "--steer", "--edit", "a.npz:1"], "exclude each other"),
        (
            ["--want", "happy=1", "--steer", "--max-seeds", "9", "--network", "stylegan2-faces-64"],
            "the search ends before that",
        ),
        (["--want", "happy=1", "--steer", "--network", "dcgan-fer2013-48"], "no directions come with this network"),
        (["--want", "happy=1", "--edit-sweep", "0,1"], "exclude each other"),
        (["--crop", "ffhq"], "goes with --want"),
    ],
)
def test_bad_wishes_are_one_line(tmp_path: Path, invoke: Invoke, arguments: list[str], said: str) -> None:
    done = invoke("generate", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs" / "default" / "run.json").exists()


def test_evaluate_takes_wanted_faces_as_test_data_and_calls_them_synthetic(
    found: RunFolder, tmp_path: Path, invoke: Invoke
) -> None:
    arguments = ["--data", str(found.path), "--no-explain", "--out", "out"]
    done = invoke("evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "accuracy 100.00 %" in done.stdout
    assert "on 32 synthetic faces" in done.stdout
    assert f"{DEFAULT} itself chose" in done.stderr
    data = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert not list(Draft202012Validator(schema("evaluation")).iter_errors(data))
    assert [(row["label"], row["support"]) for row in data["classes"]] == [("happy", 20), ("sad", 12)]
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert page.count("synthetic") > 5
    assert "run (synthetic): 32\N{NO-BREAK SPACE}faces" in invoke("leaderboard", "out").stdout
    (copy := tmp_path / "copy").mkdir()
    (copy / "manifest.csv").write_bytes(found.manifest.read_bytes())
    (copy / "faces").mkdir()
    first = sorted(found.faces.iterdir())[0]
    (copy / "faces" / first.name).write_bytes(first.read_bytes())
    done = invoke("evaluate", "--data", "copy")
    assert done.returncode == 1
    assert "31 of 32 faces" in done.stderr


def test_a_plan_knows_nothing_of_wanted_faces(invoke: Invoke) -> None:
    assert invoke("run", "--want", "happy=1", "--plan").returncode == 2
