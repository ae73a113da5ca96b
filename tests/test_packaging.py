"""What `pip install` leaves out, a user misses."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_INSTALLED = {"tests", "benchmarks", "docs", ".ci", ".github", "build"}


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so the files of the package are not known")
    tree = tmp_path / "tree"  # a copy, since a build leaves folders behind
    for name in listed.stdout.splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)],
        check=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name.removeprefix("fergan/") for name in wheel.namelist() if name.startswith("fergan/")}
    in_folders = {
        path for path in listed.stdout.splitlines() if "/" in path and path.split("/")[0] not in NOT_INSTALLED
    }
    at_root = {"__init__.py", "__main__.py", "py.typed"}
    assert packed == in_folders | at_root
