"""``fergan audit data`` from files to table, page and lists."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from fergan.data.audit.audit import COLUMNS
from fergan.data.images import write_png
from fergan.runtime.files import npz_bytes

from ..cli.test_main import imported_by
from ..conftest import Invoke

LABELS = ("angry", "happy")


def folder(path: Path) -> Path:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 48, 48), dtype=np.uint8)
    for number, pixels in enumerate(pictures):
        place = path / ("train" if number < 8 else "test") / LABELS[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        write_png(place / f"{number}.png", pixels)
    write_png(path / "test" / "angry" / "again<b>.png", pictures[1])  # a leak, with another label
    return path


def test_audit_writes_findings_page_and_lists(tmp_path: Path, invoke: Invoke) -> None:
    folder(tmp_path / "faces")
    rows = 13
    probabilities = np.full((rows, 2), 0.5)
    pd.DataFrame(probabilities, columns=["Anger", "happy"]).to_csv(tmp_path / "p.csv", index=False)
    done = invoke("audit", "data", "--data", "faces", "--drop-leaks", "--predictions", "p.csv", "--out", "result")
    assert done.returncode == 0, done.stderr
    assert "1 pair of the same pixels: 1 across splits, 1 with different labels" in done.stdout
    findings = pd.read_csv(tmp_path / "result" / "findings.csv")
    assert tuple(findings.columns) == COLUMNS and findings["kind"].tolist() == ["exact_duplicate"]
    page = (tmp_path / "result" / "audit.html").read_text()
    assert "again&lt;b&gt;.png" in page and "again<b>" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)  # it loads nothing
    exclude = pd.read_csv(tmp_path / "result" / "exclude.csv")
    assert exclude["name"].tolist() == ["train/happy/1.png"]

    (tmp_path / "labels.csv").write_text("name,label\ntest/angry/again<b>.png,happy\n")
    lists = ("--exclude", "result/exclude.csv", "--relabel", "labels.csv")
    done = invoke("audit", "data", "--data", "faces", *lists, "--out", "clean")
    assert done.returncode == 0, done.stderr
    assert "12 faces, 0 of them exact copies" in done.stdout and "across splits" in done.stdout
    changes = pd.read_csv(tmp_path / "clean" / "relabelled.csv")
    assert changes[["from", "to"]].to_numpy().tolist() == [["angry", "happy"]]


def test_bad_input_is_one_clear_error(tmp_path: Path, invoke: Invoke) -> None:
    folder(tmp_path / "faces")
    (tmp_path / "p.csv").write_text("angry\n0.5\n")
    (tmp_path / "cut.npz").write_bytes(npz_bytes(probabilities=np.zeros((13, 2)), labels=np.array(LABELS))[:99])
    (tmp_path / "empty.npz").write_bytes(b"")
    for arguments, code, said in (
        ("--data gone", 1, "gone"),
        ("--data faces --split official", 2, "no official split"),
        ("--data faces --predictions p.csv", 1, "p.csv"),
        ("--data faces --predictions cut.npz", 1, "cut.npz: is damaged"),
        ("--data faces --predictions empty.npz", 1, "empty.npz: is damaged"),
        ("--data faces --predict --predictions p.csv", 2, "exclude each other"),
        ("--data faces --votes p.csv", 2, "fer2013.csv"),
        ("--data faces --classes bored", 2, "bored"),
        ("--data faces --model x", 2, "--predict"),
    ):
        done = invoke("audit", "data", *arguments.split())
        assert done.returncode == code, (arguments, done.stderr)
        assert said in done.stderr and "Traceback" not in done.stderr


def test_help_is_light_and_has_an_example(tmp_path: Path, invoke: Invoke) -> None:
    assert "Example: fergan audit data" in invoke("audit", "data", "--help").stdout
    assert not imported_by(["audit", "data", "--help"], tmp_path) & {"torch", "keras", "pandas", "numpy", "scipy"}
