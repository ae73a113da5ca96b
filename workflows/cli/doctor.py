"""``fergan doctor``: what this machine has. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import click

from ...runtime.errors import UsageError
from .output import print_table


@click.command(epilog="Example: fergan doctor --build")
@click.option("--build", "build", is_flag=True, help="Build the fast operations now, and say how long it took.")
@click.option(
    "--arch",
    multiple=True,
    metavar="sm_NN",
    help="With --build, build for a GPU that is not here. Repeat it for several.",
)
def doctor(build: bool, arch: tuple[str, ...]) -> None:
    """Show what is installed, which implementation each operation uses and why, and what to do next.

    Without a C++ compiler or an nvcc that matches PyTorch everything works, but slower.
    """
    if arch and not build:
        raise UsageError("--arch goes with --build")
    from ..doctor import build_now, machine, next_step, operations

    if build:
        for line in build_now(arch):
            click.echo(line)
        return
    print_table(["", ""], machine())
    click.echo()
    print_table(["Operation", "On a CPU", "On a GPU"], operations())
    click.echo(f"\nNext: {next_step()}")
