"""``fergan annotate``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from ...classify.bundled import DEFAULT
from ...runtime.errors import counted
from .options import described_options, device_option, models_option, view_option
from .signals import stop_on_signal


@click.command(epilog="Example: fergan annotate --source film.mp4 --out labelled.webm --csv faces.csv")
@click.option(
    "--source",
    required=True,
    metavar="WHAT",
    help="Read a film, a folder or zip of pictures, a picture, or a camera: 0.",
)
@click.option(
    "--out", metavar="FILE|DIR", help="Write it labelled: a .webm or .mp4 of a film or camera, a folder of pictures."
)
@click.option("--csv", metavar="FILE", help="Write a table with a row for each face in each frame.")
@click.option("--show", is_flag=True, help="Show it in a window until q is pressed.")
@click.option(
    "--detector",
    default="auto",
    metavar="NAME|FILE",
    help="Find faces by yunet (a network; downloaded once, 0.2 MB), haar (comes along), lbp (fastest), an .onnx or "
    ".xml; auto: yunet where it is here already, else haar.",
)
@click.option(
    "--min-face",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    help="Leave out faces smaller than this part of the shorter side.",
)
@click.option(
    "--smooth",
    type=click.FloatRange(0),
    default=0.5,
    metavar="SECONDS",
    help="Smooth the drawn probabilities over this time; 0 does not. The table is never smoothed.",
)
@models_option(
    "Judge with this classifier. Repeat it for several: the first one's labels are drawn, all are in the table.  "
    f"[default: {DEFAULT}]"
)
@described_options
@view_option
@device_option
def annotate(source: str, **options: Any) -> None:
    """Find the faces in a film, a camera or pictures, follow them and label their expressions.

    Ctrl-C ends it early and finishes what is written; a second one drops it.
    """
    from ..generators.catalogue import ensure_judges
    from ..live.annotate import AnnotateOptions
    from ..live.annotate import annotate as step
    from ..progress import progress

    models = options.pop("models") or ((None, None),)
    ensure_judges(*(model for _, model in models))
    wanted = AnnotateOptions(source, models=models, **options)
    with stop_on_signal() as stop, progress("Annotating", unit="frames", into=options["out"] or options["csv"]) as show:
        done = step(wanted, show, stop=stop)
    for complaint in done.complaints[:5]:
        click.echo(f"fergan: {complaint}", err=True)
    if len(done.complaints) > 5:
        click.echo(f"fergan: and {len(done.complaints) - 5} more that could not be read", err=True)
    if options["detector"] == "auto" and done.detector == "haar":
        click.echo("faces found by haar, frontal ones; --detector yunet finds turned ones too (0.2 MB, once)", err=True)
    places = " and ".join(place for place in (options["out"], options["csv"]) if place)
    early = "stopped early: " if done.stopped else ""
    click.echo(
        f"{early}{counted(done.frames, 'frame')}, {counted(done.faces, 'face')} in {counted(done.tracks, 'track')} "
        f"({done.detector})" + (f": {places}" if places else "")
    )
