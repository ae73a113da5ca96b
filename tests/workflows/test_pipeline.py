"""The main job: latents to report, by three commands or one, killed or not, with the same result."""

import csv
import json
import math
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fergan.classify.classifier import load_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.labels import label_table, merge_parts, write_part
from fergan.workflows.run_folder.seeds import format_seeds, parse_seeds

from .conftest import COMMAND, ENVIRONMENT, Fergan, Invoke


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson 1927, written out; for n > 50 modified for k of 1 to 3 (Brown, Cai & DasGupta 2001)."""
    z = 1.959963984540054
    center, half = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    few = {1: 0.051293294, 2: 0.355361510, 3: 0.817691447}  # 5 % quantiles of gamma distributions
    return few.get(k, center - half) / (n if k in few else n + z * z), (center + half) / (n + z * z)


def test_three_commands_give_faces_labels_and_a_report_that_agree(three_commands: Path) -> None:
    names = [f"seed{seed:04d}.png" for seed in range(500)]
    assert sorted(path.name for path in (three_commands / "faces").iterdir()) == names

    with open(three_commands / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["face"] for row in rows] == names
    assert [row["seed"] for row in rows] == [str(seed) for seed in range(500)]
    classes = list(rows[0])[4:]
    for row in rows:
        shares = {name: float(row[name]) for name in classes}
        assert math.isclose(sum(shares.values()), 1, abs_tol=1e-4)
        assert row["label"] == max(shares, key=shares.__getitem__)
        assert float(row["confidence"]) == shares[row["label"]]

    report = json.loads((three_commands / "report.json").read_text())
    counts = Counter(row["label"] for row in rows)
    assert {label: n for label, n in report["counts"].items() if n} == counts
    assert set(report["counts"]) == set(classes)
    for label in classes:
        low, high = wilson(counts[label], 500)
        share = report["shares"][label]
        assert share["share"] == pytest.approx(counts[label] / 500)
        assert (share["low"], share["high"]) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    assert report["settings"]["generate"]["seeds"] == "0-499"
    page = (three_commands / "report.html").read_bytes()
    assert len(page) < 5e6
    assert b"http://" not in page.replace(b"http://www.w3.org", b"")


def test_run_does_the_same_in_one_process(three_commands: Path, tmp_path: Path, fergan: Fergan) -> None:
    done = fergan(tmp_path, "run", "--n", "100", "--run", "one")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "one"
    assert (three_commands / "labels.csv").read_bytes().startswith((run / "labels.csv").read_bytes())
    faces = contents(run / "faces")
    assert len(faces) == 100
    assert all((three_commands / "faces" / name).read_bytes() == data for name, data in faces.items())
    assert (run / "report.html").exists()

    (run / "faces" / "seed0042.png").unlink()  # whatever is missing is made again, and nothing else
    kept = (run / "faces" / "seed0041.png").stat().st_mtime_ns
    parts = {path: path.stat().st_mtime_ns for path in (run / "labels").iterdir()}
    assert fergan(tmp_path, "run", "--n", "100", "--run", "one").returncode == 0
    assert contents(run / "faces") == faces
    assert (run / "faces" / "seed0041.png").stat().st_mtime_ns == kept
    assert {path: path.stat().st_mtime_ns for path in (run / "labels").iterdir()} == parts


@pytest.mark.slow
def test_generate_killed_five_times_ends_with_the_same_bytes(three_commands: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "generate", "--n", "500"]
    faces = tmp_path / "runs" / "default" / "faces"
    for threshold in sorted(random.Random(0).sample(range(1, 450), 5)):
        process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        while process.poll() is None and sum(1 for _ in faces.glob("*.png")) < threshold:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"
        assert 0 < sum(1 for _ in faces.glob("*.png")) < 500
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    assert contents(faces) == contents(three_commands / "faces")


def test_other_settings_are_refused_by_name(three_commands: Path, invoke: Invoke) -> None:
    home = three_commands.parent.parent
    done = invoke("generate", "--n", "500", "--psi", "0.25", folder=home)
    assert done.returncode == 2
    assert re.search(r"truncation_psi was [\d.]+, is now 0\.25", done.stderr)
    assert done.stderr.count("\n") == 1
    done = invoke("classify", "--crop", "ffhq", folder=home)
    assert done.returncode == 2
    assert 'crop was "none", is now "ffhq"' in done.stderr


def test_a_run_folder_of_another_version_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    folder = tmp_path / "runs" / "default"
    folder.mkdir(parents=True)
    for text, said in (('{"format": 99}', "format 99"), ("{", "damaged")):
        (folder / "run.json").write_text(text)
        done = invoke("generate", "--n", "3")
        assert done.returncode == 1
        assert "run.json" in done.stderr
        assert said in done.stderr


def test_two_processes_do_not_share_a_run(tmp_path: Path, fergan: Fergan) -> None:
    run = RunFolder(tmp_path / "busy")
    with run.lock():
        done = fergan(tmp_path, "generate", "--n", "3", "--run", str(tmp_path / "busy"))
    assert done.returncode == 2
    assert "another fergan process" in done.stderr


def test_foreign_pictures_are_judged_and_bad_ones_counted(three_commands: Path, tmp_path: Path, invoke: Invoke) -> None:
    pictures = tmp_path / "pictures" / "<b>&deep"
    pictures.mkdir(parents=True)
    for seed in (3, 4, 5):
        source = three_commands / "faces" / f"seed{seed:04d}.png"
        (pictures / f"face {seed}.png").write_bytes(source.read_bytes())
    (pictures / "cut.png").write_bytes((pictures / "face 3.png").read_bytes()[:200])
    (pictures / "empty.jpg").write_bytes(b"")
    done = invoke("classify", "--images", "pictures", "--run", "mine")
    assert done.returncode == 0, done.stderr
    assert "2 pictures could not be judged" in done.stderr
    run = tmp_path / "runs" / "mine"
    with open(run / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["face"] for row in rows] == [f"<b>&deep/face {seed}.png" for seed in (3, 4, 5)]
    faces = prepare_faces(np.stack([read_image(pictures / f"face {seed}.png") for seed in (3, 4, 5)]))
    expected = load_classifier().predict(faces).max(axis=1)
    assert np.allclose([float(row["confidence"]) for row in rows], expected, atol=1e-6)

    assert invoke("report", "--run", "mine").returncode == 0
    report = json.loads((run / "report.json").read_text())
    assert (report["n"], report["n_skipped"]) == (3, 2)
    page = (run / "report.html").read_text()
    assert "<b>&deep" not in page
    assert "empty.jpg" in page

    (pictures / "face 3.png").write_bytes((three_commands / "faces" / "seed0006.png").read_bytes())
    done = invoke("classify", "--images", "pictures", "--run", "mine")  # another picture under an old name
    assert done.returncode == 2
    assert "pictures_sha256 was" in done.stderr


def test_seeds_as_people_write_them() -> None:
    assert parse_seeds("0,1,4-6") == [0, 1, 4, 5, 6]
    assert parse_seeds("7, 3-4 ,3") == [3, 4, 7]
    assert format_seeds([0, 1, 4, 5, 6]) == "0-1,4-6"
    assert parse_seeds(format_seeds([1, 3, 4, 9])) == [1, 3, 4, 9]


def test_labels_survive_odd_names(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    names = ["NA", "1", 'a,"b', "lost.png"]
    table = label_table(names, None, np.array([[0.25, 0.75]] * 3, np.float32), ["x", "NA"], {"lost.png": "cut, off"})
    write_part(run, 0, table)
    assert merge_parts(run, 1) == 1
    from fergan.workflows.run_folder.labels import read_labels_csv

    labels, lost = read_labels_csv(run)
    assert labels["face"].tolist() == names[:3]
    assert labels["label"].tolist() == ["NA"] * 3
    assert lost is not None
    assert lost.to_dict("records") == [{"face": "lost.png", "reason": "cut, off"}]
