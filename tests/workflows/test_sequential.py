import json
from pathlib import Path

from .conftest import Invoke


def test_looks_share_one_alpha_and_one_reference(small_run: Path, invoke: Invoke, tmp_path: Path) -> None:
    state = tmp_path / "looks.json"
    common = ("check", "--run", "small", "--sequential", str(state), "--reference")
    done = invoke(*common, "uniform", "--max-tv", "0.99", folder=small_run)
    assert done.returncode == 0 and "look 1" in done.stdout, done.stderr
    before = state.read_bytes()
    done = invoke(*common, "uniform", "--max-tv", "0.99", folder=small_run)
    assert "look 1" in done.stdout and state.read_bytes() == before, "the same labels are no new look"
    done = invoke(*common, "uniform", "--max-tv", "0.5", folder=small_run)
    assert done.returncode == 2 and "was begun with another max_tv" in done.stderr
    record = json.loads(before)
    assert record["looks"][0]["spends"] == 0.025
    record["looks"][0]["labels"] = "other"
    state.write_text(json.dumps(record))
    assert "look 2" in invoke(*common, "uniform", "--max-tv", "0.99", folder=small_run).stdout
    state.write_text("[]")
    done = invoke(*common, "uniform", "--max-tv", "0.99", folder=small_run)
    assert done.returncode == 1 and "holds no looks" in done.stderr
