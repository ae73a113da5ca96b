"""Tables on standard output. Imports nothing heavy before it prints one."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

_WIDE = 400  # columns where no terminal sets them


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
