"""``fergan serve``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import re
from typing import Any

import click

from ...classify.bundled import DEFAULT
from ...runtime.errors import UsageError
from .options import AT_LEAST_ONE, POSITIVE, device_option


@click.command(epilog="Example: fergan serve --model fer=best --model mine=models/mine --port 8501")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=PATH",
    help="Serve a model file, a bundled name, or a folder of version folders. Repeat it for several.  "
    f"[default: fer={DEFAULT}]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8501, help="Listen on this port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", help="Listen here; 0.0.0.0 or :: for all networks.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME:LABEL=N",
    help="Give a version of a model this label. Repeat it for several.",
)
@click.option("--versions", type=AT_LEAST_ONE, default=1, help="Keep this many of the newest versions loaded.")
@click.option(
    "--workers", type=AT_LEAST_ONE, help="Work on this many batches at once.  [default: the cores, on a GPU 1]"
)
@click.option(
    "--max-batch", type=AT_LEAST_ONE, help="Put at most this many faces into a batch.  [default: 16, on a GPU 512]"
)
@click.option(
    "--batch-wait",
    type=click.FloatRange(0, 1000),
    default=2,
    metavar="MS",
    help="Let an unfilled batch wait this long for more.",
)
@click.option("--max-queue", type=AT_LEAST_ONE, default=1024, help="Answer 503 if more faces wait.")
@click.option("--max-body", type=click.IntRange(1, 1024), default=32, metavar="MIB", help="Refuse larger requests.")
@click.option("--request-timeout", type=POSITIVE, default=30, metavar="S", help="Answer 504 after this long.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=30,
    metavar="S",
    help="Give requests under way this long to finish when asked to stop.",
)
@click.option("--cors", is_flag=True, help="Let web pages of other origins read the answers.")
@click.option("--access-log", is_flag=True, help="Write a line for each request.")
@device_option
def serve(models: tuple[str, ...], labels: tuple[str, ...], batch_wait: float, max_body: int, **options: Any) -> None:
    """Serve classifiers by TensorFlow Serving's REST API.

    It also answers POST /v1/faces:analyze (a picture in, the expressions of its faces out), /healthz and /metrics.
    """
    named = [_split(text, "--model", "NAME=PATH") for text in models] or [("fer", DEFAULT)]
    _refuse_twice([name for name, _ in named])
    for name, _ in named:
        if "/" in name or ":" in name:
            raise UsageError(f"--model {name}: a name has neither '/' nor ':', which end it in a URL")
    try:
        from ..serve.server import serve as run
        from ..serve.settings import MIB, ServeSettings
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this needs {error.name}, which is not installed; run: pip install 'fergan[serve]'"
        ) from error

    settings = ServeSettings(
        models=dict(named),
        labels=dict(_label(text) for text in labels),
        batch_wait=batch_wait / 1000,
        max_body=max_body * MIB,
        **options,
    )
    names = ", ".join(settings.models)
    run(settings, lambda url: click.echo(f"Serving {names} at {url}/v1/models (Ctrl-C stops)"))


def _split(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{option} {text}: must have the form {form}")
    return name, value


def _label(text: str) -> tuple[tuple[str, str], int]:
    left, number = _split(text, "--label", "NAME:LABEL=N")
    name, colon, label = left.partition(":")
    if not (name and colon and label) or "/" in label or ":" in label or not re.fullmatch("[0-9]{1,18}", number):
        raise UsageError(f"--label {text}: must have the form NAME:LABEL=N, N a version")
    return (name, label), int(number)


def _refuse_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--model {name} is given twice; names must differ")
