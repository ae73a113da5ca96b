"""``--want`` and what goes with it. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...classify.bundled import BEST, DEFAULT
from ...data.labels import canonical_label
from ...runtime.errors import DataError, UsageError
from .options import directions_option, first_given, together

if TYPE_CHECKING:
    from ...data.run_record.run import Share
    from ..run_folder.folder import RunFolder
    from ..steps.judge import ClassifyOptions
    from ..steps.want import WantOptions

_HELPERS = ("judge", "second_judge", "min_confidence", "max_seeds")


want_options = together(
    click.option(
        "--want",
        metavar="LIST",
        help="Draw until so many faces of each label are found, such as happy=50,neutral=50; keep these only.",
    ),
    click.option(
        "--judge",
        metavar="FILE|NAME",
        help=f"With --want, let this judge label.  [default: --model, or else {DEFAULT}]",
    ),
    click.option(
        "--second-judge",
        metavar="FILE|NAME",
        help="With --want, put this judge's labels beside, without a say.  "
        f"[default: {BEST}, or {DEFAULT} where that one chooses]",
    ),
    click.option(
        "--min-confidence",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="With --want, keep faces of which the judge is at least this sure.  [default: 0]",
    ),
    click.option(
        "--max-seeds",
        type=click.IntRange(1, 2**32),
        metavar="N",
        help="With --want, try at most N seeds.  [default: 100000]",
    ),
    click.option(
        "--steer", is_flag=True, help="With --want, move later seeds towards the labels that are still missing."
    ),
    directions_option,
    click.option(
        "--steer-after",
        type=click.IntRange(0, 2**32 - 1),
        metavar="N",
        help="Draw N seeds as they are before others are steered.  [default: 2000]",
    ),
)
"""``--want`` and its companions; taken out again by :func:`to_want`."""


def to_want(options: dict[str, Any], judge: ClassifyOptions | None = None) -> WantOptions | None:
    """Take out of ``options`` those of :func:`want_options`; None without ``--want``.

    Args:
        options: of the command.
        judge: who chooses where ``--judge`` does not say; None for the default, which sees faces by ``--crop``.

    Raises:
        UsageError: options that exclude each other, or quotas that are none.
    """
    text = options.pop("want")
    given = {name: options.pop(name) for name in _HELPERS}
    if text is None:
        if name := first_given(given, *given):
            raise UsageError(f"{name} goes with --want")
        if options["steer"]:
            raise UsageError("--steer goes with --want: it moves faces towards the labels that are wanted")
        if judge is None and options["crop"] is not None:
            raise UsageError("--crop goes with --want: it says how the judge sees the faces")
        return None
    if name := first_given(options, "n", "seeds", "psi_sweep", "projected_w", "edit_sweep"):
        raise UsageError(
            f"--want and {name} exclude each other; --want draws seeds 0, 1, 2 ... until it has what it wants, up to "
            "--max-seeds"
        )
    from dataclasses import replace

    from ..steps.judge import ClassifyOptions
    from ..steps.want import WantOptions

    chooses = (judge or ClassifyOptions(crop=options["crop"] or "none", device=options["device"])).each()[0]
    if given["judge"] is not None:
        chooses = replace(chooses, models=((None, given["judge"]),), labels=None, input_range=None, view=None)
    others = {name: value for name, value in given.items() if name != "judge" and value is not None}
    return WantOptions(parse_want(text), chooses, **others)


def to_steer(options: dict[str, Any]) -> dict[str, Any]:
    """Take ``--steer`` and its companions out, by the names of :class:`GenerateOptions`; nothing without ``--steer``.

    Raises:
        UsageError: options that do not fit, or there is no direction.
        DataError: a file is missing or is not a direction.
    """
    given = {name: options.pop(name) for name in ("steer", "direction", "steer_after")}
    if not given["steer"]:
        if name := first_given(given, "direction", "steer_after"):
            raise UsageError(f"{name} goes with --steer")
        return {}
    if options["edit"]:
        raise UsageError("--steer and --edit exclude each other; --steer moves faces by itself")
    from ...stylegan.directions import find_directions, networks_with_directions, read_direction
    from ...stylegan.zoo import chosen_network

    network = chosen_network(options["network"], options["class_index"])
    files = find_directions(given["direction"], network)
    if not files:
        raise UsageError(
            f"--steer: no directions come with this network; give --network {' or '.join(networks_with_directions())}, "
            "or make some by 'fergan direction' and give them with --direction"
        )
    found: dict[str, Any] = {"steer": tuple(map(read_direction, files))}
    return found if given["steer_after"] is None else {**found, "steer_after": given["steer_after"]}


def parse_want(text: str) -> dict[str, int]:
    """``"happy=50,neutral=50"`` -> ``{"happy": 50, "neutral": 50}``.

    Raises:
        UsageError: something else, a quota below 1, or a label that comes twice.
    """
    quotas: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        label = canonical_label(name)
        if not label or not number:
            raise UsageError(
                f"--want {text!r}: {part.strip()!r} is not a label with its number; write happy=50,neutral=50"
            )
        if not (number.isascii() and number.isdecimal()) or not 0 < int(number) < 10**9:
            raise UsageError(f"--want {text!r}: {number!r} is not a number of faces; give 1 or more for each label")
        if label in quotas:
            raise UsageError(f"--want {text!r}: names {label} twice; give one number for it")
        quotas[label] = int(number)
    return quotas


def tell_wanted(run: RunFolder) -> None:
    """Print what a search found, a line a label.

    Raises:
        DataError: it did not find everything.
    """
    from ..steps.want import shortfall

    selected, made = run.record.selected, run.generate
    if selected is None or made is None:
        return
    for label, rate in selected.rates.items():
        drawn = f"{rate.n:,} {'faces of its class' if selected.by_class else 'seeds'}"
        line = f"{label}: {selected.found[label]} kept"
        if rate.n:  # not where every seed is steered
            line += f", {_share(rate)} of {drawn}"
        steered = (selected.steered or {}).get(label)
        if steered and steered.n:
            line += f"; of {steered.n:,} moved towards it {_share(steered)}, {steered.kept} kept"
        agreed = selected.agreement[label]
        if agreed.n:
            line += f"; {made.second_judge} agrees on {agreed.k} of {agreed.n} ({_share(agreed)})"
        click.echo(line)
    if missing := shortfall(run):
        raise DataError(missing)


def _share(row: Share) -> str:
    share, low, high = (f"{100 * value:.3g}" for value in row.limits or ())
    return f"{share} % [{low}, {high}]"
