"""``fergan check``: a gate for pipelines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ...runtime.errors import UsageError
from .options import format_option, run_option

DRIFTED, UNDECIDED = 3, 4
"""Exit codes; 1 and 2 are those of bad data and bad usage in every command."""


@click.command(epilog="Example: fergan check --run nightly --reference release --max-tv 0.1")
@run_option
@click.option(
    "--reference",
    required=True,
    metavar="fer2013|uniform|CSV|RUN",
    help="Compare with the labels of FER2013's Training split, equal shares, a CSV with the columns label and share "
    "(or count) of labels, or another run.",
)
@click.option(
    "--max-tv",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Allow this total variation distance: the share of faces with another label.",
)
@click.option("--strict", is_flag=True, help="Pass only if the whole interval is within, not if the faces are too few.")
@click.option("--corrected", is_flag=True, help="Compare shares corrected for the classifier's confusion, not labels.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Give the distance an interval of this level.",
)
@click.option(
    "--sequential",
    metavar="FILE",
    help="Keep the looks of a nightly check in FILE: together they raise a false alarm with a chance of 1 - level "
    "at most.",
)
@click.option("--judge", metavar="NAME", help="Check the labels of this judge of the run.  [default: the first]")
@format_option("text", "json")
def check(
    run_name: str,
    reference: str,
    max_tv: float,
    strict: bool,
    corrected: bool,
    level: float,
    sequential: str | None,
    judge: str | None,
    format: str,
) -> None:
    """Fail when a run's expressions have drifted from a reference.

    The exit code is 3 if the whole interval of the distance lies above --max-tv, so chance alone fails few pipelines.
    It is 4 if the faces cannot tell: always where the labels refute the correction of --corrected, and with --strict
    also where --max-tv lies within the interval, for too few faces do not pass then. It is 1 or 2 if there is nothing
    to compare, and else 0.
    """
    from ..run_folder.folder import existing_run
    from ..run_folder.seats import find_seat
    from ..steps.check import check as step

    run = find_seat(existing_run(run_name), judge)
    if sequential is not None:
        if strict or corrected:
            raise UsageError("--sequential compares labels and only alarms; leave out --strict and --corrected")
        from ..steps.sequential import check_again

        look, sentence = check_again(run, reference, max_tv, Path(sequential), alpha=round(1 - level, 12))
        click.echo(json.dumps({**look.as_dict(), "sentence": sentence}, indent=1) if format == "json" else sentence)
        sys.exit(DRIFTED if look.alarm else 0)
    result = step(run, reference, max_tv, level=level, corrected=corrected)
    for warning in result.warnings:
        click.echo(f"fergan: {warning}", err=True)
    click.echo(json.dumps(result.as_dict(), indent=1) if format == "json" else result.sentence)
    if not result.passed(strict):
        sys.exit(DRIFTED if result.verdict == "drifted" else UNDECIDED)
