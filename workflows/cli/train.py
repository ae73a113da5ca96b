"""``fergan train``: classifiers and generators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...runtime.errors import UsageError
from .options import (
    AT_LEAST_ONE,
    POSITIVE,
    VIEWS,
    Decorator,
    classes_option,
    data_sets_option,
    device_option,
    pictures_option,
    recipe_options,
    relabel_option,
    seed_option,
    split_option,
    together,
    votes_option,
    weights_option,
)


@click.group(epilog="Example: fergan train classifier --data fer2013.csv")
def train() -> None:
    """Train a classifier or a generator."""


@train.command("classifier", epilog="Example: fergan train classifier --data fer2013.csv --out runs/my_classifier")
@data_sets_option
@recipe_options
@classes_option()
@split_option("official where there is one")
@click.option("--drop-leaks", is_flag=True, help="Leave out training faces that are also in validation or test.")
@relabel_option
@votes_option
@click.option(
    "--votes-mode",
    type=click.Choice(["auxiliary", "majority", "probability", "crossentropy", "multi_target"]),
    help="Train a second head by the votes, or let them replace the labels.  [default: auxiliary]",
)
@click.option("--teacher", metavar="FILE|NAME", help="Learn from this classifier's answers too (distillation).")
@click.option(
    "--teacher-views",
    type=click.Choice([*VIEWS.choices, "student"]),
    help="Show the teacher the faces in these views, or as the student sees them.  [default: single]",
)
@weights_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    help="Compute in this; auto: bfloat16 on a CPU that is faster at it.  [default: float32]",
)
@click.option("--epochs", type=AT_LEAST_ONE, help="Train for this many epochs.  [default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(2), help="Train on this many faces a step.  [default: the recipe's]")
@click.option("--learning-rate", type=POSITIVE, help="Train at this learning rate.  [default: the recipe's]")
@click.option(
    "--patience", type=AT_LEAST_ONE, help="Stop after this many epochs without progress.  [default: the recipe's]"
)
@seed_option("weights, order, augmentation and made splits", None)
@click.option("--out", metavar="DIR", help="Write into this folder.  [default: runs/RECIPE]")
@device_option
def train_classifier(out: str | None, **options: Any) -> None:
    """Train a classifier by a recipe.

    It is fitted on the training rows, and the epoch is chosen on the validation rows. A stopped training goes on where
    it was when the same command is given again.

    Train on several GPUs by: torchrun --nproc-per-node N -m fergan train classifier ...
    """
    from ..classifiers.train import train_classifier as step
    from ..classifiers.training_data import ClassifierOptions

    model, scores = step(ClassifierOptions(**options), out or f"runs/{Path(options['recipe']).stem}")
    if scores:
        click.echo(f"{scores['validation_split']} accuracy {scores['accuracy']:.4f}; model in {model}")


def _gan_options(
    kind: str, *, pixels: int, least: int, rule: str, channels: str, batch: int, rate: float, precision: str
) -> Decorator:
    """The options that all trainings of generators share, with the defaults of one ``kind``."""
    return together(
        pictures_option,
        click.option("--out", default=f"runs/{kind}", metavar="DIR", help="Write into this folder."),
        click.option(
            "--resolution", type=click.IntRange(least), default=pixels, help=f"Draw this many pixels a side, {rule}."
        ),
        click.option(
            "--channels", type=click.Choice(["1", "3"]), default=channels, help="Draw in gray (1) or RGB (3)."
        ),
        click.option("--cond", is_flag=True, help="Train by class: the CSV's emotions, or dataset.json's labels."),
        click.option(
            "--batch-size",
            type=click.IntRange(2 if kind == "dcgan" else 4),
            default=batch,
            help="Train on this many images a step.",
        ),
        click.option("--learning-rate", type=POSITIVE, default=rate, help="Train at this learning rate."),
        click.option("--precision", type=click.Choice(["float32", "bfloat16", "auto"]), help=precision),
    )


@train.command("dcgan", epilog="Example: fergan train dcgan --data fer2013.csv --out runs/my_dcgan")
@_gan_options(
    "dcgan",
    pixels=48,
    least=32,
    rule="a multiple of 16",
    channels="1",
    batch=64,
    rate=4e-4,
    precision="Compute in this; auto: bfloat16 on a CPU that is faster at it.  [default: float32]",
)
@click.option("--epochs", type=POSITIVE, default=25, help="Train for this many passes over the data.")
@click.option("--base-channels", type=click.IntRange(4), default=32, help="Set the width of the networks.")
@click.option(
    "--diffaugment",
    default="color,translation",
    metavar="LIST",
    help="Show D pictures with these changes of DiffAugment: color,translation,cutout.",
)
@click.option(
    "--init",
    metavar="FILE|NAME",
    help="Start from this DCGAN, conditional or not; D is new and learns alone for 300 steps.",
)
@seed_option("weights, order, latents and augmentation")
@device_option
def train_dcgan(data: str, out: str, **options: Any) -> None:
    """Train a DCGAN from scratch. A stopped training goes on when the same command is given again."""
    from ..generators.train import train_dcgan as step

    _train_gan(step, data, out, options)


def _train_gan(step: Callable[..., Path], data: str, out: str, options: dict[str, Any]) -> None:
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
@_gan_options(
    "stylegan2",
    pixels=64,
    least=8,
    rule="a power of two",
    channels="3",
    batch=16,
    rate=0.0025,
    precision="Compute in this; auto: bfloat16 on a CPU that is faster at it, float16 in the top blocks on a GPU.  "
    "[default: float32 on a CPU, auto on a GPU]",
)
@click.option("--kimg", type=POSITIVE, default=1000, help="Train on this many thousand images.")
@click.option(
    "--width",
    type=click.Choice(["tiny", "small", "wide", "medium", "paper", "full"]),
    default="tiny",
    help="Set the width of the networks: tiny to wide for a CPU, paper and full as published.",
)
@click.option(
    "--init",
    metavar="FILE|NAME",
    help="Start from this generator or training-state.pt, of this resolution or a lower one (its width counts), and "
    "from its discriminator where there is one.",
)
@click.option(
    "--part-size",
    type=click.IntRange(4),
    metavar="N",
    help="Compute this many images at a time, where memory is short.",
)
@click.option(
    "--final-learning-rate",
    type=POSITIVE,
    metavar="RATE",
    help="Let the rate fall to this by a cosine.  [default: it stays]",
)
@click.option(
    "--gamma", type=click.FloatRange(0), help="Set the weight of R1.  [default: 0.3 at 64 pixels and batches of 16]"
)
@click.option(
    "--path-length",
    type=click.FloatRange(0),
    default=2,
    help="Set the weight of the path length penalty; 0 leaves it out.",
)
@click.option(
    "--style-mixing",
    type=click.FloatRange(0, 1),
    default=0.9,
    help="Mix the styles of this share of images; 0 mixes none.",
)
@click.option(
    "--relativistic", is_flag=True, help="Train by R3GAN's loss: D compares real with generated images; R1 and R2."
)
@click.option(
    "--feature-loss",
    type=click.FloatRange(0),
    default=0,
    help="Let fernet's features judge images too in the last fifth, with this weight, such as 0.2; 0 leaves that out.",
)
@click.option(
    "--augment",
    type=click.Choice(["diffaugment", "ada", "none"]),
    default="diffaugment",
    help="Show D changed pictures: diffaugment for about a thousand images, ada for more and for long trainings.",
)
@click.option("--mirror/--no-mirror", default=True, help="Show mirrored images too.")
@click.option("--snapshot-kimg", type=POSITIVE, default=20, help="Take a snapshot after this many thousand images.")
@click.option(
    "--ema-kimg",
    metavar="LIST",
    callback=_half_lives,
    help="Average G with these half-lives, such as 5,10,20; the first is generator.safetensors, the others are "
    "generator-ema20.safetensors.  [default: 5 at batches of 16]",
)
@seed_option("weights, order, latents and augmentation")
@device_option
def train_stylegan2(data: str, out: str, **options: Any) -> None:
    """Train a StyleGAN2 from scratch. A stopped training goes on when the same command is given again.

    Train on several GPUs by: torchrun --nproc-per-node N -m fergan train stylegan2 ...
    """
    from ..generators.train import train_stylegan2 as step

    _train_gan(step, data, out, options)
