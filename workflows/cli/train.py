"""``fergan train``: classifiers and generators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...runtime.errors import UsageError
from .options import device_option


@click.group(epilog="Example: fergan train classifier --data fer2013.csv")
def train() -> None:
    """Train a classifier or a generator."""


@train.command("classifier", epilog="Example: fergan train classifier --data fer2013.csv --out runs/my_classifier")
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="PATH",
    help="fer2013.csv or another data set; LABEL=PATH gives all pictures one class. Again for more sets.",
)
@click.option("--recipe", default="fernet", show_default=True, metavar="NAME|TOML", help="As 'fergan recipes' lists.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe, such as lr=0.01. Again for more."
)
@click.option(
    "--labels", metavar="SET|LIST", help="fer2013, ferplus, embarrassed, all, or names.  [default: common ones]"
)
@click.option(
    "--split", metavar="HOW", help="official, or shares such as 80:10:10.  [default: official where there is one]"
)
@click.option("--drop-leaks", is_flag=True, help="Leave out training faces that are also in validation or test.")
@click.option("--relabel", metavar="CSV", help="New labels for some rows: columns row or name, and label.")
@click.option("--votes", metavar="CSV", help="FER+'s fer2013new.csv.")
@click.option(
    "--votes-mode",
    type=click.Choice(["auxiliary", "majority", "probability", "crossentropy", "multi_target"]),
    help="Votes train a second head, or replace the labels.  [default: auxiliary]",
)
@click.option("--teacher", metavar="FILE|NAME", help="Learn from this classifier's answers too (distillation).")
@click.option(
    "--teacher-views",
    type=click.Choice(["single", "flip", "ten"]),
    default="single",
    show_default=True,
    help="Views in which the teacher judges each face.",
)
@click.option("--weights", metavar="none|imagenet|FILE", help="Where the network's weights start.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]), help="[default: float32]")
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's, as for the next four]")
@click.option("--batch-size", type=click.IntRange(2))
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--patience", type=click.IntRange(1), help="Epochs without progress.")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and made splits.")
@click.option("--out", metavar="DIR", help="Folder of the training.  [default: runs/RECIPE]")
@device_option
def train_classifier(out: str | None, **options: Any) -> None:
    """Train a classifier by a recipe: fit on the training rows, choose the epoch on the validation rows.

    A stopped training goes on where it was when the same command is given again.

    Several GPUs: torchrun --nproc-per-node N -m fergan train classifier ...
    """
    from ..classifiers.train import train_classifier as step
    from ..classifiers.training_data import ClassifierOptions

    model, scores = step(ClassifierOptions(**options), out or f"runs/{Path(options['recipe']).stem}")
    if scores:
        click.echo(f"{scores['validation_split']} accuracy {scores['accuracy']:.4f}; model in {model}")


@train.command("dcgan", epilog="Example: fergan train dcgan --data fer2013.csv --out runs/my_dcgan")
@click.option("--data", required=True, metavar="DIR|ZIP|CSV", help="A folder or zip of images, or fer2013.csv.")
@click.option("--out", default="runs/dcgan", show_default=True, metavar="DIR", help="Folder of the training.")
@click.option(
    "--epochs", type=click.FloatRange(0, min_open=True), default=25, show_default=True, help="Passes over the data."
)
@click.option("--resolution", type=click.IntRange(32), default=48, show_default=True, help="Pixels, a multiple of 16.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True, help="1 gray, 3 RGB.")
@click.option("--cond", is_flag=True, help="Train by class: the CSV's emotions, or dataset.json's labels.")
@click.option("--base-channels", type=click.IntRange(4), default=32, show_default=True, help="Width of the networks.")
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=4e-4, show_default=True)
@click.option(
    "--augment",
    default="color,translation",
    show_default=True,
    metavar="LIST",
    help="DiffAugment: color,translation,cutout.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
def train_dcgan(data: str, out: str, **options: Any) -> None:
    """Train a DCGAN from scratch. A stopped training goes on when the same command is given again."""
    from ..generators.train import train_dcgan as step
    from ..progress import gan_display

    with gan_display() as show:
        path = step(data, out, show, **options)
    click.echo(f"generator in {path}")


def _half_lives(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """``"5,20"`` -> ``(5.0, 20.0)``, each once, in this order."""
    if text is None:
        return None
    try:
        values = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        values = ()
    if not values or not all(0 < value < 1e6 for value in values):
        raise UsageError(f"--ema-kimg {text!r}: write half-lives in thousands of images, such as 5,10,20")
    return values


@train.command("stylegan2", epilog="Example: fergan train stylegan2 --data faces.zip --out runs/my_stylegan2")
@click.option("--data", required=True, metavar="DIR|ZIP|CSV", help="A folder or zip of images, or fer2013.csv.")
@click.option("--out", default="runs/stylegan2", show_default=True, metavar="DIR", help="Folder of the training.")
@click.option(
    "--kimg", type=click.FloatRange(0, min_open=True), default=1000, show_default=True, help="Images shown, thousands."
)
@click.option("--resolution", type=click.IntRange(8), default=64, show_default=True, help="Pixels, a power of two.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="1 gray, 3 RGB.")
@click.option("--cond", is_flag=True, help="Train by class: the CSV's emotions, or dataset.json's labels.")
@click.option(
    "--width",
    type=click.Choice(["tiny", "small", "wide", "medium", "paper", "full"]),
    default="tiny",
    show_default=True,
    help="Of the networks: tiny to wide for a CPU, paper and full as published.",
)
@click.option(
    "--init",
    metavar="FILE|NAME",
    help="Start from this generator or training-state.pt, of this resolution or a lower one (its width counts), and "
    "from its discriminator where there is one.",
)
@click.option("--batch-size", type=click.IntRange(4), default=16, show_default=True)
@click.option("--part-size", type=click.IntRange(4), metavar="N", help="Images at a time, where memory is short.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.0025, show_default=True)
@click.option(
    "--final-learning-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="RATE",
    help="Fall to this by a cosine.  [default: stay]",
)
@click.option("--gamma", type=click.FloatRange(0), help="R1's weight.  [default: 0.3 at 64 pixels and batches of 16]")
@click.option("--path-length", type=click.FloatRange(0), default=2, show_default=True, help="Weight; 0 = none.")
@click.option(
    "--style-mixing", type=click.FloatRange(0, 1), default=0.9, show_default=True, help="Share of images; 0 = none."
)
@click.option("--relativistic", is_flag=True, help="R3GAN's loss: D compares real with generated images; R1 and R2.")
@click.option(
    "--augment",
    type=click.Choice(["diffaugment", "ada", "none"]),
    default="diffaugment",
    show_default=True,
    help="diffaugment for about a thousand images, ada for more and for long trainings.",
)
@click.option("--mirror/--no-mirror", default=True, show_default=True, help="Show mirrored images too.")
@click.option("--snapshot-kimg", type=click.FloatRange(0, min_open=True), default=20, show_default=True)
@click.option(
    "--ema-kimg",
    metavar="LIST",
    callback=_half_lives,
    help="Half-lives of averages of G, such as 5,10,20; the first is generator.safetensors, the others are "
    "generator-ema20.safetensors.  [default: 5 at batches of 16]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "auto"]),
    help="auto: bfloat16 on a CPU that is fast at it, float16 in the top blocks on a GPU.  "
    "[default: float32 on a CPU, auto on a GPU]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
def train_stylegan2(data: str, out: str, **options: Any) -> None:
    """Train a StyleGAN2 from scratch. A stopped training goes on when the same command is given again.

    Several GPUs: torchrun --nproc-per-node N -m fergan train stylegan2 ...
    """
    from ..generators.train import train_stylegan2 as step
    from ..progress import gan_display

    with gan_display() as show:
        path = step(data, out, show, **options)
    click.echo(f"generator in {path}")
