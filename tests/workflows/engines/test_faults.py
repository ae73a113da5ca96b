"""What is done to a run, it ends complete and with the labels of an undisturbed one."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from ...support.faults import FAULTS, MOUNTS, RAY, Round, can_mount, try_fault, undisturbed

N = 256
TRIED = [name for name in FAULTS if name != "ray_driver_killed"]
"""A killed Ray driver takes long; ``python -m benchmarks.faults`` does it."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), N)


@pytest.mark.slow
@pytest.mark.parametrize("fault", TRIED)
def test_every_fault_ends_with_the_same_labels(fault: str, reference: tuple[str, float], tmp_path: Path) -> None:
    if fault in RAY and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    if fault in MOUNTS and not can_mount():
        pytest.skip("mounting is not allowed here")
    try_fault(fault, Round(tmp_path, N, random.Random(f"0/{fault}/0"), *reference))
