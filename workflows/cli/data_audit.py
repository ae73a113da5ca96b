"""``fergan audit data``: a look at the data before they are trained on. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from ...classify.bundled import DEFAULT
from ...runtime.errors import UsageError
from .options import classes_option, data_sets_option, relabel_option, seed_option, split_option, votes_option


@click.command("data", epilog="Example: fergan audit data --data fer2013.csv --drop-leaks")
@data_sets_option
@classes_option("all")
@split_option("as the data are")
@seed_option("a new split and the folds")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    help="Take two pictures for one photograph from this correlation of fine detail on.",
)
@click.option("--predictions", metavar="CSV|NPZ", help="Judge the labels by these out-of-fold probabilities.")
@click.option("--predict", is_flag=True, help="Make such predictions from a classifier's features.")
@click.option(
    "--model", metavar="FILE|NAME", help=f"With --predict, take the features of this classifier.  [default: {DEFAULT}]"
)
@votes_option
@click.option("--exclude", metavar="CSV", help="Leave the rows of this list out first.")
@relabel_option
@click.option(
    "--drop-leaks",
    is_flag=True,
    help="Leave out rows that are also in a split to be tested on: write them into exclude.csv.",
)
@click.option("--out", default="runs/audit", metavar="DIR", help="Write into this folder.")
def audit_data(out: str, **options: Any) -> None:
    """Look for what is wrong with a data set.

    It writes findings.csv and audit.html into the folder --out: duplicates and near duplicates, leaks across splits,
    contradicting labels, pictures of nothing, and labels that are likely wrong.
    """
    if options["predict"] and options["predictions"] is not None:
        raise UsageError("--predict and --predictions exclude each other; --predict makes the predictions itself")
    if options["model"] is not None and not options["predict"]:
        raise UsageError("--model is the classifier of --predict; add --predict")
    from ...reports.pages.data_audit import summary_lines
    from ..classifiers.data_audit import DataAuditOptions, run_data_audit

    result, files = run_data_audit(DataAuditOptions(**options), out)
    for line in summary_lines(result.summary):
        click.echo(line)
    for path in files:
        click.echo(f"written: {path}")
