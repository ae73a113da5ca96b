"""``fergan generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ...runtime.errors import UsageError, counted
from ...stylegan.noise import NOISE_MODES
from .options import (
    class_option,
    crop_option,
    device_option,
    edit_option,
    first_given,
    force_option,
    network_option,
    noise_option,
    parse_psi_sweep,
    psi_option,
    read_edit_sweep,
    read_edits,
    run_option,
    taken,
    together,
)
from .want import tell_wanted, to_steer, to_want, want_options

if TYPE_CHECKING:
    from ..steps.generate import GenerateOptions


DEFAULT_N = 500


generate_options = together(
    click.option(
        "--n", type=click.IntRange(1, 2**32), help=f"Draw seeds 0 to N - 1.  [default: {DEFAULT_N}]", metavar="N"
    ),
    click.option("--seeds", metavar="LIST", help="Draw these seeds instead of --n, such as 0,1,4-6."),
    network_option,
    psi_option,
    click.option(
        "--psi-cutoff",
        "--trunc-cutoff",
        "truncation_cutoff",
        type=click.IntRange(0),
        metavar="N",
        help="Truncate the first N styles only.",
    ),
    click.option("--psi-sweep", metavar="LIST", help="Draw each seed at several psi, such as 0.5,0.7,1."),
    click.option("--projected-w", metavar="FILE", help="Draw the styles of a projector's .npz, not seeds."),
    noise_option(*NOISE_MODES),
    class_option,
    edit_option,
    click.option(
        "--edit-sweep", metavar="LIST", help="Draw each seed at several strengths of one --edit, such as 0,1,2."
    ),
    want_options,
)


@click.command(epilog="Example: fergan generate --n 500")
@generate_options
@crop_option
@run_option
@force_option
@device_option
def generate(run_name: str, force: bool, **options: Any) -> None:
    """Make faces: one PNG a seed in runs/NAME/faces.

    With --psi-sweep, each seed is made at each psi, and the report shows how truncation moves the
    expressions. A face depends on its seed alone. Called again with the same options, only missing faces
    are made; with more seeds, the run grows.

    With --want, seeds are drawn and judged until the wanted faces are found; manifest.csv lists them. With
    --steer, later seeds are moved towards what is still missing.
    """
    want = to_want(options)
    wanted = to_generate(options)
    from ..generators.catalogue import ensure_judges, ensure_network
    from ..progress import progress
    from ..run_folder.folder import RunFolder
    from ..steps.generate import generate as step

    run = RunFolder(run_name, force=force)
    ensure_network(wanted.network)
    if want is None:
        with run.lock(), progress("Generating", into=run.path) as show:
            folder, count = step(run, wanted, show)
    else:
        ensure_judges(want.judge.model, want.second_judge)
        from ..steps.want import generate_wanted

        with run.lock(), progress("Finding", into=run.path) as show:
            folder, count = generate_wanted(run, wanted, want, show)
    click.echo(f"{counted(count, 'face')} in {folder}")
    if want is not None:
        tell_wanted(run)


def to_generate(options: dict[str, Any]) -> GenerateOptions:
    from ..run_folder.seeds import seed_sequence

    if options["n"] is not None and options["seeds"] is not None:
        raise UsageError("--n and --seeds exclude each other; --n 500 is short for --seeds 0-499")
    if options["psi_sweep"] is not None and options["truncation_psi"] is not None:
        raise UsageError("--psi-sweep and --psi exclude each other; name all psi in --psi-sweep")
    excluded = ("n", "seeds", "psi_sweep", "truncation_psi", "truncation_cutoff", "class_index")
    if options["projected_w"] is not None and (name := first_given(options, *excluded)):
        raise UsageError(f"--projected-w and {name} exclude each other; projected styles are drawn as they are")
    seeds: Sequence[int]
    seeds = seed_sequence(options["seeds"]) if options["seeds"] is not None else range(options["n"] or DEFAULT_N)
    sweep = None if options["psi_sweep"] is None else parse_psi_sweep(options["psi_sweep"])
    from ...stylegan.zoo import chosen_network
    from ..steps.generate import GenerateOptions

    network, strengths, steer = chosen_network(options["network"], options["class_index"]), None, to_steer(options)
    if options["edit_sweep"] is None:
        edits = read_edits(options["edit"], network)
    else:
        if name := first_given(options, "psi_sweep", "projected_w"):
            raise UsageError(f"--edit-sweep and {name} exclude each other; leave one out")
        edits, strengths = read_edit_sweep(options["edit_sweep"], options["edit"], network)
    return taken(GenerateOptions, options, seeds=seeds, psi_sweep=sweep, edit=edits, edit_sweep=strengths, **steer)
