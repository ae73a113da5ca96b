"""The ``fergan`` command. Only click is imported here at start; each command imports what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ... import __version__
from ...runtime.errors import DataError, UsageError
from ...runtime.memory import tune_malloc
from .annotate import annotate
from .app import app
from .calibrate import calibrate
from .check import check
from .data_audit import audit
from .doctor import doctor
from .ensemble import ensemble
from .evaluate import evaluate, leaderboard
from .export import export
from .label_audit import audit_labels
from .metrics import metrics
from .networks import convert, inspect, models
from .plan import plan
from .recipes import recipes
from .report import report
from .serve import serve
from .styles import interpolate, mix
from .train import train
from .tune import tune

if TYPE_CHECKING:
    pass


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


cli.add_command(report)


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
