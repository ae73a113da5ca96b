"""``fergan recipes``: what can be trained. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import click

from .options import format_option
from .output import print_table


@click.command(epilog="Example: fergan recipes mobilenetv2")
@click.argument("name", required=False)
@format_option("table", "json")
def recipes(name: str | None, format: str) -> None:
    """List the classifiers that 'fergan train classifier --recipe NAME' can train, or show one recipe.

    A recipe is a TOML file; save one under another name, change it, and give it to --recipe. Weights
    are counted with a head of 7 classes, MACs are multiply-adds for one face.
    """
    from ...classify.recipes import read_recipe, recipe_path, summaries
    from ...runtime.errors import DataError

    if name is not None:
        path = recipe_path(name)
        try:
            click.echo(
                json.dumps(read_recipe(path), indent=2) if format == "json" else path.read_text("utf-8-sig").rstrip()
            )
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a recipe ({error})") from error
        return
    listed = summaries()
    if format == "json":
        click.echo(json.dumps([dataclasses.asdict(one) for one in listed], indent=2))
        return
    rows = [
        (
            one.name,
            one.title,
            str(one.size),
            _short(one.parameters),
            _short(one.multiply_adds),
            "\n".join(map(_score, one.scores)) or "-",
            one.source,
        )
        for one in listed
    ]
    headings = ["Name", "What it is", "Px", "Weights", "MACs", "Measured", "After"]
    print_table(headings, rows, right=(2, 3, 4))


def _short(count: int | None) -> str:
    if count is None:
        return "?"
    return (
        f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.0f} k"
    )


def _score(score: Mapping[str, Any]) -> str:
    short = f", short run: {score['epochs']} epochs" if score.get("short") else ""
    views = {"single": "", "flip": ", with mirror image", "ten": ", ten views"}[score["views"]]
    return f"{100 * score['accuracy']:.1f} % {score['split']}{views}{short}"
