"""``fergan classify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...classify.bundled import DEFAULT
from ...runtime.errors import UsageError
from .options import (
    CROP,
    described_options,
    device_option,
    images_option,
    models_option,
    run_option,
    taken,
    together,
    view_option,
)
from .output import say_labels

if TYPE_CHECKING:
    from ..steps.judge import ClassifyOptions


classify_options = together(
    models_option(
        "Judge with this .keras, .h5, .hdf5 or .onnx file, or a name that 'fergan models' lists. Repeat it for "
        f"several: each labels all faces.  [default: {DEFAULT}]"
    ),
    described_options,
    view_option,
    click.option(
        "--crop",
        type=CROP,
        default="none",
        help="Judge this part of the picture: all of it, the face box of FFHQ-aligned pictures, "
        "or the largest face found.",
    ),
    click.option(
        "--no-face",
        type=click.Choice(["whole", "skip"]),
        help="With --crop detect, judge a picture without a face whole or skip it.  [default: whole]",
    ),
)


@click.command(epilog="Example: fergan classify --images my_gan/samples --run my_gan")
@classify_options
@images_option
@run_option
@click.option(
    "--force",
    is_flag=True,
    help="Replace what is there: the labels and reports of the run go first; its faces stay.",
)
@device_option
def classify(run_name: str, force: bool, **options: Any) -> None:
    """Label faces with their expressions: runs/NAME/labels.csv."""
    wanted = to_classify(options)
    from ..generators.catalogue import ensure_judges
    from ..progress import progress, warn
    from ..run_folder.folder import RunFolder
    from ..run_folder.seats import seats
    from ..steps.classify import classify as step

    ensure_judges(*(one.model for one in wanted.each()))
    run = RunFolder(run_name)
    with run.lock(), progress("Classifying", into=run.path) as show:
        path, _ = step(run, wanted, show, warn, force)
    say_labels(run)
    click.echo(f"labels in {path}")
    for folder in seats(run)[1:]:
        if folder.labels_csv.exists():
            click.echo(f"labels in {folder.labels_csv}")


def to_classify(options: dict[str, Any]) -> ClassifyOptions:
    """The typed options of :func:`classify_options`.

    Raises:
        UsageError: options that exclude each other.
    """
    if options["no_face"] and options["crop"] != "detect":
        raise UsageError("--no-face goes with --crop detect: without it no face is looked for")
    from ..steps.judge import ClassifyOptions

    return taken(ClassifyOptions, options, no_face=options["no_face"] or "whole")
