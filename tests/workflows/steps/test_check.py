"""``fergan check`` as a pipeline meets it."""

import json
from pathlib import Path

import fergan
import numpy as np
import pytest
from fergan.data.labels import FER2013
from fergan.data.run_record.settings import ClassifyRecord
from fergan.reports.statistics.differences.references import FER2013_TRAINING
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.labels import label_table, merge_parts, write_part

from ..conftest import Invoke

VALIDATION = Path(fergan.__file__).parent / "classify/weights/fernet.validation.npz"
FER2013_SHARES = [n / sum(FER2013_TRAINING) for n in FER2013_TRAINING]
HAPPY = [0.05, 0.01, 0.04, 0.55, 0.10, 0.05, 0.20]


def make_run(path: Path, shares: list[float], n: int, seed: int = 0, validation: bool = False) -> None:
    """A classified run: answers of the bundled classifier to validation faces of the given expressions."""
    stored = np.load(VALIDATION)
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(stored["labels"] == k)) for k in rng.choice(7, n, p=shares)]
    write_run(path, stored["probabilities"][rows], validation=validation)


def write_run(
    path: Path,
    probabilities: np.ndarray,
    first: int = 0,
    validation: bool = False,
    labels: tuple[str, ...] = tuple(FER2013),
    psi: list[float] | None = None,
) -> None:
    """A classified run of seeds from `first` on with these answers; with `psi` each seed is drawn at all of them."""
    run, n = RunFolder(path), len(probabilities)
    run.claim(ClassifyRecord(labels=labels, sha256="0", crop="none", other={"filter": "box"}, n=n))
    times = 1 if psi is None else len(psi)
    seeds = [seed for seed in range(first, first + n // times) for _ in range(times)]
    at = None if psi is None else psi * (n // times)
    names = [f"seed{seed:04d}-{place % times}.png" for place, seed in enumerate(seeds)]
    write_part(run, 0, label_table(names, seeds, probabilities, labels, psi=at))
    merge_parts(run, 1)
    if validation:
        run.validation.write_bytes(VALIDATION.read_bytes())


def test_the_verdict_is_the_exit_code(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path / "runs/a", HAPPY, 800)
    make_run(tmp_path / "runs/same", HAPPY, 800, seed=1)
    make_run(tmp_path / "runs/few", HAPPY, 30, seed=2)
    drifted = invoke("check", "--run", "a", "--reference", "uniform")
    assert drifted.returncode == 3 and drifted.stdout.startswith("drifted: total variation 0.")
    within = invoke("check", "--run", "a", "--reference", "same", "--max-tv", "0.15", "--strict")
    assert within.returncode == 0 and within.stdout.startswith("within: ") and "the run same" in within.stdout
    few = ["check", "--run", "few", "--reference", "same"]
    undecided = invoke(*few)
    assert undecided.returncode == 0 and undecided.stdout.startswith("undecided: ")
    assert invoke(*few, "--strict").returncode == 4


def test_corrected_shares_are_nearer_to_a_reference_of_true_expressions(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path / "runs/a", HAPPY, 3000, validation=True)
    rows = "\n".join(f"{label},{share}" for label, share in zip(FER2013, HAPPY, strict=True))
    (tmp_path / "truth.csv").write_text(f"label,share\n{rows}\n")
    command = ["check", "--run", "a", "--reference", "truth.csv", "--max-tv", "0.03"]
    assert invoke(*command).returncode == 3
    corrected = invoke(*command, "--corrected")
    assert corrected.returncode == 0 and "corrected shares of 3000 faces" in corrected.stdout
    between = invoke("check", "--run", "a", "--reference", "a", "--corrected", "--max-tv", "0.1")
    assert between.returncode == 0 and between.stdout.startswith("same: total variation 0.000")


def test_labels_are_compared_with_the_labels_of_a_reference(tmp_path: Path, invoke: Invoke) -> None:
    """Faces with exactly FER2013's expressions: no drift, but against these expressions as they are."""
    make_run(tmp_path / "runs/a", FER2013_SHARES, 3000, validation=True)
    rows = "\n".join(f"{label},{share}" for label, share in zip(FER2013, FER2013_SHARES, strict=True))
    (tmp_path / "truth.csv").write_text(f"label,share\n{rows}\n")
    command = ("check", "--run", "a", "--max-tv", "0.02", "--reference")
    labelled, raw = invoke(*command, "fer2013"), invoke(*command, "truth.csv")
    assert labelled.returncode == 0 and "FER2013 Training as this classifier would label it" in labelled.stdout
    assert raw.returncode == 3 and "truth.csv (taken as shares of labels)" in raw.stdout
    assert "truth.csv (taken as shares of expressions)" in invoke(*command, "truth.csv", "--corrected").stdout


@pytest.mark.parametrize("options", [[], ["--corrected"]])
def test_a_sweep_counts_its_seeds_and_equal_seeds_are_pairs(tmp_path: Path, invoke: Invoke, options: list[str]) -> None:
    """Each seed at four truncations that change nothing: the interval is that of one, with labels and corrected."""
    make_run(tmp_path / "runs/once", HAPPY, 400, validation=True)
    stored, rng = np.load(VALIDATION), np.random.default_rng(0)
    rows = [rng.choice(np.flatnonzero(stored["labels"] == k)) for k in rng.choice(7, 400, p=HAPPY)]
    answers, psi = stored["probabilities"][rows], [0.4, 0.6, 0.8, 1.0]
    write_run(tmp_path / "runs/swept", np.repeat(answers, 4, axis=0), validation=True, psi=psi)

    def interval(run: str, *reference: str) -> tuple[float, float]:
        done = invoke("check", "--run", run, "--reference", *reference, "--format", "json", *options)
        found = json.loads(done.stdout)["total_variation"]
        return found["low"], found["high"]

    assert interval("swept", "uniform") == pytest.approx(interval("once", "uniform"), abs=0.02)
    # against the same seeds once: no seed differs, and nothing is left of the noise of 400 faces
    assert interval("swept", "once")[1] < 0.001
    make_run(tmp_path / "runs/copy", HAPPY, 400, validation=True)
    done = invoke("check", "--run", "once", "--reference", "copy", "--max-tv", "0", "--strict", *options)
    assert done.returncode == 0 and done.stdout.startswith("same: total variation 0.000"), done.stderr


def test_a_refuted_correction_decides_nothing(tmp_path: Path, invoke: Invoke) -> None:
    """Labels of two generators that no shares explain: ACC's distance is 0, and says nothing."""
    stored = np.load(VALIDATION)
    given, rng = stored["probabilities"].argmax(axis=1), np.random.default_rng(0)
    for name, first in (("a", 0), ("b", 1000)):
        labels = np.repeat(np.arange(7), [1, 0, 0, 318, 16, 0, 165])
        rows = [rng.choice(np.flatnonzero(given == k)) for k in labels]
        write_run(tmp_path / "runs" / name, stored["probabilities"][rows], first, validation=True)
    for arguments in (["--reference", "b", "--max-tv", "0.3"], ["--reference", "fer2013", "--max-tv", "0.05"]):
        command = ["check", "--run", "a", *arguments]
        assert invoke(*command).returncode == (0 if "b" in arguments else 3), "labels can be compared"
        for strict in ([], ["--strict"]):
            outcome = invoke(*command, "--corrected", *strict)
            assert outcome.returncode == 4 and outcome.stdout.startswith("refuted: "), arguments
        assert "check without --corrected" in outcome.stdout
        assert "interval" not in outcome.stdout and "0." not in outcome.stdout.split("; allowed")[0]
        data = json.loads(invoke(*command, "--corrected", "--format", "json").stdout)
        assert data["total_variation"] is None
        assert data["verdict"] == data["label_shift"]["run"]["verdict"] == "refuted"
    assert invoke("check", "--run", "a", "--reference", "a", "--corrected").stdout.startswith("same: ")


@pytest.mark.parametrize("options", [[], ["--sequential", "looks.json"]])
def test_of_eight_expressions_one_has_no_validation_faces(tmp_path: Path, invoke: Invoke, options: list[str]) -> None:
    """Labels are then compared with the reference as it is, and the check says so."""
    stored, rng = np.load(VALIDATION), np.random.default_rng(0)
    eight = np.pad(stored["probabilities"], ((0, 0), (0, 1)))
    write_run(tmp_path / "runs/a", eight[rng.choice(len(eight), 300)], labels=(*FER2013, "contempt"))
    np.savez(tmp_path / "runs/a/validation.npz", name="PublicTest", labels=stored["labels"], probabilities=eight)
    done = invoke("check", "--run", "a", "--reference", "uniform", "--max-tv", "0.5", *options)
    assert done.returncode == 0 and "from equal shares" in done.stdout, done.stderr
    assert "the validation faces show no contempt, so labels are compared with" in done.stdout + done.stderr


def test_a_run_without_a_csv_is_checked_by_its_parts(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs/small", HAPPY, 800)
    monkeypatch.setattr("fergan.workflows.run_folder.labels.MOST_CSV_ROWS", 500)
    make_run(tmp_path / "runs/large", HAPPY, 800)
    assert not (tmp_path / "runs/large/labels.csv").exists()
    small, large = (invoke("check", "--run", run, "--reference", "fer2013") for run in ("small", "large"))
    assert large.returncode == small.returncode and large.stdout == small.stdout != ""
    both = invoke("check", "--run", "large", "--reference", "small", "--max-tv", "0.2")
    assert both.returncode == 0 and "total variation 0.000" in both.stdout


def test_what_cannot_be_checked_says_why(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path / "runs/a", HAPPY, 20)
    (tmp_path / "odd.csv").write_text("label,share\nhappy,1\n")
    for arguments, code, words in (
        (["--run", "none", "--reference", "uniform"], 1, "there is no such run"),
        (["--run", "a", "--reference", "nothing"], 2, "is neither a file nor a run"),
        (["--run", "a", "--reference", "odd.csv"], 1, "has no row for"),
        (["--run", "a", "--reference", "uniform", "--corrected"], 1, "without --corrected"),
        (["--run", "a", "--reference", "uniform", "--max-tv", "10"], 2, "--max-tv"),
        (["--run", "a"], 2, "--reference"),
    ):
        outcome = invoke("check", *arguments)
        assert outcome.returncode == code and words in outcome.stderr, arguments


def test_runs_that_were_judged_differently_are_named(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path / "runs/a", HAPPY, 50)
    make_run(tmp_path / "runs/b", HAPPY, 50)
    path = tmp_path / "runs/b/run.json"
    record = json.loads(path.read_text())
    record["classify"]["crop"] = "ffhq"
    path.write_text(json.dumps(record))
    assert "different classifiers, crops" in invoke("check", "--run", "a", "--reference", "b").stderr
    record["classify"] |= {"crop": "none", "input_range": [-1.0, 1.0]}
    path.write_text(json.dumps(record))
    outcome = invoke("check", "--run", "a", "--reference", "b")
    assert outcome.returncode == 2 and "with the input range -1,1, the run with 0,255" in outcome.stderr
    record["classify"]["sha256"] = "f" * 64
    path.write_text(json.dumps(record))
    assert "(input ranges 0,255 and -1,1)" in invoke("check", "--run", "a", "--reference", "b").stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'"'])
def test_a_broken_csv_is_bad_data(tmp_path: Path, invoke: Invoke, content: bytes) -> None:
    make_run(tmp_path / "runs/a", HAPPY, 20)
    (tmp_path / "x.csv").write_bytes(content)
    outcome = invoke("check", "--run", "a", "--reference", "x.csv")
    assert outcome.returncode == 1 and "x.csv" in outcome.stderr
