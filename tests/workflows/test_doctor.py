"""``fergan doctor``: the picture of this machine, and building now."""

import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
import torch
from fergan.runtime.cache import cache_folder
from fergan.stylegan.ops import build

SOURCE = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One small source in place of the real ones, and a cache of its own."""
    (tmp_path / "csrc" / "cpu").mkdir(parents=True)
    (tmp_path / "csrc" / "cpu" / "answer.cpp").write_text(SOURCE)
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FERGAN_OPS", "auto")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(build, "_loaded", {})
    return tmp_path


def test_the_picture(invoke, monkeypatch):
    monkeypatch.setenv("FERGAN_OPS", "reference")
    shown = invoke("doctor")
    assert shown.returncode == 0, shown.stderr
    for fact in (torch.__version__, sys.executable, str(cache_folder() / "ops"), "reference"):
        assert fact in shown.stdout
    for what in ("C++ compiler", "ninja", "nvcc", "GPUs", "FERGAN_MALLOC"):
        assert re.search(rf"^ *{re.escape(what)} +\S", shown.stdout, re.MULTILINE)
    for operation in ("drawing a whole network", "bias_act", "upfirdn2d", "modulated_conv2d", "styled_conv2d"):
        assert re.search(rf"{operation} +PyTorch", shown.stdout)
    assert "PyTorch: FERGAN_OPS=reference" in shown.stdout


def test_it_says_what_is_bundled_and_which_extras_are_here(invoke, monkeypatch):
    monkeypatch.setenv("FERGAN_OPS", "reference")
    wanted = ["torch>=2", 'click; extra == "serve"', "no-such-package>=6; extra == 'app'", 'ruff; extra == "test"']
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    shown = invoke("doctor").stdout
    for model in ("stylegan2-faces-64", "dcgan-fer2013-48", "fernet-ensemble"):
        assert model in shown
    assert re.search(r"Extras +here: serve\n +app: pip install 'fergan\[app\]'\n +\S", shown)


def test_it_names_the_next_command(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("FERGAN_OPS", "reference")
    steps = {
        "run.json": "classify",
        "labels.csv": "report",
        "report.html": "report",
        "sensitivity.json": "audit labels",
    }
    assert invoke("doctor").stdout.endswith("Next: fergan run --n 500 --run first\n")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    for made, command in steps.items():
        (tmp_path / "runs" / "mine" / made).touch()
        assert f"\nNext: fergan {command} --run mine" in invoke("doctor").stdout


def test_what_is_missing_is_named_with_the_command_that_adds_it(invoke, small, monkeypatch):
    monkeypatch.setenv("PATH", str(small))
    monkeypatch.setattr(sys, "executable", str(small / "python"))  # ninja is looked for beside it
    shown = invoke("doctor")
    assert shown.returncode == 0  # everything works all the same
    assert "apt-get install g++" in shown.stdout
    assert "-m pip install ninja" in shown.stdout


@pytest.mark.skipif(not (sys.platform.startswith("linux") and shutil.which("g++")), reason="no g++ on Linux here")
def test_build_builds_now(invoke, small, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # of the small sources there are none for a GPU
    for _ in range(2):  # also when it is in the cache
        done = invoke("doctor", "--build")
        assert done.returncode == 0, done.stderr
        seconds, library = re.search(r"cpu: built in (\d+\.\d) s, (\S+)", done.stdout).groups()
        assert float(seconds) < 120 and Path(library).parent == small / "cache" / "ops"
    (small / "csrc" / "cpu" / "answer.cpp").write_text("int answer() { return nonsense; }\n")
    failed = invoke("doctor", "--build")
    assert failed.returncode == 1
    assert "nonsense" in failed.stderr and "the cpu operations: the compiler failed" in failed.stderr


def test_build_fails_where_a_part_is_missing(invoke, small, monkeypatch):
    monkeypatch.setenv("PATH", str(small))
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    failed = invoke("doctor", "--build")
    assert failed.returncode == 1
    assert "the cpu operations: there is no C++ compiler" in failed.stderr


def test_an_architecture_needs_build(invoke):
    wrong = invoke("doctor", "--arch", "sm_90")
    assert wrong.returncode == 2
    assert "--arch goes with --build" in wrong.stderr
