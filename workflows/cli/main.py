"""The ``fergan`` command: a table of sections, and the one place where errors become exit codes.

Only click is imported at start. A command's module is imported when the command is called or listed, and what it works
with when it runs. A new command is a module here and a line in ``SECTIONS``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from ...runtime.memory import tune_malloc
from ...runtime.version import __version__
from .output import accept_any_text

SECTIONS: dict[str, dict[str, str]] = {
    "Pipeline": {
        "run": "run",
        "generate": "generate",
        "classify": "classify",
        "report": "report",
        "check": "check",
    },
    "Generators": {
        "models": "networks",
        "inspect": "networks",
        "convert": "networks",
        "direction": "direction",
        "mix": "styles",
        "interpolate": "styles",
        "metrics": "metrics",
        "train": "train",
    },
    "Classifiers": {
        "recipes": "recipes",
        "tune": "tune",
        "evaluate": "evaluate",
        "leaderboard": "evaluate",
        "calibrate": "calibrate",
        "ensemble": "ensemble",
        "export": "export",
    },
    "Data": {"audit": "audit"},
    "Serve and show": {"serve": "serve", "app": "app", "annotate": "annotate"},
    "This machine": {"doctor": "doctor"},
}
"""Section -> command -> the module of this package that holds it, under the command's own name."""


def _be_quiet(context: click.Context, option: click.Parameter, value: bool) -> None:
    from ..progress import QUIET

    context.meta[QUIET] = value


def _take_quiet(command: click.Command) -> None:
    """Give a command, or the commands of a group, the option ``--quiet``."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _take_quiet(child)
    elif not any("--quiet" in option.opts for option in command.params):
        text = "Show no progress; only results, warnings and errors."
        command.params.append(
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_be_quiet, help=text)
        )


class _FullText(click.types.StringParamType):
    """A text that is not empty: ``Path("")`` would be the folder that one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param is not None:
            wanted = param.metavar or "a name"
            raise UsageError(f"{param.opts[0] if isinstance(param, click.Option) else wanted} '': give {wanted}")
        return super().convert(value, param, ctx)


def _refuse_empty(command: click.Command) -> None:
    """Let no option or argument of a command, or of a group's commands, be an empty text; only lists may be empty."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _refuse_empty(child)
    for parameter in command.params:
        if parameter.type is click.STRING and parameter.metavar != "LIST":
            parameter.type = _FullText()


_WHOLE = 200
"""Characters that hold any command's first sentence, which the list of commands wraps where click would cut it."""


class Sections(click.Group):
    """Imports a command's module when it is asked for, and lists commands by section, in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        for commands in SECTIONS.values():
            if name in commands:
                command = getattr(import_module(f".{commands[name]}", __package__), name)
                assert isinstance(command, click.Command)
                _take_quiet(command)
                _refuse_empty(command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            rows = []
            for name in commands:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name, command.get_short_help_str(limit=_WHOLE)))
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(
    cls=Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit code 0, 1 for bad data, 2 for bad usage, 130 after Ctrl-C; one line for each error."""
    accept_any_text()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's word on its hardware; read when it is loaded
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
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"fergan: {printable(error.filename)}: {error.strerror}", err=True)
        sys.exit(1)
