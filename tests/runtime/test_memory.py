"""Freed memory stays with the process where that was asked for, and only there."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from fergan.runtime.memory import tune_malloc
taken = tune_malloc()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(2**24, np.float32)[0]  # 64 MiB, used and freed
print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def taken_and_faults(setting: str) -> tuple[str, int]:
    env = {**os.environ, "FERGAN_MALLOC": setting, "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, text=True, check=True)
    taken, faults = done.stdout.split()
    return taken, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_used_again_unless_switched_off() -> None:
    taken, few = taken_and_faults("")
    untaken, many = taken_and_faults("default")
    assert (taken, untaken) == ("True", "False")
    assert few < many / 4  # once instead of eight times
