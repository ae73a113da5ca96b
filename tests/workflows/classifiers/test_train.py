"""``fergan train classifier`` from files to a model that other commands use."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.classify import load_recipe
from fergan.data.face_set import role
from fergan.data.images import write_png
from fergan.data.labels import FER2013
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.classifiers.train import chosen_recipe
from fergan.workflows.classifiers.training_data import ClassifierOptions, read_training_data

from ..cli.test_main import imported_by
from ..conftest import Invoke

SIZES = {"Training": 70, "PublicTest": 21, "PrivateTest": 14}
TINY = ("--set", "model.widths=[8,16]", "--set", "depths=[1,1]", "--set", "stem=4", "--set", "ema=0.5")
FAST = ("--epochs", "2", "--batch-size", "16")


def write_fer2013(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for usage, n in SIZES.items():
        for row in range(n):
            pixels = " ".join(map(str, rng.integers(0, 256, 2304)))
            lines.append(f"{row % 7},{pixels},{usage}")
    path = folder / "fer2013.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_votes(folder: Path) -> Path:
    """All rows happy by nine votes; the first of each split is not a face."""
    names = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    rows = []
    for usage, n in SIZES.items():
        for row in range(n):
            counts = [0] * 10
            counts[9 if row == 0 else 1] = 9
            rows.append([usage, "", *counts])
    path = folder / "fer2013new.csv"
    pd.DataFrame(rows, columns=["Usage", "Image name", *names]).to_csv(path, index=False)
    return path


def write_pictures(folder: Path, names: list[str], seed: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, rng.integers(0, 256, (48, 48), dtype=np.uint8))
    return folder


def read(*data: object, **options: object) -> tuple:
    wanted = ClassifierOptions(data=[str(path) for path in data], **options)
    return read_training_data(wanted, chosen_recipe(wanted))


def counts(faces: object, what: str) -> dict[str, int]:
    roles = role(faces.usage)
    return {name: int(((faces.label_texts() == name) & (roles == what)).sum()) for name in faces.label_names}


def test_an_eighth_class_from_a_folder_end_to_end(tmp_path: Path, invoke: Invoke) -> None:
    write_fer2013(tmp_path)
    write_pictures(tmp_path / "gray", [f"{n}.png" for n in range(20)])
    data = ("--data", "fer2013.csv", "--data", "embarrassed=gray")
    done = invoke("train", "classifier", *data, *TINY, *FAST, "--out", "out", "--votes", str(write_votes(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "out/fernet.keras" in done.stdout and "accuracy" in done.stdout
    table, lines = done.stderr.split("epoch 1 of 2: right on ")
    assert "epoch 2 of 2: right on " in lines
    assert "embarrassed" in table and table.index("Training") < table.index("angry")
    card = json.loads((tmp_path / "out" / "fernet.json").read_text())
    assert card["labels"] == [*FER2013, "embarrassed"]
    assert card["data"]["faces"]["train"]["embarrassed"] == 16
    assert card["data"]["faces"]["Training"]["angry"] == 10
    assert [one["path"] for one in card["data"]["record"]["sets"]] == ["fer2013.csv", "gray"]
    assert card["settings"]["epochs"] == 2 and card["short_run"]
    assert card["model"]["options"]["widths"] == [8, 16]
    with np.load(tmp_path / "out" / "fernet.validation.npz") as answers:
        assert answers["probabilities"].shape == (21 + 2, 8)
        assert answers["leaks"].tolist() == [False] * 23

    again = invoke("train", "classifier", *data, *TINY, *FAST, "--out", "out")
    assert again.returncode == 2 and "votes was true" in again.stderr
    write_pictures(tmp_path / "mine", ["a.png", "b.png"])
    done = invoke("classify", "--images", "mine", "--model", "out/fernet.keras", "--run", "mine_run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "mine_run" / "labels.csv").is_file()


def test_sets_are_merged_and_each_keeps_its_split(tmp_path: Path) -> None:
    fer2013 = write_fer2013(tmp_path)
    own = write_pictures(
        tmp_path / "own",
        [f"{part}/{c}/{n}.png" for part in ("train", "test") for c in ("happy", "sad") for n in range(20)],
    )
    faces, votes = read(fer2013, own)
    assert faces.label_names == ("happy", "sad") and votes is None
    assert counts(faces, "train") == {"happy": 10 + 18, "sad": 10 + 18}
    assert counts(faces, "validation") == {"happy": 3 + 2, "sad": 3 + 2}
    assert counts(faces, "test") == {"happy": 2 + 20, "sad": 2 + 20}
    assert set(faces.usage[faces.usage != ""]) == {*SIZES, "train", "validation", "test"}
    shared, _ = read(fer2013, own, split="80:10:10", seed=3)
    assert not set(shared.usage) & set(SIZES) and counts(shared, "train")["happy"] == pytest.approx(0.8 * 55, abs=1)
    everything, _ = read(fer2013, own, classes="all")
    assert len(everything) == 105 + 80 and everything.label_names == FER2013
    with pytest.raises(UsageError, match="no official split"):
        read(fer2013, own, split="official")


def test_a_shuffled_copy_of_fer2013_has_no_official_split(tmp_path: Path) -> None:
    names = [f"images/{part}/{c}/{n}.jpg" for part in ("train", "validation") for c in FER2013 for n in range(4)]
    copy = write_pictures(tmp_path / "copy", names)
    with pytest.raises(UsageError, match="shuffled"):
        read(copy, split="official")
    assert not set(read(copy)[0].usage) & set(SIZES)


def test_votes_follow_their_rows(tmp_path: Path) -> None:
    fer2013, votes = write_fer2013(tmp_path), write_votes(tmp_path)
    other = write_pictures(tmp_path / "own", [f"{c}/{n}.png" for c in FER2013 for n in range(10)])
    faces, shares = read(fer2013, other, votes=str(votes), classes="happy,sad")
    assert shares.shape == (len(faces), 10)
    is_first_set = np.char.startswith(faces.names, "1/")
    assert (shares[is_first_set].argmax(axis=1) == 1).all() and not shares[~is_first_set].any()
    faces, shares = read(fer2013, votes=str(votes), votes_mode="majority")
    assert len(faces) == len(shares) == sum(SIZES.values()) - 3  # all but what is not a face
    assert set(faces.label_texts()) == {"happy"} and "contempt" in faces.label_names
    for options, said in (
        ({"votes_mode": "majority"}, "--votes"),
        ({"votes_mode": "majority", "votes": str(votes), "classes": "fer2013"}, "alone"),
    ):
        with pytest.raises(UsageError, match=said):
            read(fer2013, **options)
    with pytest.raises(UsageError, match="fer2013.csv"):
        read(other, votes=str(votes))


def test_leaks_are_dropped_and_labels_changed(tmp_path: Path) -> None:
    path = write_fer2013(tmp_path)
    lines = path.read_text().splitlines()
    validation = lines[71].split(",")
    lines[3] = f"2,{validation[1]},Training"  # the third face is also the first of PublicTest
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "new.csv").write_text("row,label\n0,happy\n")
    faces, _ = read(path, drop_leaks=True, relabel=str(tmp_path / "new.csv"))
    assert len(faces) == sum(SIZES.values()) - 1 and "row 2" not in faces.row_names()
    assert faces.label_texts()[0] == "happy"
    assert faces.record["leaks_left_out"] == 1 and faces.record["relabelled"]["rows"] == 1


def test_options_change_the_recipe(tmp_path: Path) -> None:
    wanted = ClassifierOptions(["x"], overrides=["lr=0.5", "augmentation.mixup=0.2"], epochs=3, weights="x.h5", seed=7)
    recipe = chosen_recipe(wanted)
    assert (recipe.training.learning_rate, recipe.training.epochs, recipe.training.seed) == (0.5, 3, 7)
    assert recipe.training.augmentation.mixup == 0.2 and recipe.model.weights == "x.h5"
    assert recipe.training.batch_size == load_recipe("fernet").training.batch_size


def test_bad_input_is_one_clear_error(tmp_path: Path, invoke: Invoke) -> None:
    write_fer2013(tmp_path)
    for arguments, code, said in (
        ("--data gone.csv", 1, "gone.csv"),
        ("--data fer2013.csv --recipe nothing", 2, "nothing"),
        ("--data fer2013.csv --set colour=red", 2, "colour"),
        ("--data fer2013.csv --set optimizer=lion", 2, "lion"),
        ("--data fer2013.csv --classes bored", 2, "bored"),
        ("--data fer2013.csv --split 80:20", 2, "80:20"),
        ("--data fer2013.csv --weights gone.h5", 1, "gone.h5"),
        ("--data fer2013.csv --precision float16 --device cpu", 2, "float16"),
        ("--data fer2013.csv --relabel gone.csv", 1, "gone.csv"),
    ):
        done = invoke("train", "classifier", *arguments.split())
        assert done.returncode == code, (arguments, done.stderr)
        assert said in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "runs").exists(), arguments  # nothing has begun
    with pytest.raises((DataError, UsageError)):
        read(write_votes(tmp_path))


def test_help_is_light(tmp_path: Path) -> None:
    assert not imported_by(["train", "classifier", "--help"], tmp_path) & {"torch", "keras", "pandas", "numpy"}


def test_a_classifier_that_is_worse_than_the_commonest_class_is_remarked() -> None:
    from fergan.workflows.classifiers.train import below_majority

    assert below_majority({"accuracy": 0.6, "confusion": [[6, 0], [4, 0]]}) is None
    assert "50.0 % is below 60.0 %" in (below_majority({"accuracy": 0.5, "confusion": [[5, 1], [4, 0]]}) or "")
