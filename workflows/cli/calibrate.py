"""``fergan calibrate``."""

from __future__ import annotations

from typing import Any

import click

from .options import classifier_options, data_sets_option, refuse_existing, replace_option


@click.command(epilog="Example: fergan calibrate --model my.keras --data fer2013.csv --out calibrated.keras")
@classifier_options
@data_sets_option
@click.option("--out", required=True, metavar="FILE", help="Write the calibrated model, a .keras file.")
@replace_option
def calibrate(out: str, force: bool, **options: Any) -> None:
    """Make a classifier's confidences as high as it is often right, in a new file.

    Its logits are divided by one number, which is fitted on the validation faces and goes into the weights of the last
    layer: nothing else has to know of it. A single network's labels stay the same; of an ensemble's, whose members are
    scaled each by itself, some may change, and the command says how many.
    """
    refuse_existing(out, force)
    from ..classifiers.calibrate import run_calibration

    result = run_calibration(out=out, **options)
    for line in result.lines():
        click.echo(line)
    click.echo(f"written: {out}")
