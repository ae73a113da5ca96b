"""``fergan check --sequential`` as a nightly pipeline meets it."""

import json
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from fergan.runtime.errors import DataError
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.steps import sequential
from filelock import FileLock

from ..conftest import Invoke
from .test_check import HAPPY, make_run

SAD = [0.05, 0.01, 0.04, 0.10, 0.55, 0.05, 0.20]


def nights(folder: Path, shares: list[float], first: int, number: int) -> list[str]:
    names = [f"night{first + i}" for i in range(number)]
    for i, name in enumerate(names):
        make_run(folder / "runs" / name, shares, 400, seed=first + i, validation=True)
    return names


@pytest.mark.parametrize("reference", ["fer2013", "release"])
def test_quiet_nights_pass_and_the_night_of_a_drift_alarms(tmp_path: Path, invoke: Invoke, reference: str) -> None:
    quiet = [0.139, 0.015, 0.143, 0.251, 0.168, 0.111, 0.173]  # about FER2013's own shares
    make_run(tmp_path / "runs/release", quiet, 2000, seed=99)
    command = ("check", "--reference", reference, "--max-tv", "0.1", "--sequential", "looks.json", "--run")
    for number, name in enumerate(nights(tmp_path, quiet, 1, 3), 1):
        done = invoke(*command, name)
        assert done.returncode == 0 and f"drifted: look {number} at 400 faces" in done.stdout, done.stderr
    before = (tmp_path / "looks.json").read_bytes()
    assert "look 3" in invoke(*command, "night3").stdout
    assert (tmp_path / "looks.json").read_bytes() == before, "the same labels are not a new look"
    done = invoke(*command, *nights(tmp_path, SAD, 4, 1), "--format", "json")
    data = json.loads(done.stdout)
    assert done.returncode == 3 and data["alarm"] and data["look"] == 4
    assert data["spends"] == pytest.approx(0.05 / 20)
    looks = json.loads((tmp_path / "looks.json").read_text())["looks"]
    assert [look["run"] for look in looks] == ["night1", "night2", "night3", "night4"]
    assert [look["alarm"] for look in looks] == [False, False, False, True]
    for other in (("--max-tv", "0.2"), ("--reference", "uniform"), ("--level", "0.9")):
        done = invoke(*command, "night1", *other)
        assert done.returncode == 2 and "was begun with another" in done.stderr, other
    for option in ("--strict", "--corrected"):
        assert invoke(*command, "night1", option).returncode == 2


def test_of_two_checks_at_once_neither_look_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, runs = tmp_path / "looks.json", [RunFolder(tmp_path / "runs" / f"night{i}") for i in (1, 2)]
    nights(tmp_path, HAPPY, 1, 2)
    second = Thread(target=lambda: sequential.check_again(runs[1], "uniform", 0.9, state))
    real = sequential.label_excess

    def meanwhile(*arguments: np.ndarray) -> float:
        if second.ident is None:
            second.start()
            second.join(0.5)  # without a lock it is done by then
        return real(*arguments)

    monkeypatch.setattr(sequential, "label_excess", meanwhile)
    sequential.check_again(runs[0], "uniform", 0.9, state)
    second.join()
    assert [look["run"] for look in json.loads(state.read_text())["looks"]] == ["night1", "night2"]


def test_a_file_that_another_check_keeps_or_that_cannot_be_is_named(tmp_path: Path) -> None:
    (night,) = nights(tmp_path, HAPPY, 1, 1)
    run, state = RunFolder(tmp_path / "runs" / night), tmp_path / "looks.json"
    with FileLock(tmp_path / ".looks.json.lock"), pytest.raises(DataError, match=r"looks.json: another check"):
        sequential.check_again(run, "uniform", 0.9, state, patience=0)
    assert not state.exists()
    assert sequential.check_again(run, "uniform", 0.9, state, patience=0)[0].number == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"looks.json: cannot be"):
        sequential.check_again(run, "uniform", 0.9, tmp_path / "file" / "looks.json")


def test_a_damaged_file_is_one_error_and_stays_as_it_is(tmp_path: Path, invoke: Invoke) -> None:
    nights(tmp_path, HAPPY, 1, 2)
    command = ("check", "--reference", "uniform", "--max-tv", "0.9", "--sequential", "looks.json", "--run")
    state = tmp_path / "looks.json"
    assert invoke(*command, "night1").returncode == 0
    whole = state.read_text()
    record = json.loads(whole)
    for damage in (
        "", whole[: len(whole) // 2], "[]", "\x00", "[" * 100_000,
        json.dumps({**record, "looks": [{**record["looks"][0], "p_value": "0.5"}]}),
        json.dumps({**record, "looks": [{**record["looks"][0], "spends": 0.5}]}),
        json.dumps({**record, "looks": [None]}),
        json.dumps({**record, "alpha": "0.05"}),
        json.dumps({**record, "format": {"name": "fergan.check", "version": 2}}),
    ):  # fmt: skip
        state.write_text(damage)
        done = invoke(*command, "night2")
        assert done.returncode == 1 and "looks.json: holds no looks" in done.stderr, damage[:80]
        assert state.read_text() == damage and done.stderr.count("\n") == 1
    state.write_text(whole)
    assert "look 2" in invoke(*command, "night2").stdout
