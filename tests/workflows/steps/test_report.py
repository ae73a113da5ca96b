"""The report as a command: what it writes, what it reads back, and what it refuses."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from fergan.classify.classifier import load_classifier
from fergan.classify.feature_reference import read_feature_reference, write_feature_reference
from fergan.data.images import read_image, write_png
from fergan.data.labels import FER2013
from fergan.data.readers.fer2013 import FaceSet
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.cli.main import cli
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.pictures import FaceReader

from ..conftest import Invoke


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which 24 faces were made, labelled and reported as the run 'small'; tests add files to it."""
    from fergan.workflows.engines.run import run_all
    from fergan.workflows.steps.generate import GenerateOptions
    from fergan.workflows.steps.judge import ClassifyOptions

    home = tmp_path_factory.mktemp("report")
    run_all(
        RunFolder(home / "runs" / "small"),
        GenerateOptions(range(24), network="dcgan-fer2013-48", device="cpu"),
        ClassifyOptions(device="cpu"),
    )
    return home


def page_data(page: Path) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[0])


def test_the_command_in_the_page_makes_the_same_face(small_run: Path, invoke: Invoke) -> None:
    page = small_run / "runs" / "small" / "report.html"
    words = shlex.split(page_data(page)["command"][7])
    assert words[0] == "fergan"
    done = invoke(*words[1:], folder=small_run)
    assert done.returncode == 0, done.stderr
    again = (small_run / "runs" / "seed7" / "faces" / "seed0007.png").read_bytes()
    assert again == (small_run / "runs" / "small" / "faces" / "seed0007.png").read_bytes()


def test_markdown_goes_to_standard_output_or_to_a_file(small_run: Path, invoke: Invoke) -> None:
    report = json.loads((small_run / "runs" / "small" / "report.json").read_text())
    done = invoke("report", "--run", "small", "--format", "md", folder=small_run)
    assert done.returncode == 0, done.stderr
    top = max(report["counts"], key=report["counts"].get)
    assert done.stdout.startswith("# Facial expressions in 24 faces\n")
    assert f"| {top} | {report['counts'][top]} | " in done.stdout
    invoke("report", "--run", "small", "--format", "md", "--out", "log.md", folder=small_run)
    assert (small_run / "log.md").read_text().startswith("# Facial expressions in 24 faces\n")


def test_labels_are_read_from_parquet_where_there_is_no_csv(small_run: Path, invoke: Invoke) -> None:
    run = small_run / "runs" / "small"
    table, part = run / "labels.csv", run / "labels" / "part-00000.parquet"
    from_csv, kept, whole = json.loads((run / "report.json").read_text()), table.read_bytes(), part.read_bytes()
    table.unlink()
    try:
        assert invoke("report", "--run", "small", folder=small_run).returncode == 0
        from_parts = json.loads((run / "report.json").read_text())
        assert from_parts["counts"] == from_csv["counts"]
        assert from_parts["confidence"]["mean"] == pytest.approx(from_csv["confidence"]["mean"])
        pd.read_parquet(io.BytesIO(whole)).iloc[:20].to_parquet(part, index=False)
        done = invoke("report", "--run", "small", folder=small_run)
        assert done.returncode == 1 and "holds 20 faces of 24" in done.stderr
        part.write_bytes(whole[:-40])
        done = invoke("report", "--run", "small", folder=small_run)
        assert done.returncode == 1 and "damaged" in done.stderr
    finally:
        table.write_bytes(kept)
        part.write_bytes(whole)


def test_a_table_cannot_reach_out_of_the_run_folder(small_run: Path) -> None:
    read = FaceReader(RunFolder(small_run / "runs" / "small"))
    assert read("seed0001.png").shape == (48, 48)
    for name in ("../faces/seed0001.png", str(small_run / "runs" / "small" / "faces" / "seed0001.png")):
        with pytest.raises(DataError, match="not a name of a picture"):
            read(name)


