"""``fergan mix`` and ``fergan interpolate``: pictures by way of their styles."""

from __future__ import annotations

from typing import Any

import click

from ...runtime.errors import counted
from ...stylegan.noise import NOISE_MODES
from .options import (
    class_option,
    device_option,
    edit_option,
    network_option,
    noise_option,
    psi_option,
    read_edits,
)


@click.command(epilog="Example: fergan mix --rows 85,100 --cols 55,821 --styles 0-6")
@click.option("--rows", required=True, metavar="LIST", help="Draw a row for each of these seeds.")
@click.option("--cols", required=True, metavar="LIST", help="Take styles from these seeds, a column each.")
@click.option(
    "--styles",
    metavar="LIST",
    help="Take these from the column; or all, or none.  [default: the first two fifths, 0-6 of 1024 pixels' 18]",
)
@click.option("--out", "--outdir", default="mix", metavar="DIR", help="Write into this folder.")
@network_option
@psi_option
@noise_option(*NOISE_MODES)
@class_option
@device_option
def mix(rows: str, cols: str, styles: str | None, out: str, **options: Any) -> None:
    """Mix the styles of faces: DIR/ROW-COL.png and DIR/grid.png.

    Low styles are pose and shape, high ones are colours. A picture that exists is replaced.
    """
    from ..run_folder.seeds import parse_list

    faces, columns = parse_list(rows, "--rows"), parse_list(cols, "--cols")
    layers: tuple[int, ...] | str | None = styles
    if styles not in (None, "all"):
        layers = () if styles == "none" else tuple(parse_list(styles, "--styles", last=99, what="style"))
    from ..generators.catalogue import ensure_network
    from ..generators.mix import MixOptions
    from ..generators.mix import mix as step
    from ..progress import progress

    ensure_network(options["network"])
    wanted = MixOptions(faces, columns, layers, **options)
    with progress("Mixing", into=out) as show:
        grid, count = step(wanted, out, show)
    click.echo(f"{counted(count, 'face')} and {grid}")


@click.command(epilog="Example: fergan interpolate --seeds 0,1,2 --out faces.mp4")
@click.option("--seeds", required=True, metavar="LIST", help="Draw these seeds, in this order.")
@click.option("--frames", type=click.IntRange(1, 10_000), default=60, help="Draw this many from face to face.")
@click.option("--fps", type=click.FloatRange(1, 120), default=30, help="Show this many frames a second.")
@click.option("--loop/--no-loop", default=True, help="Go back to the first face at the end.")
@click.option("--out", default="interpolation.webp", metavar="FILE", help="Write this .webp, .webm or .mp4.")
@network_option
@psi_option
@noise_option("const", "none")
@class_option
@edit_option
@device_option
def interpolate(seeds: str, out: str, edit: tuple[str, ...], **options: Any) -> None:
    """Film the way from face to face. A film that exists is replaced.

    With --edit the film goes from each face to the same face moved, and on to the next; one seed is then enough.
    """
    from ..run_folder.seeds import parse_list

    keys = parse_list(seeds, "--seeds")
    from ...stylegan.zoo import chosen_network
    from ..generators.catalogue import ensure_network
    from ..generators.interpolate import InterpolateOptions
    from ..generators.interpolate import interpolate as step
    from ..progress import progress

    ensure_network(options["network"])
    wanted = InterpolateOptions(
        keys, edit=read_edits(edit, chosen_network(options["network"], options["class_index"])), **options
    )
    with progress("Drawing", unit="frames", into=out) as show:
        path = step(wanted, out, show)
    click.echo(f"{counted(wanted.total, 'frame')} in {path}")
