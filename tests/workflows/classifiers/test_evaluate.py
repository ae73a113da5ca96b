"""``fergan evaluate``, ``leaderboard`` and ``calibrate`` on a small network and a few made-up faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fergan.reports.report_json import schema

NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
PER_SPLIT = {"Training": 40, "PublicTest": 40, "PrivateTest": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``faces.csv``: bright (happy) and dark (sad) noise; two test-on-PublicTest rows are in Training too."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    rows, held = [], []
    for usage, n in PER_SPLIT.items():
        for i in range(n):
            label = (3, 4)[i % 2]
            coarse = rng.integers(0, 100, (12, 12)).repeat(4, axis=0).repeat(4, axis=1)
            face = (coarse + rng.integers(0, 40, (48, 48)) + (100 if label == 3 else 0)).astype(np.uint8)
            if usage == "Training":
                held.append(face)
            if usage == "PublicTest" and i < 2:
                face = held[i]  # the same pixels
            elif usage == "PublicTest" and i < 4:
                face = (held[i][:, ::-1] * 0.9 + 5).astype(np.uint8)  # mirrored and darker
            if i in (10, 11):
                label = 7 - label  # labelled wrong
            rows.append(f"{label},{' '.join(map(str, face.ravel()))},{usage}")
    (folder / "faces.csv").write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    _save(folder / "good.keras", 0.02)
    _save(folder / "sure.keras", 0.2)
    _save(folder / "bad.keras", -0.02)
    (folder / "log.csv").write_text(
        "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1,0.4,1.2\n1,0.9,0.4,0.6,1\n2,0.95,0.2,0.55,1.1\n"
    )
    return folder


def _save(path: Path, strength: float) -> None:
    """A network that says happy for bright faces and sad for dark ones."""
    from fergan.classify import save_classifier
    from fergan.classify.backend import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    maps = keras.layers.Conv2D(2, 3, padding="same", activation="relu")(pixels)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(4)(maps))
    head = keras.layers.Dense(7, activation="softmax")
    model = keras.Model(pixels, head(pooled))
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1, -1
    model.layers[1].set_weights([kernel, np.array([0, 255], np.float32)])
    weight = np.zeros((2, 7), np.float32)
    weight[0, 3], weight[1, 4] = strength, strength
    bias = np.zeros(7, np.float32)
    bias[3], bias[4] = 1 - 119 * strength, 1 - 136 * strength
    head.set_weights([weight, bias])
    save_classifier(model, path, {"labels": list(NAMES), "short_run": strength < 0, "scores": {"epochs": 3}})


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> dict:
    from fergan.workflows.classifiers.evaluate import EvaluateOptions, run_evaluation

    options = EvaluateOptions([str(folder / "faces.csv")], str(folder / "good.keras"), views="flip")
    data, files = run_evaluation(options, folder / "out" / "good")
    assert sorted(path.name for path in files) == ["answers.npz", "evaluation.html", "evaluation.json"]
    return data


def test_what_is_written_fits_the_schema_and_the_answers(folder: Path, evaluated: dict) -> None:
    out = folder / "out" / "good"
    assert json.loads((out / "evaluation.json").read_text()) == evaluated
    pytest.importorskip("jsonschema").validate(evaluated, schema("evaluation"))
    assert evaluated["data"]["split"] == "PublicTest" and evaluated["views"]["single"]["correct"] == 38
    with np.load(out / "answers.npz") as answers:
        assert (answers["predicted"] == answers["labels"]).sum() == 38
        assert answers["probabilities_flip"].shape == (40, 7) and answers["rows"].tolist() == list(range(40, 80))
    assert [row["row"] for row in evaluated["mistakes"]] in ([50, 51], [51, 50])
    page = (out / "evaluation.html").read_text()
    assert "What it looks at" in page and "There are no heat maps" not in page


def test_leaked_faces_are_found_and_scored_without(evaluated: dict) -> None:
    leaks = evaluated["leaks"]
    assert (leaks["rows"], leaks["exact"], leaks["near"]) == (4, 2, 2)
    assert leaks["without"]["single"]["n"] == 36 and leaks["without"]["single"]["correct"] == 34


def test_evaluations_and_the_data_audit_count_leaks_alike(tmp_path: Path) -> None:
    """Pictures of one gray show no face, so they leak none; both leave them out."""
    from fergan.data.audit.audit import audit
    from fergan.data.face_set import FaceSet
    from fergan.workflows.classifiers.measure import leak_scores

    images = np.random.default_rng(0).integers(0, 256, (6, 48, 48)).astype(np.uint8)
    images[3], images[[2, 5]] = images[0], 0
    usage = np.array(["Training"] * 3 + ["PublicTest"] * 3)
    faces = FaceSet(images, np.zeros(6, np.int64), usage, ("happy", "sad"))
    answers = type("Some", (), {"rows": np.arange(3, 6), "labels": np.zeros(3, np.int64)})()
    found = leak_scores(faces, answers, {}, True)
    assert (found["rows"], found["exact"]) == (1, 1)
    assert int(audit(faces).findings["leak"].fillna(False).sum()) == 1


def test_learning_curves_and_the_gap(evaluated: dict) -> None:
    learning = evaluated["learning"]
    assert learning["best_epoch"] == 2 and learning["gap"] == pytest.approx(0.3)
    assert learning["loss"]["validation"] == [1.2, 1, 1.1]
    assert evaluated["training_sample"]["n"] == 40 and evaluated["training_sample"]["correct"] == 38


def test_the_command_notes_test_faces(invoke, folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(folder / "faces.csv"), "--model", str(folder / "good.keras"), "--no-explain"]
    done = invoke("evaluate", *arguments, "--on", "test", "--out", "o")
    assert done.returncode == 0 and "looked at once" in done.stderr and "accuracy 100.00 %" in done.stdout
    data = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert data["data"]["split"] == "PrivateTest"
    # the temperature comes from the validation rows, and is judged on the test rows
    assert not data["calibration"]["temperature"]["cross_fitted"]
    refused = invoke("evaluate", *arguments, "--on", "holdout")
    assert refused.returncode == 2 and "PrivateTest, PublicTest, Training" in refused.stderr
    unknown = invoke("evaluate", *arguments, "--labels", "a,b,c,d,e,f,g")
    assert unknown.returncode == 2 and "none in common" in unknown.stderr
    typo = invoke("evaluate", *arguments, "--labels", "angry,disgust,fear,hapy,sad,surprise,neutral")
    assert typo.returncode == 2 and "'hapy'" in typo.stderr


def test_model_and_data_meet_on_common_classes(folder: Path, tmp_path: Path) -> None:
    from fergan.workflows.classifiers.evaluate import EvaluateOptions, run_evaluation

    labels = ("sad", "disgust", "fear", "happy", "contempt", "surprise", "neutral")  # its 'sad' is now 'contempt'
    options = EvaluateOptions(
        [str(folder / "faces.csv")], str(folder / "good.keras"), labels=labels, without_leaks=False, explain=False
    )
    data, _ = run_evaluation(options, tmp_path)
    assert data["data"]["labels"] == ["disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert any("no contempt" in note for note in data["notes"])
    assert not data["leaks"]["looked"] and data["leaks"]["reason"] == "not asked for"


def test_a_leaderboard_compares_face_by_face(invoke, folder: Path, evaluated: dict) -> None:
    for name in ("bad", "sure"):
        arguments = ["--data", str(folder / "faces.csv"), "--model", str(folder / f"{name}.keras"), "--no-explain"]
        assert invoke("evaluate", *arguments, "--out", str(folder / "out" / name)).returncode == 0
    found = invoke("leaderboard", str(folder / "out"), "--format", "json")
    (table,) = json.loads(found.stdout)["tables"]
    assert [row["name"] for row in table["rows"]] == ["good", "sure", "bad"]
    good, sure, bad = table["rows"]
    assert (bad["better"], bad["worse"]) == (2, 38) and bad["p_value"] < 1e-6 and bad["short_run"]
    assert sure["p_value"] == 1 and good["several"] is not None and sure["several"] is None
    shown = invoke("leaderboard", str(folder / "out"))
    assert shown.returncode == 0 and "3\u00a0epochs, short" in shown.stdout
    (folder / "out" / "bad" / "evaluation.json").write_text("{}")
    broken = invoke("leaderboard", str(folder / "out"))
    assert broken.returncode == 1 and "is not an evaluation" in broken.stderr
    (folder / "out" / "sure" / "answers.npz").write_bytes(b"")
    broken = invoke("leaderboard", str(folder / "out" / "sure"))
    assert broken.returncode == 1 and "answers.npz: is damaged" in broken.stderr


def test_calibration_keeps_the_labels_and_lowers_the_loss(invoke, folder: Path, tmp_path: Path) -> None:
    from fergan.classify import load_classifier
    from fergan.data.readers import read_faces

    source, data = folder / "sure.keras", str(folder / "faces.csv")
    done = invoke("calibrate", "--model", str(source), "--data", data, "--out", "calm.keras")
    assert done.returncode == 0, done.stderr
    faces = read_faces(data).split("PublicTest")
    before, after = load_classifier(source, "cpu"), load_classifier(tmp_path / "calm.keras", "cpu")
    old, new = before.predict(faces.images), after.predict(faces.images)
    assert np.array_equal(old.argmax(axis=1), new.argmax(axis=1))
    rows = np.arange(len(faces))
    assert np.log(new[rows, faces.labels]).mean() > np.log(old[rows, faces.labels]).mean() + 0.1
    assert after.card["calibration"]["temperature"] > 1.5
    with np.load(tmp_path / "calm.validation.npz") as stored:
        np.testing.assert_allclose(stored["probabilities"], new, atol=1e-4)
        assert np.array_equal(stored["labels"], faces.labels)
    refused = invoke("calibrate", "--model", str(source), "--data", data, "--out", "calm.h5")
    assert refused.returncode == 2 and "must end in .keras" in refused.stderr


def test_a_model_calibrated_in_place_keeps_its_features(invoke, folder: Path, tmp_path: Path) -> None:
    _save(tmp_path / "own.keras", 0.2)
    (tmp_path / "own.features.npz").write_bytes(b"its features")
    data = str(folder / "faces.csv")
    done = invoke("calibrate", "--model", "own.keras", "--data", data, "--out", "own.keras", "--force")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own.features.npz").read_bytes() == b"its features"


def test_two_models_of_one_name_have_two_folders(
    invoke, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _save(other / "good.keras", 0.1)
    data = ["--data", str(folder / "faces.csv"), "--no-explain", "--without-leaks"]
    for model in (folder / "good.keras", other / "good.keras", folder / "good.keras"):
        assert invoke("evaluate", *data, "--model", str(model)).returncode == 0
    found = sorted(path.parent.name for path in (tmp_path / "runs" / "evaluation").rglob("evaluation.json"))
    assert len(found) == 2 and found[0] == "good-PublicTest" and found[1].startswith("good-PublicTest-")
    first = invoke("evaluate", *data, "--model", str(folder / "good.keras"), "--out", "here")
    monkeypatch.setattr("fergan.workflows.classifiers.evaluate.scores", None)  # told before anything is scored
    second = invoke("evaluate", *data, "--model", str(other / "good.keras"), "--out", "here")
    assert first.returncode == 0 and second.returncode == 2 and "another model" in second.stderr


def test_a_set_without_splits_has_validation_rows_beside_one_with(folder: Path, tmp_path: Path) -> None:
    from fergan.data.images import write_png
    from fergan.workflows.classifiers.evaluate import EvaluateOptions, run_evaluation

    rng = np.random.default_rng(1)
    (tmp_path / "more").mkdir()
    for i in range(40):
        write_png(tmp_path / "more" / f"{i}.png", rng.integers(0, 100, (48, 48), dtype=np.uint8))
    sets = [str(folder / "faces.csv"), f"sad={tmp_path / 'more'}"]
    options = EvaluateOptions(sets, str(folder / "good.keras"), on="validation", without_leaks=False, explain=False)
    data, _ = run_evaluation(options, tmp_path / "out")
    assert data["data"]["n"] == 40 + 4  # PublicTest, and a tenth of the others
    assert any("shared out" in note for note in data["notes"])
