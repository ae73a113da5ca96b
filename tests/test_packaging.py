"""What `pip install` leaves out, a user misses."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_INSTALLED = {"tests", "benchmarks", "docs", ".ci", ".github", "build"}


def listed() -> list[str]:
    """The files of the repository."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout, so the files of the package are not known")
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was built from it: as the release workflow makes them."""
    pytest.importorskip("build", reason="pip install '.[test]' to run this test")
    tree = tmp_path_factory.mktemp("tree")  # a copy, since a build leaves folders behind
    for name in listed():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(tree)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        packed = {name.removeprefix("fergan/") for name in wheel.namelist() if name.startswith("fergan/")}
        others = {name.split("/")[0] for name in wheel.namelist()} - {"fergan"}
    in_folders = {path for path in listed() if "/" in path and path.split("/")[0] not in NOT_INSTALLED}
    at_root = {"__init__.py", "__main__.py", "py.typed"}
    assert packed == in_folders | at_root
    assert len(others) == 1 and others.pop().endswith(".dist-info")


def test_the_package_index_takes_both(built: Path) -> None:
    pytest.importorskip("twine", reason="pip install '.[test]' to run this test")
    files = sorted(map(str, built.iterdir()))
    assert len(files) == 2
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
