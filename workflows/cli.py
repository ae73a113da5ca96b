"""The ``fergan`` command. Only click is imported here at start; each command imports what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..data.errors import DataError, UsageError
from ..data.memory import tune_malloc
from .cli_audit import audit
from .cli_check import check
from .cli_doctor import doctor
from .cli_metrics import metrics
from .cli_networks import convert, inspect, interpolate, mix, models
from .cli_options import (
    NOISE_MODES,
    class_option,
    device_option,
    network_option,
    noise_option,
    parse_psi_sweep,
    trunc_option,
)
from .cli_report import audit_labels, report

if TYPE_CHECKING:
    from .classify import ClassifyOptions
    from .generate import GenerateOptions

DEFAULT_N = 500


class _Commands(click.Group):
    """Lists commands in the order of the pipeline, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fergan")
def cli() -> None:
    """Which facial expressions does a face generator make?

    Three commands answer it; each goes on where the one before stopped:

    \b
        fergan generate --n 500     500 faces with the bundled generator
        fergan classify             their expressions
        fergan report               runs/default/report.html

    'fergan run' does all three at once.
    """
    tune_malloc()


_run_option = click.option(
    "--run", "run_name", default="default", show_default=True, metavar="NAME", help="Run folder: runs/NAME, or a path."
)


def _generate_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--n", type=click.IntRange(1), help=f"Seeds 0..n-1.  [default: {DEFAULT_N}]"),
            click.option("--seeds", metavar="LIST", help="Seeds and ranges instead of --n, such as 0,1,4-6."),
            network_option,
            trunc_option,
            click.option(
                "--trunc-cutoff", type=click.IntRange(0), metavar="N", help="Truncate the first N styles only."
            ),
            click.option("--psi-sweep", metavar="LIST", help="The same seeds at several psi, such as 0.5,0.7,1."),
            click.option("--projected-w", metavar="FILE", help="Draw the styles of a projector's .npz, not seeds."),
            noise_option(*NOISE_MODES),
            class_option,
        ]
    ):
        command = option(command)
    return command


def _classify_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--model", metavar="FILE|NAME", help="A .keras file or a bundled name.  [default: the best]"),
            click.option(
                "--crop",
                type=click.Choice(["none", "ffhq", "detect"]),
                default="none",
                show_default=True,
                help="Part of the picture that is judged: all of it, the face box of FFHQ-aligned pictures, "
                "or the largest face found.",
            ),
        ]
    ):
        command = option(command)
    return command


@cli.command(epilog="Example: fergan generate --n 500")
@_generate_options
@_run_option
@device_option
def generate(run_name: str, **options: Any) -> None:
    """Make faces: one PNG a seed in runs/NAME/faces.

    With --psi-sweep, each seed is made at each psi, and the report shows how truncation moves the
    expressions. A face depends on its seed alone. Called again with the same options, only missing faces are made.
    """
    wanted = _to_generate(options)
    from .generate import generate as step
    from .networks import ensure_network
    from .progress import progress
    from .run_folder import RunFolder

    run = RunFolder(run_name)
    ensure_network(wanted.network)
    with run.lock(), progress("Generating") as show:
        folder, count = step(run, wanted, show)
    click.echo(f"{count} faces in {folder}")


@cli.command(epilog="Example: fergan classify --images my_gan/samples --run my_gan")
@_classify_options
@click.option("--images", metavar="DIR|ZIP", help="Judge these pictures in place of the run's own faces.")
@_run_option
@device_option
def classify(run_name: str, **options: Any) -> None:
    """Label faces with their expressions: runs/NAME/labels.csv."""
    wanted = _to_classify(options)
    from .classify import classify as step
    from .progress import progress
    from .run_folder import RunFolder

    run = RunFolder(run_name)
    with run.lock(), progress("Classifying") as show:
        path, skipped = step(run, wanted, show)
    click.echo(f"labels in {path}")
    if skipped:
        click.echo(f"{skipped} pictures could not be read and were skipped: see {run.skipped_csv}", err=True)


cli.add_command(report)


@cli.command(epilog="Example: fergan run --n 500 --run first")
@_generate_options
@_classify_options
@_run_option
@device_option
def run(run_name: str, **options: Any) -> None:
    """Generate, classify and report in one process."""
    faces, labels = _to_generate(options), _to_classify(options)
    from .networks import ensure_network
    from .progress import progress
    from .run import run_all
    from .run_folder import RunFolder

    folder = RunFolder(run_name)
    ensure_network(faces.network)
    with folder.lock(), progress("Running") as show:
        page = run_all(folder, faces, labels, show)
    click.echo(f"report in {page}")


for _command in (audit, check, audit_labels, mix, interpolate, metrics, models, inspect, convert, doctor):
    cli.add_command(_command)


@cli.group(cls=_Commands, epilog="Example: fergan train classifier --data fer2013.csv")
def train() -> None:
    """Train a classifier or a generator."""


