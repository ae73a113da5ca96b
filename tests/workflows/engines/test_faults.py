"""What is done to a run, it ends complete and with the labels of an undisturbed one; the faults are the benchmark's."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GROUPS = (
    ["driver_killed", "worker_killed", "terminated", "disk_full"],
    ["read_only", "parts_damaged", "two_at_once", "clock_jumps", "actor_killed"],
)
"""Of about equal length, to be tried at the same time; a killed Ray driver is left to the benchmark."""


def test_every_fault_ends_with_the_same_labels() -> None:
    if not (ROOT / "benchmarks" / "faults.py").exists():
        pytest.skip("benchmarks/ is not here")
    here = importlib.util.find_spec("ray") is not None
    campaigns = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults", "--n", "256", "--only", ",".join(faults)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for faults in ([name for name in group if here or name != "actor_killed"] for group in GROUPS)
    ]
    said = [campaign.communicate()[0] for campaign in campaigns]  # waits for all before it judges any
    assert [campaign.returncode for campaign in campaigns] == [0, 0], "\n".join(said)
