"""What is done to a run, it ends complete and with the labels of an undisturbed one; the faults are the benchmark's."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def campaign(*faults: str) -> str:
    """One round of some faults; its table."""
    if not (ROOT / "benchmarks" / "faults.py").exists():
        pytest.skip("benchmarks/ is not here")
    command = [sys.executable, "-m", "benchmarks.faults", "--n", "256", "--only", ",".join(faults)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_processes() -> None:
    campaign("driver_killed", "worker_killed", "terminated")


def test_a_full_and_a_read_only_disk() -> None:
    table = campaign("disk_full", "read_only")
    if "not tried" in table:
        pytest.skip("mounting is not allowed here")


def test_damage_a_second_process_and_a_jumping_clock() -> None:
    campaign("parts_damaged", "two_at_once", "clock_jumps")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_killed_processes_of_ray() -> None:
    campaign("actor_killed", "ray_driver_killed")
