"""``fergan app``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from ...classify.bundled import BEST, DEFAULT
from .options import device_option, directions_option, models_option, network_option


@click.command(epilog="Example: fergan app --model best --model mine=runs/mine/fernet.keras")
@models_option(f"Show this classifier. Repeat it for several; each has a tab.  [default: {DEFAULT} and {BEST}]")
@network_option
@directions_option
@click.option("--host", default="127.0.0.1", help="Listen here; 0.0.0.0 or :: for all networks.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, help="Listen on this port.")
@device_option
def app(models: tuple[tuple[str | None, str], ...], network: str | None, **options: Any) -> None:
    """Try classifiers and the generator in a browser.

    Upload a picture, compare models, generate faces, or point a camera at yourself. The app works without internet.
    """
    from ..generators.catalogue import ensure_judges, ensure_network
    from ..live.app import serve_app
    from ..progress import say

    ensure_network(network)
    ensure_judges(*(model for _, model in models))
    serve_app(
        models or [(None, DEFAULT), (None, BEST)],
        network=network,
        tell=say,
        ready=lambda url: click.echo(f"the app is at {url} (Ctrl-C ends it)"),
        **options,
    )
