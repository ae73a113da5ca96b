"""What the tests of the generators share."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def layouts():
    """tests/stylegan/layouts.py, which writes checkpoints in the layouts of other programs."""
    return _load("checkpoint_layouts", HERE / "layouts.py")


@pytest.fixture(scope="session")
def fuzz():
    """benchmarks/fuzz_checkpoints.py, of which the suite runs a sample."""
    return _load("fuzz_checkpoints", HERE.parents[1] / "benchmarks" / "fuzz_checkpoints.py")


@pytest.fixture(scope="session")
def reference():
    """The folder of published-layout checkpoints with what the original programs make of them."""
    places = [Path(os.environ["FERGAN_REFERENCE"])] if "FERGAN_REFERENCE" in os.environ else []
    places += [parent / "shared" / "reference" for parent in HERE.parents]
    for place in places:
        if (place / "stylegan2").is_dir():
            return place / "stylegan2"
    pytest.skip("no reference files: set FERGAN_REFERENCE to the folder that holds stylegan2/")
