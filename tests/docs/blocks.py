"""The blocks of a Markdown page: what a reader would type, and what the comment before a block says of running it.

`<!-- not run: REASON -->` before a block: no test runs it; its `fergan` lines are parsed all the same.
`<!-- needs: MODULE … -->`: it is run where these modules are installed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SHELL = ("console", "bash", "sh", "shell")
PYTHON = ("python", "pycon", "py")
_BLOCK = re.compile(
    r"(?:<!-- (?P<key>not run|needs): (?P<value>[^>]+) -->\n)?^(?P<indent> *)```(?P<language>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```\s*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    not_run: str = ""
    """Why it is not run; empty if it is."""
    needs: tuple[str, ...] = ()

    def commands(self) -> list[list[str]]:
        """The words of each line, continued lines joined, without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def pages() -> list[Path]:
    """The README and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        indent, text = found["indent"], found["text"]
        text = "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))
        value = (found["value"] or "").strip()
        yield Block(
            found["language"],
            text,
            not_run=value if found["key"] == "not run" else "",
            needs=tuple(value.split()) if found["key"] == "needs" else (),
        )


def inline_commands(page: Path) -> Iterator[list[str]]:
    """The `fergan` commands within the text that are whole: no dots in them that stand for more."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for code in re.findall(r"`(fergan [^`]+)`", text):
        if "…" not in code and "..." not in code:
            yield shlex.split(code)
