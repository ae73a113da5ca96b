"""``fergan app``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import click

from .options import device_option, network_option


@click.command(epilog="Example: fergan app --model fernet --model mine=runs/mine/classifier.keras")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]FILE|NAME",
    help="Show this classifier; repeatable, a tab each.  [default: fernet]",
)
@network_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here; 0.0.0.0 or :: for all networks.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Listen on this port.")
@device_option
def app(models: tuple[str, ...], network: str | None, host: str, port: int, device: str) -> None:
    """Try classifiers and the generator in a browser.

    Upload a picture, compare models, generate faces, or point a camera at yourself. Works without internet.
    """
    from ..generators.catalogue import ensure_network
    from ..live.app import serve_app

    ensure_network(network)
    serve_app(
        [_named(text) for text in models] or [(None, None)],
        network=network,
        host=host,
        port=port,
        device=device,
        ready=lambda url: click.echo(f"the app is at {url} (Ctrl-C ends it)"),
    )


def _named(text: str) -> tuple[str | None, str]:
    """``NAME=FILE`` or ``FILE``, in whose folders there may be a ``=`` too."""
    name, equals, source = text.partition("=")
    return (name, source) if equals and name and "/" not in name else (None, text)