def test_sensitivity_judges_the_same_faces_again(small_run: Path, invoke: Invoke) -> None:
    done = invoke("report", "--run", "small", "--sensitivity", "--sensitivity-faces", "10", folder=small_run)
    assert done.returncode == 0, done.stderr
    run = small_run / "runs" / "small"
    record = json.loads((run / "sensitivity.json").read_text())
    with open(run / "labels.csv", newline="") as file:
        labels = {row["face"]: row["label"] for row in csv.DictReader(file)}
    own = record["variants"][0]
    assert own["crop"] == "none"
    assert [record["labels"][code] for code in own["codes"]] == [labels[face] for face in record["faces"]]
    by_filter = [variant for variant in record["variants"] if variant["crop"] == "none"]
    assert all(variant["codes"] == own["codes"] for variant in by_filter), "48x48 faces are not resampled"
    report = json.loads((run / "report.json").read_text())
    classifier = load_classifier(device="cpu")
    stored = read_feature_reference(classifier.source)
    faces = np.stack([read_image(run / "faces" / face)[:, :, 0] for face in record["faces"]])
    offset = classifier.features(faces)[:, None] - stored.training.means  # [10, 7, 256]
    precision = stored.training.whitener @ stored.training.whitener.T
    by_hand = np.sqrt(np.einsum("nkd,de,nke->nk", offset, precision, offset).min(axis=1))
    assert record["distances"] == pytest.approx(by_hand, rel=1e-3)
    assert report["depth"]["scores"]["distance"]["observed"] == pytest.approx(by_hand.mean(), rel=1e-3)
    preparation = report["preparation"]
    assert preparation["n"] == 10 and {entry["crop"] for entry in preparation["variants"]} == {"none", "ffhq", "detect"}

    (run / "sensitivity.json").write_text(json.dumps({**record, "distances": record["distances"][:9]}))
    done = invoke("report", "--run", "small", folder=small_run)
    assert done.returncode == 1 and "not one number for each face" in done.stderr

    record["model_sha256"] = "0"
    (run / "sensitivity.json").write_text(json.dumps(record))
    done = invoke("report", "--run", "small", folder=small_run)
    assert done.returncode == 1 and "another classifier" in done.stderr
    (run / "sensitivity.json").unlink()


def test_sensitivity_of_a_run_by_a_classifier_of_ones_own(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_classifier(device="cpu").source
    for ending in (".keras", ".json"):
        shutil.copy(source.with_suffix(ending), tmp_path / f"mine{ending}")
    monkeypatch.chdir(tmp_path)
    faces = str(small_run / "runs" / "small" / "faces")
    given = ["--images", faces, "--model", "mine.keras", "--crop", "none", "--device", "cpu"]
    assert CliRunner().invoke(cli, ["classify", *given]).exit_code == 0
    again = ["report", "--sensitivity", "--sensitivity-faces", "3", "--device", "cpu"]
    for wrong, reason in ([], "give its file"), (["--model", "fernet-ensemble"], "another classifier"):
        error = CliRunner().invoke(cli, [*again, *wrong]).exception
        assert isinstance(error, UsageError) and reason in str(error)
    assert CliRunner().invoke(cli, [*again, "--model", "mine.keras"]).exit_code == 0
    assert len(json.loads(Path("runs/default/sensitivity.json").read_text())["faces"]) == 3


def test_few_training_faces_leave_the_feature_reference_away(tmp_path: Path) -> None:
    faces = FaceSet(np.zeros((7, 48, 48), np.uint8), np.arange(7), np.array(["Training"] * 7), FER2013)
    model = tmp_path / "small.keras"
    write_feature_reference(model, load_classifier(device="cpu"), faces, faces)
    assert read_feature_reference(model) is None
    (tmp_path / "small.features.npz").write_bytes(b"junk")
    with pytest.raises(DataError, match="small.features.npz: is damaged"):
        read_feature_reference(model)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_answers_come_back_into_the_report(small_run: Path, invoke: Invoke, tmp_path: Path, kind: str) -> None:
    run = small_run / "runs" / "small"
    done = invoke("audit", "labels", "--run", "small", "--n", "12", folder=small_run)
    assert done.returncode == 0, done.stderr
    page = page_data(run / "audit.html")
    assert len(page["faces"]) == len(page["pictures"]) == 12
    with open(run / "labels.csv", newline="") as file:
        labels = {row["face"]: row["label"] for row in csv.DictReader(file)}
    assert page.keys() == {"run", "digest", "classes", "faces", "pictures"}, "the page must not know the labels"

    answers: list[str | None] = [labels[face] for face in page["faces"]]
    answers[0] = None
    pairs = list(zip(page["faces"], answers, strict=True))[::-1]
    file_ = tmp_path / f"answers.{kind}"
    if kind == "json":
        file_.write_text(json.dumps({"answers": [{"face": face, "answer": answer} for face, answer in pairs]}))
    else:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([("face", "answer"), *((face, answer or "") for face, answer in pairs)])
        file_.write_text(buffer.getvalue())
    done = invoke("audit", "labels", "--run", "small", "--answers", str(file_), folder=small_run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("11 of 12 faces have an answer")
    assert invoke("report", "--run", "small", folder=small_run).returncode == 0
    audit = json.loads((run / "report.json").read_text())["audit"]
    assert audit["answered"] == 11 and audit["agreement"] == pytest.approx(1)

    done = invoke("audit", "labels", "--run", "small", "--n", "13", folder=small_run)
    assert done.returncode == 2 and "another sample" in done.stderr
    (run / "audit.json").unlink()


def test_answers_stay_when_the_run_grows(invoke: Invoke, tmp_path: Path) -> None:
    given = ("run", "--network", "dcgan-fer2013-48", "--n")
    assert invoke(*given, "50").returncode == 0
    assert invoke("audit", "labels", "--n", "40").returncode == 0
    run = tmp_path / "runs/default"
    faces = page_data(run / "audit.html")["faces"]
    (tmp_path / "answers.csv").write_text("\n".join(["face,answer", *(f"{face},happy" for face in faces)]))
    assert invoke("audit", "labels", "--answers", "answers.csv").returncode == 0
    assert invoke("report").returncode == 0
    before = json.loads((run / "report.json").read_text())["audit"]
    done = invoke(*given, "90")
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "report.json").read_text())
    assert report["n"] == 90 and report["audit"] == before
    assert invoke("audit", "labels", "--n", "40").returncode == 0  # the page of the same faces
    assert page_data(run / "audit.html")["faces"] == faces
    assert invoke("audit", "labels", "--answers", "answers.csv").returncode == 0
    assert invoke("audit", "labels", "--n", "41").returncode == 2