@train.command("classifier", epilog="Example: fergan train classifier --data fer2013.csv --out runs/my_classifier")
@click.option("--data", required=True, metavar="CSV", help="fer2013.csv or icml_face_data.csv.")
@click.option("--votes", metavar="CSV", help="FER+'s fer2013new.csv: its votes train a second head.")
@click.option("--out", default="runs/classifier", show_default=True, metavar="DIR", help="Folder of the training.")
@click.option("--epochs", type=click.IntRange(1), default=36, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=128, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True)
@click.option("--patience", type=click.IntRange(1), default=15, show_default=True, help="Epochs without progress.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def train_classifier(data: str, votes: str | None, out: str, **settings: Any) -> None:
    """Train the small residual network on FER2013: fit on Training, choose the epoch on PublicTest.

    A stopped training goes on where it was when the same command is given again.
    """
    from ..classify.classifier import load_classifier
    from ..classify.training import TrainingSettings
    from ..classify.training import train_classifier as step
    from ..data.fer2013 import read_fer2013
    from ..data.ferplus import read_ferplus
    from .feature_reference import write_feature_reference
    from .training_display import epoch_display

    faces = read_fer2013(data)
    shares = read_ferplus(votes, faces.usage) if votes else None
    wanted = TrainingSettings(**settings)
    scores = step(faces, out, wanted, votes=shares, callbacks=(epoch_display(),))
    model = Path(out) / "fernet.keras"
    write_feature_reference(model, load_classifier(model), faces.split("Training"), faces.split("PublicTest"))
    click.echo(f"PublicTest accuracy {scores['accuracy']:.4f}; model in {out}/fernet.keras")


@train.command("dcgan", epilog="Example: fergan train dcgan --data fer2013.csv --out runs/my_dcgan")
@click.option("--data", required=True, metavar="DIR|ZIP|CSV", help="A folder or zip of images, or fer2013.csv.")
@click.option("--out", default="runs/dcgan", show_default=True, metavar="DIR", help="Folder of the training.")
@click.option(
    "--epochs", type=click.FloatRange(0, min_open=True), default=25, show_default=True, help="Passes over the data."
)
@click.option("--resolution", type=click.IntRange(32), default=48, show_default=True, help="Pixels, a multiple of 16.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True, help="1 gray, 3 RGB.")
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
    from .train_generator import train_dcgan as step
    from .training_display import gan_display

    with gan_display() as show:
        path = step(data, out, show, **options)
    click.echo(f"generator in {path}")


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
    type=click.Choice(["tiny", "small", "medium", "paper", "full"]),
    default="tiny",
    show_default=True,
    help="Of the networks: tiny for a CPU, paper and full as published.",
)
@click.option("--init", metavar="FILE|NAME", help="Start from this generator (its width counts, D starts fresh).")
@click.option("--batch-size", type=click.IntRange(4), default=16, show_default=True)
@click.option("--part-size", type=click.IntRange(4), metavar="N", help="Images at a time, where memory is short.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.0025, show_default=True)
@click.option("--gamma", type=click.FloatRange(0), help="R1's weight.  [default: 0.3 at 64 pixels and batches of 16]")
@click.option(
    "--augment",
    type=click.Choice(["diffaugment", "ada", "none"]),
    default="diffaugment",
    show_default=True,
    help="diffaugment for about a thousand images, ada for more and for long trainings.",
)
@click.option("--mirror/--no-mirror", default=True, show_default=True, help="Show mirrored images too.")
@click.option("--snapshot-kimg", type=click.FloatRange(0, min_open=True), default=20, show_default=True)
@click.option("--fp32", is_flag=True, help="No half precision on a GPU.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
def train_stylegan2(data: str, out: str, **options: Any) -> None:
    """Train a StyleGAN2 from scratch. A stopped training goes on when the same command is given again.

    Several GPUs: torchrun --nproc-per-node N -m fergan train stylegan2 ...
    """
    from .train_generator import train_stylegan2 as step
    from .training_display import gan_display

    with gan_display() as show:
        path = step(data, out, show, **options)
    click.echo(f"generator in {path}")


def _to_generate(options: dict[str, Any]) -> GenerateOptions:
    from .seeds import parse_seeds

    if options["n"] is not None and options["seeds"] is not None:
        raise UsageError("--n and --seeds exclude each other; --n 500 is short for --seeds 0-499")
    if options["psi_sweep"] is not None and options["trunc"] is not None:
        raise UsageError("--psi-sweep and --trunc exclude each other; name all psi in --psi-sweep")
    if options["projected_w"] is not None:
        for name in ("n", "seeds", "trunc", "trunc_cutoff", "psi_sweep", "class_index"):
            if options[name] is not None:
                option = "--class" if name == "class_index" else "--" + name.replace("_", "-")
                raise UsageError(
                    f"--projected-w and {option} exclude each other; projected styles are drawn as they are"
                )
    seeds: Sequence[int]
    seeds = parse_seeds(options["seeds"]) if options["seeds"] is not None else range(options["n"] or DEFAULT_N)
    sweep = None if options["psi_sweep"] is None else parse_psi_sweep(options["psi_sweep"])
    from .generate import GenerateOptions

    return GenerateOptions(
        seeds=seeds,
        network=options["network"],
        truncation_psi=options["trunc"],
        truncation_cutoff=options["trunc_cutoff"],
        psi_sweep=sweep,
        projected_w=options["projected_w"],
        noise_mode=options["noise_mode"],
        class_index=options["class_index"],
        device=options["device"],
    )


def _to_classify(options: dict[str, Any]) -> ClassifyOptions:
    from .classify import ClassifyOptions

    return ClassifyOptions(
        model=options["model"], images=options.get("images"), crop=options["crop"], device=options["device"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit code 0, 1 for bad data, 2 for bad usage, 130 after Ctrl-C; one line for each error."""
    try:
        cli.main(args=arguments, prog_name="fergan", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("fergan: stopped; the same command goes on from here", err=True)
        sys.exit(130)
    except (DataError, UsageError) as error:
        click.echo(f"fergan: {error}", err=True)
        sys.exit(1 if isinstance(error, DataError) else 2)
