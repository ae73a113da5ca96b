"""The commands around networks: what there is, what is in a file, and what StyleGAN2 does besides seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ...runtime.errors import UsageError
from .options import format_option, refuse_existing, replace_option
from .output import print_table


@click.command(epilog="Example: fergan models ffhq-256")
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List networks to use by name, or show the card of one.

    Some are bundled; published ones are downloaded when their name is first given to --network or --model.
    """
    from ..generators.catalogue import list_models, model_card

    if name is not None:
        click.echo(model_card(name))
        return
    rows = [
        (model.name, model.about, f"{model.resolution}", model.size, model.place, model.licence)
        for model in list_models()
    ]
    print_table(["Name", "What it is", "Pixels", "Size", "Where", "Licence"], rows, right=(2, 3))


@click.command(epilog="Example: fergan inspect ffhq.pkl")
@click.argument("file", metavar="FILE|NAME")
@format_option("table", "json")
def inspect(file: str, format: str) -> None:
    """Show what a checkpoint holds, or a network that 'fergan models' lists; nothing in it is run."""
    from ...classify.bundled import bundled_classifier
    from ...stylegan.checkpoints import describe
    from ...stylegan.zoo import find_checkpoint
    from ..generators.catalogue import ensure_network

    if bundled_classifier(file) and not Path(file).exists():
        raise UsageError(f"{file} is a classifier and not a generator; 'fergan models {file}' shows its card")
    ensure_network(file)
    found = describe(find_checkpoint(file))
    if format == "json":
        click.echo(json.dumps(found, indent=2))
        return
    print_table(["", ""], _facts(found))


@click.command(epilog="Example: fergan convert ffhq.pkl ffhq.safetensors")
@click.argument("file")
@click.argument("out")
@replace_option
def convert(file: str, out: str, force: bool) -> None:
    """Write the generator of a checkpoint as OUT.safetensors.

    It holds G_ema alone, with weights that are the same to the bit, and is the smaller for it.
    """
    source, target = Path(file), Path(out)
    if target.suffix != ".safetensors":
        raise UsageError(f"{out}: the converted file is a safetensors file; give a name that ends with .safetensors")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{out}: is the file to be converted itself; give another name")
    refuse_existing(target, force)
    from ...stylegan.checkpoints import convert as step
    from ..generators.catalogue import megabytes

    step(source, target)
    before, after = source.stat().st_size, target.stat().st_size
    click.echo(f"{out}: {megabytes(after)} from {megabytes(before)}; G_ema alone, its weights the same to the bit")


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The result of :func:`describe` for people, as names and values."""
    from ..generators.catalogue import megabytes

    config = {key: value for key, value in found["config"].items() if value not in (None, [], ())}
    facts: dict[str, Any] = {
        "File": found["path"],
        "Size": megabytes(found["size"]),
        "SHA-256": found["sha256"],
        "Format": found["format"],
        "Architecture": found["architecture"],
        "Resolution": f"{found['resolution']} x {found['resolution']}, {'gray' if found['channels'] == 1 else 'RGB'}",
        "Classes": found["classes"] or "none",
        "Parameters": f"{found['parameters']:,} in {found['tensors']} tensors",
        "Discriminator": "yes" if found["discriminator"] else "no",
        "Configuration": _lines(config),
    }
    for key, value in found["metadata"].items():
        if key != "licence":
            facts[str(key).replace("_", " ").capitalize()] = _lines(value) if isinstance(value, dict) else value
    facts["Licence"] = found["licence_notice"] or "not stated in the file"
    return [(key, str(value)) for key, value in facts.items()]


def _lines(values: dict[str, Any]) -> str:
    return "\n".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()
    )
