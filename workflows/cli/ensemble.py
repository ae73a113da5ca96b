"""``fergan ensemble``: several classifiers as one. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import click

from ...runtime.errors import UsageError, counted
from .options import device_option, refuse_existing, replace_option


@click.command(epilog="Example: fergan ensemble --model a.keras --model b.keras --data fer2013.csv --out both.keras")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="FILE|NAME",
    help="Take this member: a .keras or .h5 file with its .json, or a bundled name. Repeat it for each.",
)
@click.option(
    "--shares", metavar="LIST", help="Give the members these shares of the vote, such as 2,1,1.  [default: equally]"
)
@click.option("--stack", is_flag=True, help="Fit a softmax layer over the members on --data's validation faces.")
@click.option(
    "--average-weights",
    is_flag=True,
    help="Make one network of the mean of the members' weights. They must have begun from common weights.",
)
@click.option(
    "--data", metavar="PATH|LABEL=PATH", help="Read this data set, and record the scores on its validation split."
)
@click.option("--out", required=True, metavar="FILE", help="Write the new .keras file.")
@replace_option
@device_option
def ensemble(
    models: tuple[str, ...],
    shares: str | None,
    stack: bool,
    average_weights: bool,
    data: str | None,
    out: str,
    force: bool,
    device: str,
) -> None:
    """Make several classifiers one file that is used like any other.

    Their probabilities are averaged, or, with --stack, mixed by a layer that is fitted on labelled faces; its score is
    cross-fitted, so that no face is judged by a layer that has seen it. With --average-weights they become one network
    ("model soup"), which takes no longer than one of them.
    """
    try:
        weights = None if shares is None else [float(part) for part in shares.split(",")]
    except ValueError:
        raise UsageError(f"--shares {shares!r}: write one number a member, such as 2,1,1") from None
    refuse_existing(out, force)
    from ..classifiers.ensemble import make_ensemble

    card = make_ensemble(
        models, out, weights=weights, stack=stack, average_weights=average_weights, data=data, device=device
    )
    scores = card.get("scores")
    if scores:
        how = "cross-fitted accuracy" if stack else "accuracy"
        alone = ", ".join(f"{accuracy:.4f}" for accuracy in scores["members"])
        score = f"{scores['accuracy']:.4f} on {counted(scores['n'], 'face')}"
        click.echo(f"{scores['validation_split']} {how} {score} (members: {alone})")
    click.echo(f"ensemble in {out}")
