"""``fergan check``: a gate for pipelines. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...runtime.errors import DataError, UsageError


@click.command(epilog="Example: fergan check --run nightly --reference release --max-tv 0.1")
@click.option(
    "--run", "run_name", default="default", show_default=True, metavar="NAME", help="Run folder: runs/NAME, or a path."
)
@click.option(
    "--reference",
    required=True,
    metavar="fer2013|uniform|CSV|RUN",
    help="What to compare with: the labels of FER2013's Training split, equal shares, a CSV with the columns label and "
    "share (or count), or another run.",
)
@click.option(
    "--max-tv",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Allowed total variation distance: the share of faces with another label.",
)
@click.option("--strict", is_flag=True, help="Pass only if the whole interval is within, not if the faces are too few.")
@click.option("--corrected", is_flag=True, help="Compare shares corrected for the classifier's confusion, not labels.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the interval of the distance.",
)
@click.option(
    "--sequential",
    metavar="FILE",
    help="Keep the looks of a nightly check in FILE: together they raise a false alarm with a chance of 1 - level "
    "at most.",
)
def check(
    run_name: str, reference: str, max_tv: float, strict: bool, corrected: bool, level: float, sequential: str | None
) -> None:
    """Fail when a run's expressions have drifted from a reference.

    Exit code 1 if the whole interval of the distance lies above --max-tv, so chance alone fails few pipelines. With
    --strict also if --max-tv lies within the interval: too few faces do not pass. Else exit code 0.
    """
    from ..run_folder.folder import RunFolder
    from ..steps.check import check as step

    run = RunFolder(run_name)
    if not run.record:
        raise DataError(f"{run.path}: there is no such run; 'fergan run' makes one")
    if sequential is not None:
        if strict or corrected:
            raise UsageError("--sequential compares labels and only alarms; leave out --strict and --corrected")
        from ..steps.sequential import check_again

        look, sentence = check_again(run, reference, max_tv, Path(sequential), alpha=round(1 - level, 12))
        click.echo(sentence)
        sys.exit(1 if look.alarm else 0)
    result = step(run, reference, max_tv, level=level, corrected=corrected)
    for warning in result.warnings:
        click.echo(f"fergan: {warning}", err=True)
    click.echo(result.sentence)
    if not result.passed(strict):
        sys.exit(1)
