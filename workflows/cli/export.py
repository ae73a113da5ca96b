"""``fergan export``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...runtime.errors import counted
from .options import classifier_options, refuse_existing, replace_option
from .signals import stopped_by_sigterm


@click.command(epilog="Example: fergan export --format savedmodel --out models/fer")
@classifier_options
@click.option(
    "--format",
    required=True,
    type=click.Choice(["savedmodel", "onnx", "keras"]),
    help="Write in this form: for TensorFlow Serving, for ONNX Runtime, or one .keras file.",
)
@click.option("--out", required=True, metavar="DIR", help="Write into this folder; a SavedModel into DIR/VERSION.")
@click.option(
    "--version", type=click.IntRange(0), metavar="N", help="Call a SavedModel this version.  [default: the next free]"
)
@replace_option
def export(model: str | None, format: str, out: str, force: bool, version: int | None, **known: Any) -> None:
    """Write a classifier in another format.

    What is written is opened again, and its outputs are compared with those of Keras.
    """
    from ...classify.classifier import load_classifier
    from ...classify.export.export import export_classifier
    from ...data.faces import prepare_faces
    from ...stylegan.generator import load_generator

    classifier = load_classifier(model, "cpu", **known)
    if format != "savedmodel":
        refuse_existing(Path(out) / f"{classifier.name}.{format}", force)
    faces = prepare_faces(load_generator(None, "cpu").generate(range(16)))
    with stopped_by_sigterm():
        done = export_classifier(classifier, format, out, version=version, faces=faces)
    click.echo(f"{classifier.name} in {done.path}")
    click.echo(f"largest difference from Keras: {done.difference:.1e} on {counted(done.pictures, 'picture')}")
