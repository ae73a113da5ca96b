"""The ``fergan`` command. Only click is imported here at start; each command imports what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..runtime.errors import DataError, UsageError
from ..runtime.memory import tune_malloc
from .cli_annotate import annotate
from .cli_app import app
from .cli_audit import audit
from .cli_check import check
from .cli_doctor import doctor
from .cli_engine import engine_options, stopped_by_sigterm, to_engine
from .cli_ensemble import ensemble
from .cli_evaluate import calibrate, evaluate, leaderboard
from .cli_export import export
from .cli_metrics import metrics
from .cli_networks import convert, inspect, interpolate, mix, models
from .cli_options import (
    NOISE_MODES,
    class_option,
    classifier_options,
    device_option,
    network_option,
    noise_option,
    parse_psi_sweep,
    trunc_option,
)
from .cli_plan import plan
from .cli_recipes import recipes
from .cli_report import audit_labels, report
from .cli_serve import serve
from .cli_train import train
from .cli_tune import tune

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
            classifier_options,
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
@engine_options
@_run_option
@device_option
def run(run_name: str, **options: Any) -> None:
    """Generate, classify and report at once, by one process or many.

    A run that was stopped, killed or damaged is finished by the same command, with the same labels.
    """
    faces, labels, engine = _to_generate(options), _to_classify(options), to_engine(options)
    from .networks import ensure_network
    from .progress import progress
    from .run import run_all
    from .run_folder import RunFolder

    folder = RunFolder(run_name)
    ensure_network(faces.network)
    with stopped_by_sigterm(), folder.lock(), progress("Running") as show:
        page = run_all(folder, faces, labels, show, engine)
    click.echo(f"report in {page}\nlabels sha256 {folder.record['labels']['sha256']}")


for _command in (
    check,
    audit_labels,
    mix,
    interpolate,
    metrics,
    models,
    inspect,
    convert,
    audit,
    recipes,
    train,
    tune,
    evaluate,
    leaderboard,
    calibrate,
    ensemble,
    export,
    serve,
    app,
    annotate,
    plan,
    doctor,
):
    cli.add_command(_command)


def _to_generate(options: dict[str, Any]) -> GenerateOptions:
    from .seeds import seed_sequence

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
    seeds = seed_sequence(options["seeds"]) if options["seeds"] is not None else range(options["n"] or DEFAULT_N)
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
        model=options["model"],
        images=options.get("images"),
        crop=options["crop"],
        device=options["device"],
        labels=options["labels"],
        input_range=options["input_range"],
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
