"""A run folder in which a byte was flipped: unnoticed because harmless, redone, or one clear line."""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from fergan.data.images import read_image
from fergan.runtime.errors import DataError
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.labels import read_parts, write_part

from ..conftest import Invoke

RUN = ("run", "--network", "dcgan-fer2013-48", "--n")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock"))


@pytest.mark.slow
def test_any_flipped_byte_is_harmless_redone_or_said(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke(*RUN, "4").returncode == 0
    good, run = tmp_path / "good", tmp_path / "runs" / "default"
    shutil.copytree(run, good)
    labels = RunFolder(good).record.labels.sha256
    rng = random.Random(0)
    for name in [path.relative_to(good) for path in files(good) if path.suffix != ".png"]:
        content = (good / name).read_bytes()
        for place in [rng.choice([0, len(content) - 1]), rng.randrange(len(content))]:
            shutil.rmtree(run)
            shutil.copytree(good, run)
            damaged = bytearray(content)
            damaged[place] ^= 1 << rng.randrange(8)
            (run / name).write_bytes(damaged)
            done = invoke(*RUN, "4")
            assert "Traceback" not in done.stderr, (name, place)
            if done.returncode == 0:
                assert RunFolder(run).record.labels.sha256 == labels, (name, place)
            else:
                assert done.stderr.count("\n") == 1, (name, place, done.stderr)


def test_a_flipped_byte_of_a_picture_is_made_again(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke(*RUN, "2").returncode == 0
    face = tmp_path / "runs/default/faces/seed0001.png"
    content = face.read_bytes()
    for place in (20, 50, len(content) // 2, len(content) - 20):
        damaged = bytearray(content)
        damaged[place] ^= 16
        face.write_bytes(damaged)
        with pytest.raises(DataError):
            read_image(face)
        assert invoke(*RUN, "2").returncode == 0
        assert face.read_bytes() == content


@pytest.mark.parametrize("again", [("classify",), (*RUN, "3")])
def test_a_face_that_was_skipped_is_labelled_when_it_is_whole_again(
    tmp_path: Path, invoke: Invoke, again: tuple[str, ...]
) -> None:
    draw, run = ("generate", *RUN[1:], "3"), tmp_path / "runs/default"
    assert invoke(*RUN, "3").returncode == 0
    labels = (run / "labels.csv").read_bytes()
    face = run / "faces/seed0001.png"
    content = bytearray(face.read_bytes())
    content[len(content) // 2] ^= 1
    face.write_bytes(content)
    told = invoke("classify")
    assert told.returncode == 1 and "1 of 3 faces are missing or damaged; run 'fergan generate'" in told.stderr
    assert invoke(*draw).returncode == 0
    folder = RunFolder(run)
    rows = next(read_parts(folder, 1)).to_pandas()
    rows.loc[1, "skipped"] = "is damaged"  # as an older fergan left it
    write_part(folder, 0, rows)
    assert invoke(*again).returncode == 0
    assert (run / "labels.csv").read_bytes() == labels


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n cut"])
def test_a_picture_that_is_not_whole_is_made_again(tmp_path: Path, invoke: Invoke, damage: bytes) -> None:
    command = ("generate", "--network", "dcgan-fer2013-48", "--n", "3")
    assert invoke(*command).returncode == 0
    face = tmp_path / "runs/default/faces/seed0001.png"
    content = face.read_bytes()
    face.write_bytes(damage)
    assert invoke(*command).returncode == 0
    assert face.read_bytes() == content


def test_a_run_grows_and_force_starts_over(tmp_path: Path, invoke: Invoke) -> None:
    run = tmp_path / "runs" / "default"
    assert invoke(*RUN, "3").returncode == 0
    first = (run / "faces/seed0000.png").stat().st_mtime_ns
    assert invoke(*RUN, "5").returncode == 0
    assert (run / "faces/seed0000.png").stat().st_mtime_ns == first
    assert invoke(*RUN, "5", "--run", "whole").stdout.split()[-1] == RunFolder(run).record.labels.sha256
    (run / "notes.txt").write_text("mine")
    fewer = invoke(*RUN, "2")
    assert fewer.returncode == 2 and "--force" in fewer.stderr and "delet" not in fewer.stderr
    assert invoke(*RUN, "2", "--force").returncode == 0
    assert len(list((run / "faces").iterdir())) == 2 and (run / "notes.txt").exists()


def test_what_cannot_start_clears_nothing(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert invoke(*RUN, "2").returncode == 0
    before = {path: path.read_bytes() for path in files(tmp_path / "runs")}
    for wrong in (
        ("generate", "--network", "dcgan-fer2013-48", "--psi-cutoff", "99"),
        ("generate", "--network", "dcgan-fer2013-48", "--want", "happy=1,nothing=1"),
        (*RUN, "2", "--model", "nosuch"),
        (*RUN, "2", "--pictures", "some"),
        (*RUN, "2", "--engine", "ray"),
        ("classify", "--model", "nosuch.keras"),
    ):
        assert invoke(*wrong, "--force").returncode in (1, 2), wrong
        assert {path: path.read_bytes() for path in files(tmp_path / "runs")} == before, wrong


def test_what_people_said_goes_with_the_faces_and_stays_without(tmp_path: Path, invoke: Invoke) -> None:
    run = tmp_path / "runs" / "default"
    assert invoke(*RUN, "6").returncode == 0
    assert invoke("audit", "labels").returncode == 0
    rows = [f"{name},happy" for name in json.loads((run / "audit.json").read_text())["faces"]]
    (tmp_path / "answers.csv").write_text("\n".join(["face,answer", *rows]))
    assert invoke("audit", "labels", "--answers", "answers.csv").returncode == 0
    assert invoke("classify", "--force").returncode == 0 and invoke("report").returncode == 0
    assert json.loads((run / "report.json").read_text())["audit"]["answered"] == 6
    assert invoke(*RUN, "6", "--psi", "0.5", "--force").returncode == 0
    assert json.loads((run / "report.json").read_text())["audit"] is None
    assert not list(run.glob("audit.*"))


def test_labels_cut_short_are_not_reported_as_all(tmp_path: Path, invoke: Invoke) -> None:
    run = tmp_path / "runs" / "default"
    assert invoke(*RUN, "6").returncode == 0
    shutil.rmtree(run / "labels")
    (run / "labels.csv").write_text("".join((run / "labels.csv").read_text().splitlines(keepends=True)[:4]))
    done = invoke("report")
    assert done.returncode == 1 and "holds 3 faces, run.json says 6" in done.stderr


def test_files_of_others_beside_the_parts_are_neither_counted_nor_deleted(tmp_path: Path, invoke: Invoke) -> None:
    labels = tmp_path / "runs/default/labels"
    labels.mkdir(parents=True)
    theirs = [labels / name for name in ("part-x.parquet", "part-1.parquet", "part-00000.parquet.bak", ".part.tmp")]
    for path in theirs:
        path.write_bytes(b"theirs")
    assert invoke(*RUN, "2").returncode == 0
    assert invoke(*RUN, "2", "--force").returncode == 0
    assert all(path.read_bytes() == b"theirs" for path in theirs)


def test_damaged_answers_of_the_classifier_are_written_anew(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke(*RUN, "2").returncode == 0
    answers = tmp_path / "runs/default/validation.npz"
    content = answers.read_bytes()
    answers.write_bytes(content[: len(content) // 2])
    assert "validation.npz: is damaged" in invoke("report").stderr
    assert invoke(*RUN, "2").returncode == 0
    assert answers.read_bytes() == content


@pytest.mark.parametrize("name", ["run.json", "labels/part-00000.parquet", "validation.npz"])
def test_pipes_in_a_run_folder_are_not_waited_for(tmp_path: Path, invoke: Invoke, name: str) -> None:
    assert invoke(*RUN, "1").returncode == 0
    place = tmp_path / "runs/default" / name
    place.unlink()
    os.mkfifo(place)
    done = invoke("report")
    assert done.returncode == 1 and "is not a regular file" in done.stderr
