"""What the tests of the generators share."""

import os
from pathlib import Path

import pytest

from ..support import layouts as layouts_module


@pytest.fixture(scope="session")
def layouts():
    """tests/support/layouts.py, which writes checkpoints in the layouts of other programs."""
    return layouts_module


@pytest.fixture(scope="session")
def reference():
    """The folder of published-layout checkpoints with what the original programs make of them."""
    places = [Path(os.environ["FERGAN_REFERENCE"])] if "FERGAN_REFERENCE" in os.environ else []
    places += [parent / "shared" / "reference" for parent in Path(__file__).resolve().parents]
    for place in places:
        if (place / "stylegan2").is_dir():
            return place / "stylegan2"
    pytest.skip("no reference files: set FERGAN_REFERENCE to the folder that holds stylegan2/")
