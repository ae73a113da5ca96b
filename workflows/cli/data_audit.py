"""``fergan audit data``: a look at the data before they are trained on. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from ...runtime.errors import UsageError


@click.command("data", epilog="Example: fergan audit data --data fer2013.csv --drop-leaks")
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="PATH|LABEL=PATH",
    help="fer2013.csv, or any data set's file, folder or zip; several are merged.",
)
@click.option("--labels", default="all", show_default=True, metavar="LIST", help="Labels to keep, such as fer2013.")
@click.option("--split", metavar="official|80:10:10", help="Split anew.  [default: as the data are]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a new split, and of the folds.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    help="Correlation of fine detail from which two pictures are one photograph.",
)
@click.option("--predictions", metavar="CSV|NPZ", help="Out-of-fold probabilities: judge the labels by them.")
@click.option("--predict", is_flag=True, help="Make such predictions from a classifier's features.")
@click.option("--model", metavar="FILE|NAME", help="That classifier.  [default: fernet]")
@click.option("--votes", metavar="CSV", help="FER+'s fer2013new.csv: list what people call no face.")
@click.option("--exclude", metavar="CSV", help="Leave the rows of this list out first.")
@click.option("--relabel", metavar="CSV", help="Change labels first: columns row (or name) and label.")
@click.option("--drop-leaks", is_flag=True, help="Write exclude.csv, the rows that leak across splits.")
@click.option("--out", default="runs/audit", show_default=True, metavar="DIR", help="Folder of the results.")
def audit_data(out: str, **options: Any) -> None:
    """Look for what is wrong with a data set.

    Duplicates and near duplicates, leaks across splits, contradicting labels, pictures of nothing, and likely wrong
    labels: as findings.csv and audit.html in the folder --out.
    """
    if options["predict"] and options["predictions"] is not None:
        raise UsageError("--predict and --predictions exclude each other; --predict makes the predictions itself")
    if options["model"] is not None and not options["predict"]:
        raise UsageError("--model is the classifier of --predict; add --predict")
    from ...reports.pages.data_audit import summary_lines
    from ..classifiers.data_audit import AuditOptions, run_audit

    result, files = run_audit(AuditOptions(**options), out)
    for line in summary_lines(result.summary):
        click.echo(line)
    for path in files:
        click.echo(f"written: {path}")
