"""``fergan audit labels``."""

from __future__ import annotations

from pathlib import Path

import click

from ...runtime.errors import counted
from .options import run_option, seed_option


@click.command("labels", epilog="Example: fergan audit labels --run first --n 200")
@run_option
@click.option("--n", type=click.IntRange(2), default=200, metavar="N", help="Show N faces, of all labels.")
@seed_option("the faces to label")
@click.option(
    "--answers",
    metavar="FILE",
    multiple=True,
    help="Read the JSON or CSV that the page saved; keep it in the run folder. Repeat it for two people's answers.",
)
def audit_labels(run_name: str, n: int, seed: int, answers: tuple[str, ...]) -> None:
    """Have people label a sample of the faces, without the classifier's labels, and read their answers back.

    The first call writes runs/NAME/audit.html: open it and label by keyboard. The second, with --answers, reads what
    the page saved; the report then shows an estimate that does not rest on the classifier being right.
    """
    from ..run_folder.folder import existing_run
    from ..steps.label_audit import import_answers, write_audit_page

    run = existing_run(run_name)
    with run.lock():
        if not answers:
            page, count = write_audit_page(run, n, seed)
            click.echo(f"{counted(count, 'face')} to label in {page}")
        else:
            estimate, shown = import_answers(run, [Path(name) for name in answers])
            agreed = "" if estimate.kappa is None else f", kappa of the two people {estimate.kappa:.2f}"
            click.echo(
                f"{estimate.answered} of {shown} faces have an answer{agreed}; now run 'fergan report --run {run_name}'"
            )
