"""The tutorial runs from its first cell to its last, and what is kept of its outputs is small."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .blocks import ROOT

nbformat = pytest.importorskip("nbformat", reason="pip install '.[docs]' to run this test")
nbclient = pytest.importorskip("nbclient", reason="pip install '.[docs]' to run this test")
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (Path(sys.executable).parent / "fergan").is_file():
        pytest.skip("the command 'fergan' is not installed beside this Python")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    notebook = nbformat.read(TUTORIAL, as_version=4)
    kernel = {"resources": {"metadata": {"path": str(tmp_path)}}, "timeout": 170, "kernel_name": "python3"}
    nbclient.NotebookClient(notebook, **kernel).execute()
    assert (tmp_path / "runs" / "tutorial" / "report.html").is_file()
    # a line that begins with ! fails without stopping the notebook
    assert (tmp_path / "runs" / "toy" / "mini-xception.keras").is_file()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "Traceback" not in text and "\x1b" not in text


def test_its_outputs_are_there_and_small() -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code[:3])
    assert TUTORIAL.stat().st_size < 200_000
