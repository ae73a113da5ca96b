"""What the pages tell a reader to type works: every command parses, and every block that is not marked runs."""

from __future__ import annotations

import configparser
import doctest
import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.cli.main import cli, main

from ..workflows.serve.conftest import serving
from .blocks import PYTHON, ROOT, SHELL, Block, blocks, inline_commands, pages

SMALL = {
    ("train", "classifier"): "--epochs 1 --batch-size 8",
    ("train", "stylegan2"): "--kimg 0.016 --snapshot-kimg 0.016 --batch-size 8 --width tiny",
    ("train", "dcgan"): "--epochs 1 --batch-size 8",
    ("metrics",): "--n 6 --repeats 1",
    ("interpolate",): "--frames 2",
    ("tune",): "--epochs 1 --trials 1",
    ("evaluate",): "--no-explain",
    ("report",): "--sensitivity-faces 8",
}
"""Added to a command when a test runs it: the last of two options counts."""
MOST_FACES = 16
IDS = [str(page.relative_to(ROOT)) for page in pages()]


def small(words: list[str]) -> list[str]:
    """The arguments of a `fergan` line in a size for tests."""
    arguments = words[1:]
    if "--plan" not in arguments:
        text = re.sub(r"(?<=--n )\d+", lambda n: str(min(int(n[0]), MOST_FACES)), " ".join(arguments))
        text = re.sub(r"(?<=--workers )\d+", "2", text)
        text = re.sub(r"(?<=--want )\S+", lambda want: re.sub(r"=\d+", "=1", want[0]), text)
        arguments = text.split(" ")
    for command, options in SMALL.items():
        fits = {"report": "--sensitivity" in arguments, "metrics": "--blind" not in arguments}.get(command[0], True)
        if tuple(arguments[: len(command)]) == command and fits:
            arguments = [*arguments, *options.split()]
    return arguments


def parse(words: list[str]) -> None:
    """Raises what a user would see if the line has an unknown command or option, or a wrong value."""
    command: click.Command = cli
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        _, found, rest = command.resolve_command(click.Context(command), rest)
        assert found is not None
        command = found
    if not isinstance(command, click.Group):
        command.make_context(" ".join(words[:2]), list(rest))


@pytest.mark.parametrize("page", pages(), ids=IDS)
def test_every_command_of_a_page_parses(page: Path) -> None:
    in_blocks = [words for block in blocks(page) if block.language in SHELL for words in block.commands()]
    for words in [*inline_commands(page), *(words for words in in_blocks if words[0] == "fergan")]:
        try:
            parse(words)
        except click.exceptions.Exit:
            pass  # --help
        except click.MissingParameter:
            assert words not in in_blocks, words  # within the text a command may be named without its options
        except (click.ClickException, DataError, UsageError) as error:
            pytest.fail(f"{' '.join(words)}: {error}")


def matching(pattern: str) -> list:
    """The pages on which a pattern occurs, each with what its group found."""
    found = [re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE) for page in pages()]
    assert any(found), f"no page matches {pattern}"
    return [pytest.param(names, id=name) for names, name in zip(found, IDS, strict=True) if names]


@pytest.mark.parametrize("groups", matching(r"(?:fergan|\.)\[([\w,]+)\]'"))
def test_every_extra_of_a_page_exists(groups: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(",".join(groups).split(",")) <= set(setup["options.extras_require"])


@pytest.mark.parametrize("modules", matching(r"python -m (benchmarks\.\w+)"))
def test_every_script_of_a_page_exists(modules: list[str]) -> None:
    assert all((ROOT / (module.replace(".", "/") + ".py")).is_file() for module in modules)


@pytest.mark.parametrize("targets", matching(r"^make (\w+)"))
def test_every_make_target_of_a_page_exists(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def _to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELL + PYTHON and not block.not_run]


@pytest.fixture
def served() -> Iterator[Callable[[str], str]]:
    """The address of a server for the page on serving; other pages get the address that stands there."""
    with ExitStack() as stack:
        yield lambda page: str(stack.enter_context(serving()).base_url) if page == "serve" else "http://localhost:8501"


SLOW = ("export", "protocol", "train-a-classifier")
RUN = [
    pytest.param(page, id=name, marks=[pytest.mark.slow] if page.stem in SLOW else [])
    for page, name in zip(pages(), IDS, strict=True)
    if _to_run(page)
]


@pytest.mark.parametrize("page", RUN)
def test_every_block_of_a_page_runs(
    page: Path,
    named_files: Path,
    served: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the order of the page, in one folder, so that a block finds what those before it made."""
    folder = tmp_path / "reader"
    shutil.copytree(named_files, folder)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for number, block in enumerate(_to_run(page)):
        if not all(importlib.util.find_spec(module) for module in block.needs):
            continue
        if block.language in PYTHON:
            assert ">>>" in block.text, f"no doctest:\n{block.text}"
            text = block.text.replace("http://localhost:8501", served(page.stem))
            test = doctest.DocTestParser().get_doctest(text, names, f"block {number}", str(page), 0)
            heard: list[str] = []
            failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=heard.append, clear_globs=False)
            assert not failed, "".join(heard)
            names.update(test.globs)
            continue
        for words in block.commands():
            if words[0] in ("pip", "make"):
                continue  # whether there are such extras and targets is another test's
            assert words[0] == "fergan", f"only fergan is run by the tests; mark the block: {' '.join(words)}"
            try:
                main(small(words))
            except SystemExit as stop:
                drifted = words[1] == "check" and stop.code == 3  # an answer like any other
                assert not stop.code or drifted, f"{' '.join(words)}: {capsys.readouterr().err}"
