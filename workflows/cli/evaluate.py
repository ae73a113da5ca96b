"""``fergan evaluate`` and ``fergan leaderboard``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .options import VIEWS, classifier_options, data_sets_option, device_option, format_option, seed_option, view_option
from .output import print_table

if TYPE_CHECKING:
    from ...reports.statistics.differences.ranking import Ranking


@click.command(epilog="Example: fergan evaluate --model fernet --data fer2013.csv --views ten")
@classifier_options
@view_option
@data_sets_option
@click.option(
    "--on",
    metavar="SPLIT",
    help="Score this split: validation, test, train, all, or one of the set's own, such as PublicTest.  "
    "[default: validation]",
)
@click.option(
    "--views",
    type=VIEWS,
    default="single",
    help="Score also the mean of the face and its mirror image, or of ten views.",
)
@click.option("--log", metavar="CSV", help="Draw the learning curves of this log.  [default: log.csv beside the model]")
@click.option(
    "--without-leaks/--with-leaks",
    default=True,
    help="Look for the evaluated faces among the training rows, and score without those found too.",
)
@click.option("--explain/--no-explain", default=True, help="Make heat maps of some faces.")
@seed_option("the halves for calibration")
@click.option("--out", metavar="DIR", help="Write into this folder.  [default: runs/evaluation/MODEL-SPLIT]")
@device_option
def evaluate(out: str | None, **options: Any) -> None:
    """Score a classifier on labelled faces: evaluation.json and one HTML page.

    They show accuracy with its interval, scores of each class, confusion, ROC curves, calibration, leaks, learning
    curves, the most confident mistakes, and what the network looks at.
    """
    from ..classifiers.evaluate import EvaluateOptions, run_evaluation
    from ..progress import progress

    with progress("Evaluating") as show:
        data, files = run_evaluation(EvaluateOptions(**options), out, show)
    faces = "synthetic faces" if data["data"]["synthetic"] else "faces"
    for views, row in data["views"].items():
        click.echo(f"{views}: {_score(row, faces)}, macro F1 {row['macro_f1']:.3f}, ECE {100 * row['ece']:.1f} %")
    without = data["leaks"]["without"] or {}
    for views, row in without.items():
        click.echo(f"{views}, without {data['leaks']['rows']} leaked faces: {_score(row, faces)}")
    temperature, scaled = data["calibration"]["temperature"], data["calibration"]["scaled"]
    click.echo(f"temperature {temperature['value']:.3f}: ECE {100 * scaled['ece']:.1f} %")
    for note in data["notes"]:
        click.echo(note, err=True)
    for path in files:
        click.echo(f"written: {path}")


@click.command(epilog="Example: fergan leaderboard runs/evaluation --format md")
@click.argument("evaluations", nargs=-1, required=True, metavar="JSON|DIR...")
@format_option("table", "md", "html", "json", help="Print in this form, or write it to --out; json is for programs.")
@click.option("--out", metavar="FILE", help="Write md, html or json here.")
def leaderboard(evaluations: tuple[str, ...], format: str, out: str | None) -> None:
    """Compare evaluations that 'fergan evaluate' wrote: files, or folders to look through.

    Those of other faces stand in tables of their own. p is McNemar's exact test against the best of its table, face by
    face.
    """
    from ...runtime.files import utf8_text, write_atomically
    from ..classifiers.leaderboard import read_tables, render_tables

    tables = read_tables(evaluations)
    if format == "table":
        _print_tables(tables)
        return
    text = render_tables(tables, format)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomically(out, utf8_text(text).encode())
        click.echo(f"written: {out}")


def _print_tables(rankings: Sequence[Ranking]) -> None:
    from ...reports.pages.leaderboard import HEADINGS, NOTE, heading, texts

    for ranking in rankings:
        click.echo(heading(ranking))
        rows = [tuple(texts(row)) for row in ranking.rows]
        print_table(list(HEADINGS), rows, right=tuple(range(1, len(HEADINGS))))
    click.echo(NOTE)


def _score(row: dict[str, Any], faces: str) -> str:
    accuracy = row["accuracy"]
    return (
        f"accuracy {100 * accuracy['value']:.2f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}) "
        f"on {row['n']} {faces}"
    )
