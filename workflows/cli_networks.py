"""The commands around networks: what there is, what is in a file, and what StyleGAN2 does besides seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..runtime.errors import UsageError
from .cli_options import NOISE_MODES, class_option, device_option, network_option, noise_option, trunc_option
from .cli_table import print_table


@click.command(epilog="Example: fergan models ffhq-256")
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List networks to use by name, or show the card of one.

    Some are bundled; published ones are downloaded when their name is first given to --network.
    """
    from .networks import list_models, model_card

    if name is not None:
        click.echo(model_card(name))
        return
    rows = [
        (model.name, model.about, f"{model.resolution}", model.size, model.place, model.licence)
        for model in list_models()
    ]
    print_table(["Name", "What it is", "Pixels", "Size", "Where", "Licence"], rows, right=(2, 3))


@click.command(epilog="Example: fergan inspect ffhq.pkl")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def inspect(file: str, as_json: bool) -> None:
    """Tell what is in a checkpoint; nothing in it is run."""
    from ..stylegan.checkpoints import describe

    found = describe(file)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    print_table(["", ""], _facts(found))


@click.command(epilog="Example: fergan convert ffhq.pkl ffhq.safetensors")
@click.argument("file")
@click.argument("out")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
def convert(file: str, out: str, force: bool) -> None:
    """Write the generator of a checkpoint as OUT.safetensors.

    It holds G_ema alone, with weights that are the same to the bit, and is the smaller for it.
    """
    source, target = Path(file), Path(out)
    if target.suffix != ".safetensors":
        raise UsageError(f"{out}: the converted file is a safetensors file; give a name that ends with .safetensors")
    if target.exists():
        if source.exists() and target.samefile(source):
            raise UsageError(f"{out}: is the file to be converted itself; give another name")
        if not force:
            raise UsageError(f"{out}: exists already; give another name, or --force to replace it")
    from ..stylegan.checkpoints import convert as step

    step(source, target)
    before, after = source.stat().st_size, target.stat().st_size
    click.echo(f"{out}: {_megabytes(after)} from {_megabytes(before)}; G_ema alone, its weights the same to the bit")


@click.command(epilog="Example: fergan mix --rows 85,100 --cols 55,821 --styles 0-6")
@click.option("--rows", required=True, metavar="LIST", help="Seeds of the faces, one a row.")
@click.option("--cols", required=True, metavar="LIST", help="Seeds of the styles, one a column.")
@click.option(
    "--styles", default="0-6", show_default=True, metavar="LIST", help="Styles that the column gives; or all, or none."
)
@click.option("--outdir", default="mix", show_default=True, metavar="DIR", help="Folder of the pictures.")
@network_option
@trunc_option
@noise_option(*NOISE_MODES)
@class_option
@device_option
def mix(rows: str, cols: str, styles: str, outdir: str, **options: Any) -> None:
    """Mix the styles of faces: DIR/ROW-COL.png and DIR/grid.png.

    Low styles are pose and shape, high ones are colours. A picture that exists is replaced.
    """
    from .seeds import parse_list

    faces, columns = parse_list(rows, "--rows"), parse_list(cols, "--cols")
    named: dict[str, tuple[int, ...] | None] = {"all": None, "none": ()}
    layers = named[styles] if styles in named else tuple(parse_list(styles, "--styles", last=99, what="style"))
    from .mix import MixOptions
    from .mix import mix as step
    from .networks import ensure_network
    from .progress import progress

    ensure_network(options["network"])
    wanted = MixOptions(faces, columns, layers, truncation_psi=options.pop("trunc"), **options)
    with progress("Mixing") as show:
        grid, count = step(wanted, outdir, show)
    click.echo(f"{count} faces and {grid}")


@click.command(epilog="Example: fergan interpolate --seeds 0,1,2 --out faces.mp4")
@click.option("--seeds", required=True, metavar="LIST", help="The faces to go through, in this order.")
@click.option("--frames", type=click.IntRange(1, 10_000), default=60, show_default=True, help="From face to face.")
@click.option("--fps", type=click.FloatRange(1, 120), default=30, show_default=True, help="Frames a second.")
@click.option("--loop/--no-loop", default=True, show_default=True, help="Go back to the first face at the end.")
@click.option(
    "--out", default="interpolation.webp", show_default=True, metavar="FILE", help="An animated .webp, or an .mp4."
)
@network_option
@trunc_option
@noise_option("const", "none")
@class_option
@device_option
def interpolate(seeds: str, out: str, **options: Any) -> None:
    """Film the way from face to face. A film that exists is replaced."""
    from .seeds import parse_list

    keys = parse_list(seeds, "--seeds")
    from .interpolate import InterpolateOptions
    from .interpolate import interpolate as step
    from .networks import ensure_network
    from .progress import progress

    ensure_network(options["network"])
    wanted = InterpolateOptions(keys, truncation_psi=options.pop("trunc"), **options)
    with progress("Drawing", unit="frames") as show:
        path = step(wanted, out, show)
    click.echo(f"{wanted.total} frames in {path}")


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What :func:`describe` found, for people."""
    config = {key: value for key, value in found["config"].items() if value not in (None, [], ())}
    facts: dict[str, Any] = {
        "File": found["path"],
        "Size": _megabytes(found["size"]),
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


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
