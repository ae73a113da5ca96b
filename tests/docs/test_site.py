"""The site builds without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fergan.workflows.cli.main import SECTIONS

from .blocks import ROOT

for _module in ("mkdocs", "material", "mkdocstrings", "nbconvert"):
    pytest.importorskip(_module, reason="pip install '.[docs]' to run this test")
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"(https?:)?//[^\"]*", re.IGNORECASE)


@pytest.mark.slow
def test_the_site_is_complete_in_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not LOADED.search(text), (page, LOADED.search(text))
        assert ":meth:" not in text and ":class:" not in text, page
    commands = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    for names in SECTIONS.values():
        for name in names:
            assert f'id="fergan-{name}"' in commands
