"""A folder goes on with what it was claimed for, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from fergan.runtime.claims import claim, locked, training_in
from fergan.runtime.errors import DataError, UsageError


def test_a_claim_holds_but_for_what_is_free(tmp_path: Path) -> None:
    record = tmp_path / "new" / "training.json"
    claim(record, {"seed": 1, "sizes": (1, 2)}, "training")
    claim(record, {"seed": 1, "sizes": [1, 2]}, "training")
    with pytest.raises(UsageError, match="holds a training with other settings .seed was 1, is now 2.*--out"):
        claim(record, {"seed": 2, "sizes": [1, 2]}, "training")
    claim(record, {"seed": 2, "sizes": [1, 2]}, "training", free=("seed",))
    claim(record, {"seed": 2, "sizes": [1, 2]}, "training")
    record.write_text("{")
    with pytest.raises(DataError, match="training.json: is damaged.*give another --out"):
        claim(record, {"seed": 2}, "training")
    record.write_text("[]")
    with pytest.raises(DataError, match="training.json: is damaged.*give another --out"):
        claim(record, {"seed": 2}, "training")


def test_a_locked_folder_is_refused_with_what_is_done_there(tmp_path: Path) -> None:
    def work() -> str:
        return "on this study"

    refused = pytest.raises(UsageError, match="another fergan process is at work on this study")
    with locked(tmp_path, work), refused, locked(tmp_path, work):
        pass
    with locked(tmp_path, work):
        pass


def test_the_first_process_of_a_training_holds_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with training_in(tmp_path / "new"):
        with pytest.raises(UsageError, match="at work on this training"), training_in(tmp_path / "new"):
            pass
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        with training_in(tmp_path / "new"):
            pass
