"""``fergan classify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...runtime.errors import UsageError
from .options import classifier_options, device_option, force_option, images_option, run_option
from .output import say_labels

if TYPE_CHECKING:
    from ..steps.classify import ClassifyOptions


def classify_options(command: Any) -> Any:
    for option in reversed(
        [
            classifier_options,
            click.option(
                "--crop",
                type=click.Choice(["none", "ffhq", "detect"]),
                default="none",
                show_default=True,
                help="Judge this part of the picture: all of it, the face box of FFHQ-aligned pictures, "
                "or the largest face found.",
            ),
            click.option(
                "--no-face",
                type=click.Choice(["whole", "skip"]),
                help="With --crop detect, judge a picture without a face whole or skip it.  [default: whole]",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command(epilog="Example: fergan classify --images my_gan/samples --run my_gan")
@classify_options
@images_option
@run_option
@force_option
@device_option
def classify(run_name: str, force: bool, **options: Any) -> None:
    """Label faces with their expressions: runs/NAME/labels.csv."""
    wanted = to_classify(options)
    from ..progress import progress
    from ..run_folder.folder import RunFolder
    from ..steps.classify import classify as step

    run = RunFolder(run_name)
    with run.lock(), progress("Classifying", into=run.path) as show:
        if force:
            run.clear(faces=False)
        path, _ = step(run, wanted, show)
    say_labels(run)
    click.echo(f"labels in {path}")


def to_classify(options: dict[str, Any]) -> ClassifyOptions:
    """What :func:`classify_options` were given.

    Raises:
        UsageError: options that exclude each other.
    """
    if options["no_face"] and options["crop"] != "detect":
        raise UsageError("--no-face goes with --crop detect: without it no face is looked for")
    from ..steps.classify import ClassifyOptions

    return ClassifyOptions(
        model=options["model"],
        images=options.get("images"),
        crop=options["crop"],
        no_face=options["no_face"] or "whole",
        device=options["device"],
        labels=options["labels"],
        input_range=options["input_range"],
    )
