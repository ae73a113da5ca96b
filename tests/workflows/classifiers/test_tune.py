"""``fergan tune``: searches of settings that can be stopped, continued and used."""

import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from fergan.classify.recipes import load_recipe, recipe_names, recipe_toml
from fergan.classify.recipes.search import search_space
from fergan.runtime.errors import UsageError

from ..conftest import COMMAND, Invoke
from .test_train import TINY, write_fer2013

pytest.importorskip("optuna")

SEARCH = ("--search", "lr=0.001:0.1:log", "--search", "optimizer=sgd|adamw", "--search", "batch_size=8:16")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["dropout=0.125"])
    path = tmp_path / f"{name}.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_search_space() -> None:
    recipe = load_recipe("fernet")
    rate, optimizer, size = search_space(recipe, ["lr=0.001:0.1:log", "optimizer=sgd|adamw", "bs=8:64"])
    assert (rate.key, rate.low, rate.high, rate.log, rate.whole) == ("training.learning_rate", 0.001, 0.1, True, False)
    assert optimizer.choices == ("sgd", "adamw")
    assert size.whole
    usual = {dimension.key: dimension for dimension in search_space(recipe)}
    assert usual["training.learning_rate"].low < recipe.training.learning_rate < usual["training.learning_rate"].high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "names no values"),
        ("lr=1:0.1", "LOW must be below HIGH"),
        ("lr=0:0.1:log", "above 0 for log"),
        ("bs=8.5:16", "whole numbers"),
        ("optimizer=1:2", "is not a number"),
        ("lr=a:b", "is not a range"),
        ("learning=0.1:1", "there is no setting"),
    ],
)
def test_bad_search(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_space(load_recipe("fernet"), [text])


def test_study_to_best_recipe(tmp_path: Path, invoke: Invoke) -> None:
    data, out = write_fer2013(tmp_path), tmp_path / "study"
    command = ["tune", "--data", str(data), "--epochs", "2", *TINY, *SEARCH, "--out", str(out)]
    assert invoke(*command, "--trials", "2").returncode == 0
    assert invoke(*command, "--trials", "3").returncode == 0  # continued, not begun again
    table = pd.read_csv(out / "trials.csv")
    assert len(table) == 3
    assert table["training.learning_rate"].between(0.001, 0.1).all()
    best = table.loc[table[table["state"] == "finished"]["accuracy"].idxmax()]
    chosen = load_recipe(out / "best.toml").training
    assert chosen.learning_rate == best["training.learning_rate"]
    assert (chosen.optimizer, chosen.batch_size) == (best["training.optimizer"], best["training.batch_size"])
    assert chosen.epochs == load_recipe("fernet").training.epochs  # not the trials' 2
    assert table["trial"].tolist() == [1, 2, 3]
    log = pd.read_csv(out / "trials" / best["folder"] / "log.csv")
    assert best["accuracy"] == pytest.approx(log["val_accuracy"].max(), abs=1e-4)
    page = (out / "study.html").read_text()
    assert page.count('class="dot') == 3 * len(SEARCH) // 2

    train = ["train", "classifier", "--data", str(data), "--recipe", str(out / "best.toml"), "--epochs", "2"]
    assert invoke(*train, "--out", str(tmp_path / "trained")).returncode == 0
    assert (tmp_path / "trained" / "best.keras").exists()
    other = invoke(*command, "--set", "dropout=0.5", "--trials", "4")
    assert (other.returncode, "study with other settings (recipe was" in other.stderr) == (2, True)


def test_ctrl_c_leaves_a_trial_to_be_taken_up(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []

    def train(faces: object, folder: Path, *_: object, **__: object) -> dict[str, float]:
        folders.append(folder.name)
        if len(folders) == 1:
            raise KeyboardInterrupt
        return {"epochs": 1, "accuracy": 0.5}

    monkeypatch.setattr("fergan.classify.training.train.train_classifier", train)
    command = ["tune", "--data", str(write_fer2013(tmp_path)), "--trials", "2", "--search", "lr=0.001:0.1"]
    assert invoke(*command).returncode == 130
    assert invoke(*command).returncode == 0
    assert folders[0] == folders[1] != folders[2]


def test_goes_on_after_a_kill(tmp_path: Path, invoke: Invoke) -> None:
    data, out = write_fer2013(tmp_path), tmp_path / "study"
    command = ["tune", "--data", str(data), "--epochs", "16", "--trials", "1", "--search", "lr=0.001:0.1"]
    command += [*TINY, "--set", "patience=16", "--out", str(out)]
    process = subprocess.Popen([*COMMAND, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("trials/*/log.csv")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    (log,) = out.glob("trials/*/log.csv")
    before = log.read_text()
    assert not (out / "trials.csv").exists()
    assert invoke(*command).returncode == 0
    assert log.read_text().startswith(before.rpartition("\n")[0])  # the same training, taken up
    assert len(pd.read_csv(log)) == 16
    assert len(pd.read_csv(out / "trials.csv")) == 1
