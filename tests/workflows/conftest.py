"""The command as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fergan.workflows.cli.main import main

Fergan = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "fergan"]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="session")
def fergan() -> Fergan:
    """``fergan(folder, "generate", "--n", "5")`` runs the command there."""

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)

    return run


@dataclass(frozen=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


Invoke = Callable[..., Outcome]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """``invoke("generate", "--n", "5")`` runs the command in ``tmp_path`` within this process, so it starts at once."""

    def run(*arguments: str, folder: Path = tmp_path) -> Outcome:
        monkeypatch.chdir(folder)
        code: object = 0
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def three_commands(tmp_path_factory: pytest.TempPathFactory, fergan: Fergan) -> Path:
    """The folder in which ``generate --n 500``, ``classify`` and ``report`` were run; not to be changed by tests."""
    folder = tmp_path_factory.mktemp("three_commands")
    for arguments in (["generate", "--n", "500"], ["classify"], ["report"]):
        done = fergan(folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder / "runs" / "default"
