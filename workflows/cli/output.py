"""Output of commands. Imports nothing heavy before it prints a table."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ...runtime.errors import counted

if TYPE_CHECKING:
    from ..run_folder.folder import RunFolder

_WIDE = 400  # columns where no terminal sets them


_PLAIN = {
    "\N{NO-BREAK SPACE}": " ",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{GREEK SMALL LETTER PSI}": "psi",
    **{chr(code): "-" for code in range(0x2500, 0x2580)},  # the lines of tables and progress bars
}


def accept_any_text() -> None:
    """Let standard output and error take any text, whatever their encoding: what it lacks is written another way.

    A pipe in a Latin-1 locale or on Windows has no box lines, and no encoding has the bytes of a file name that are not
    UTF-8.
    """
    codecs.register_error("fergan.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="fergan.plain")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing), error.end


def print_table(headings: list[str], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
    """A table on standard output, as wide as the terminal; whole lines where it goes into a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ...runtime.files import printable

    table = Table(box=box.SIMPLE_HEAD, show_header=any(headings), pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold", no_wrap=not index)
    for row in rows:
        table.add_row(*(Text("\n".join(printable(line) for line in cell.split("\n"))) for cell in row))
    terminal = Console(file=sys.stdout)
    if terminal.is_terminal:
        terminal.print(table)
        return
    page = io.StringIO()
    Console(file=page, width=_WIDE).print(table)
    click.echo("\n".join(line.rstrip() for line in page.getvalue().strip("\n").split("\n")))


def say_labels(run: RunFolder) -> None:
    """How many faces of a run got which label, on standard output; what was skipped or not found, on standard error.

    Where the run has several judges, each has its lines, which begin with its name.
    """
    from ..run_folder.seats import judge_name, seats

    judges = seats(run)
    for one in judges:
        _say_labels(one, f"{judge_name(one)}: " if len(judges) > 1 else "")


def _say_labels(run: RunFolder, who: str) -> None:
    from ...runtime.files import printable

    if (made := run.record.labels) is None:
        return
    judged = sum(made.counts.values())
    if judged:
        shares = ", ".join(f"{printable(name)} {n} ({100 * n / judged:.0f} %)" for name, n in made.counts.items())
        click.echo(f"{who}{counted(judged, 'face')}: {shares}")
    skipped, missed = made.skipped, made.faces_not_found
    if skipped:
        left_out = f"{who}{counted(skipped, 'picture')} could not be judged and {_was(skipped)} skipped"
        click.echo(f"{left_out}: see {printable(run.skipped_csv)}", err=True)
    if missed:
        judged_whole = f"{'it' if missed == 1 else 'they'} {_was(missed)} judged whole"
        click.echo(
            f"{who}no face was found in {counted(missed, 'picture')}; {judged_whole}: "
            "see face_found in the labels, or give --no-face skip",
            err=True,
        )


def _was(n: int) -> str:
    return "was" if n == 1 else "were"
