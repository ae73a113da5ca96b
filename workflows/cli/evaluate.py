"""``fergan evaluate``, ``fergan leaderboard`` and ``fergan calibrate``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from .options import classifier_options, device_option, view_option

_data_option = click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="PATH",
    help="fer2013.csv, or any data set's file, folder or zip; several are merged.",
)


@click.command(epilog="Example: fergan evaluate --model fernet --data fer2013.csv --views ten")
@classifier_options
@view_option
@_data_option
@click.option(
    "--split",
    metavar="NAME",
    help="validation, test, train, all, or a name of the set's own, such as PublicTest.  [default: validation]",
)
@click.option(
    "--views",
    type=click.Choice(["single", "flip", "ten"]),
    default="single",
    show_default=True,
    help="Also the mean of the face and its mirror image, or of ten views.",
)
@click.option("--log", metavar="CSV", help="The training's log.  [default: log.csv beside the model]")
@click.option(
    "--without-leaks/--with-leaks",
    "leaks",
    default=True,
    show_default=True,
    help="Look for the evaluated faces among the training rows, and score without those found too.",
)
@click.option("--explain/--no-explain", default=True, show_default=True, help="Make heat maps of some faces.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the halves for calibration.")
@click.option("--out", metavar="DIR", help="Folder of the results.  [default: runs/evaluation/MODEL-SPLIT]")
@device_option
def evaluate(out: str | None, **options: Any) -> None:
    """Score a classifier on labelled faces: evaluation.json and one HTML page.

    Accuracy with its interval, scores of each class, confusion, ROC curves, calibration, leaks, learning curves, the
    most confident mistakes, and what the network looks at.
    """
    from ..classifiers.evaluate import EvaluateOptions, run_evaluation
    from ..progress import progress

    with progress("Evaluating") as show:
        data, files = run_evaluation(EvaluateOptions(**options), out, show)
    for views, row in data["views"].items():
        click.echo(f"{views}: {_score(row)}, macro F1 {row['macro_f1']:.3f}, ECE {100 * row['ece']:.1f} %")
    without = data["leaks"]["without"] or {}
    for views, row in without.items():
        click.echo(f"{views}, without {data['leaks']['rows']} leaked faces: {_score(row)}")
    temperature, scaled = data["calibration"]["temperature"], data["calibration"]["scaled"]
    click.echo(f"temperature {temperature['value']:.3f}: ECE {100 * scaled['ece']:.1f} %")
    for note in data["notes"]:
        click.echo(note, err=True)
    for path in files:
        click.echo(f"written: {path}")


@click.command(epilog="Example: fergan leaderboard runs/evaluation --format md")
@click.argument("evaluations", nargs=-1, required=True, metavar="JSON|DIR...")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "md", "html", "json"]),
    default="table",
    show_default=True,
    help="A table for the terminal, or a file's text on standard output unless --out is given.",
)
@click.option("--out", metavar="FILE", help="Write md, html or json here.")
def leaderboard(evaluations: tuple[str, ...], kind: str, out: str | None) -> None:
    """Compare evaluations that 'fergan evaluate' wrote: files, or folders to look through.

    Those of other faces stand in tables of their own. p is McNemar's exact test against the best of its table, face by
    face.
    """
    from ...runtime.files import write_atomically
    from ..classifiers.leaderboard import print_tables, read_tables, render_tables

    tables = read_tables(evaluations)
    if kind == "table":
        print_tables(tables)
        return
    text = render_tables(tables, kind)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())
        click.echo(f"written: {out}")


def _score(row: dict[str, Any]) -> str:
    accuracy = row["accuracy"]
    return (
        f"accuracy {100 * accuracy['value']:.2f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}) "
        f"on {row['n']} faces"
    )