def test_wrong_answers_are_refused(small_run: Path, invoke: Invoke, tmp_path: Path) -> None:
    run = small_run / "runs" / "small"
    file = tmp_path / "answers.csv"
    file.write_text("face,answer\n")
    done = invoke("audit", "labels", "--run", "small", "--answers", str(file), folder=small_run)
    assert done.returncode == 2 and "no audit was begun" in done.stderr
    assert invoke("audit", "labels", "--run", "small", "--n", "4", folder=small_run).returncode == 0
    faces = page_data(run / "audit.html")["faces"]
    whole = [f"{face},happy" for face in faces]
    for lines, said in (
        (whole[:3], "has 3 faces, the audit 4"),
        ([*whole[:3], "other.png,happy"], "other.png, which is not in this audit"),
        ([*whole[:3], whole[0]], "twice"),
        ([*whole[:3], f"{faces[3]},bored"], "'bored', which is none of"),
        ([f"{face}," for face in faces], "has 0 answers"),
    ):
        file.write_text("\n".join(["face,answer", *lines]) + "\n")
        done = invoke("audit", "labels", "--run", "small", "--answers", str(file), folder=small_run)
        assert done.returncode == 1 and said in done.stderr
    for content, said in ((b'{"answers": 3}', "neither"), (b"\xff\xfe\x00", "UTF-8"), (b"a,b\n1,2\n", "neither")):
        file.write_bytes(content)
        done = invoke("audit", "labels", "--run", "small", "--answers", str(file), folder=small_run)
        assert done.returncode == 1 and said in done.stderr
    record = json.loads((run / "audit.json").read_text())
    record["faces"] = record["faces"][::-1]
    record["answers"] = ["happy"] * 4
    (run / "audit.json").write_text(json.dumps(record))
    done = invoke("report", "--run", "small", folder=small_run)
    assert done.returncode == 1 and "other labels" in done.stderr
    (run / "audit.json").unlink()


def test_two_runs_on_one_page(small_run: Path, invoke: Invoke, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        write_png(pictures / f"<b>{i}.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    done = invoke("classify", "--images", str(pictures), "--run", "real", folder=small_run)
    assert done.returncode == 0, done.stderr
    done = invoke("report", "--compare", "small", "--compare", "real", folder=small_run)
    assert done.returncode == 0, done.stderr
    data = json.loads((small_run / "comparison.json").read_text())
    assert [entry["n"] for entry in data["samples"]] == [24, 5] and not data["pairs"][0]["paired"]
    page = (small_run / "comparison.html").read_text()
    assert "<b>0" not in page and "only 5" in page
    done = invoke("report", "--compare", "small", "--compare", "real", "--format", "md", folder=small_run)
    assert done.stdout.startswith("# Facial expressions: small / real\n")
    for arguments, said in (
        (["--compare", "small"], "give 2 to 6"),
        (["--compare", "small", "--compare", "small"], "twice"),
        (["--compare", "small", "--compare", "none"], "there is no such run"),
    ):
        done = invoke("report", *arguments, folder=small_run)
        assert done.returncode in (1, 2) and said in done.stderr


def test_a_report_imports_no_torch(small_run: Path) -> None:
    code = (
        "import sys; from fergan.workflows.cli.main import main\n"
        "try: main(['report', '--run', 'small'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print([m for m in ('torch', 'keras', 'tensorflow', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=small_run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
