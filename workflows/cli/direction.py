"""``fergan direction``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...classify.bundled import DEFAULT
from ...data.labels import canonical_label
from .options import (
    class_option,
    device_option,
    network_option,
    psi_option,
    refuse_existing,
    replace_option,
    seed_option,
)


@click.command(epilog="Example: fergan direction --toward happy --out happy.npz")
@click.option("--toward", required=True, metavar="LABEL", help="Make this expression stronger.")
@click.option("--keep", multiple=True, metavar="LABEL", help="Leave this one alone. Repeat it for several.")
@click.option("--judge", metavar="FILE|NAME", help=f"Ask this classifier.  [default: {DEFAULT}]")
@click.option(
    "--aim",
    type=click.Choice(["most", "far"]),
    default="most",
    show_default=True,
    help="Raise the label on most faces, or as far as it goes on those that change.",
)
@click.option("--n", type=click.IntRange(400), default=3000, show_default=True, metavar="N", help="Learn from N faces.")
@seed_option("the random steps")
@click.option("--out", metavar="FILE", help="Write this .npz and its .png.  [default: LABEL.npz]")
@network_option
@psi_option
@class_option
@device_option
@replace_option
def direction(toward: str, keep: tuple[str, ...], out: str | None, force: bool, **options: Any) -> None:
    """Learn the step in the space of styles that makes an expression stronger: NAME.npz and NAME.png.

    The picture shows eight faces at seven strengths. 'fergan generate --edit NAME.npz:2' and 'fergan interpolate
    --edit' use the direction. For a DCGAN, styles are latents.
    """
    from ..generators.catalogue import ensure_judges, ensure_network
    from ..generators.direction import DirectionOptions, learn_direction
    from ..progress import progress
    from .output import print_table

    label = canonical_label(toward)
    path = out or f"{label}.npz"
    for made in (Path(path), Path(path).with_suffix(".png")):
        refuse_existing(made, force)
    ensure_network(options["network"])
    ensure_judges(options["judge"])
    wanted = DirectionOptions(label, tuple(map(canonical_label, keep)), **options)
    with progress("Learning", into=path) as show:
        found = learn_direction(wanted, path, show)
    measured = found.about["measured"]
    rows = [
        (
            f"{row['strength']:g}",
            f"{row['probability']:.3f}",
            f"{100 * row['shares'][label]:.0f} %",
            f"{row['moved']:.2f}",
            "–" if row["precision"] is None else f"{row['precision']:.2f}",
        )
        for row in measured["strengths"]
    ]
    print_table(["strength", f"p({label})", "labelled so", "moved", "precision"], rows, right=(0, 1, 2, 3, 4))
    click.echo(
        f"On {measured['seeds']} other seeds {found.judge}'s probability of {label} rises at every step from 0 to "
        f"{measured['rising_over'][-1]:g} for {100 * measured['rising']:.0f} %.\n"
        f"moved: how far faces went in {measured['features']} features, as a share of the distance of two faces; "
        "precision: edited faces inside the generator's own.\n"
        f"{path} written, and a strip of faces beside it"
    )
