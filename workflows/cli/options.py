"""Options that several commands share. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ...classify.bundled import DEFAULT
from ...data.crops import CROPS
from ...data.labels import NAMED, parse_labels
from ...runtime.errors import UsageError

if TYPE_CHECKING:
    from ...stylegan.directions import Direction

Decorator = Callable[[Any], Any]
T = TypeVar("T")


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator; help lists them in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


AT_LEAST_ONE = click.IntRange(1)
POSITIVE = click.FloatRange(0, min_open=True)
CROP = click.Choice(CROPS)
VIEWS = click.Choice(["single", "flip", "ten"])

_SPELLED = {"truncation_psi": "psi", "truncation_cutoff": "psi-cutoff", "class_index": "class"}
"""Keywords with another name than their option: those of run.json and of the generator's methods in Python."""


def taken(kind: type[T], options: Mapping[str, Any], **own: Any) -> T:
    """Typed options: each field from the option of its name, but for ``own`` values."""
    found = {field.name: options[field.name] for field in fields(cast(Any, kind)) if field.name in options}
    return kind(**{**found, **own})


def first_given(options: Mapping[str, Any], *names: str) -> str | None:
    """The first of these options that was given, as people write it: ``--psi-sweep``; None where none was."""
    given = (name for name in names if options[name] not in (None, ()) and options[name] is not False)
    return next((f"--{_SPELLED.get(name, name.replace('_', '-'))}" for name in given), None)


device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Compute on this device."
)
network_option = click.option(
    "--network",
    metavar="FILE|NAME",
    help="Draw with this checkpoint, or one that 'fergan models' lists.  [default: the best bundled]",
)
psi_option = click.option(
    "--psi",
    "--trunc",
    "truncation_psi",
    type=click.FloatRange(-2, 2),
    metavar="PSI",
    help="Truncate the styles to this psi; 1 leaves them alone.  [default: the generator's]",
)
class_option = click.option(
    "--class",
    "class_index",
    metavar="N|NAME",
    help="Draw this class of a conditional generator, such as 1 or disgust; without --network of the bundled one.",
)
directions_option = click.option(
    "--direction",
    multiple=True,
    metavar="FILE",
    help="Use this direction of 'fergan direction'. Repeat it for several.  [default: those that come with the "
    "network]",
)
images_option = click.option("--images", metavar="DIR|ZIP", help="Judge these pictures in place of generated faces.")
data_sets_option = click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="PATH|LABEL=PATH",
    help="Read this data set: fer2013.csv, or any other set's file, folder or zip. LABEL=PATH gives all pictures one "
    "class. Repeat it to merge several.",
)
pictures_option = click.option(
    "--data", required=True, metavar="DIR|ZIP|CSV", help="Read the pictures of this folder, zip or fer2013.csv."
)
weights_option = click.option(
    "--weights",
    metavar="none|imagenet|FILE|NAME",
    help="Start the network's weights from these; NAME: a bundled classifier's.  [default: the recipe's]",
)
votes_option = click.option("--votes", metavar="CSV", help="Read the votes of FER+, fer2013new.csv.")
relabel_option = click.option(
    "--relabel", metavar="CSV", help="Give some rows other labels first: columns row (or name) and label."
)


recipe_options = together(
    click.option(
        "--recipe",
        default="fernet",
        metavar="NAME|TOML",
        help="Train by this recipe, which 'fergan recipes' lists or a file holds.",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change the recipe, such as lr=0.01. Repeat it for more.",
    ),
)
"""``--recipe`` and ``--set``: keywords ``recipe`` and ``overrides``."""


def classes_option(default: str | None = None) -> Decorator:
    """``--classes``: keyword ``classes``, a text as :func:`fergan.data.merging.merge` takes it."""
    return click.option(
        "--classes",
        default=default,
        metavar="SET|LIST",
        help=f"Keep these classes of the data: {', '.join(NAMED)}, all, or their names."
        + ("" if default else "  [default: common ones]"),
    )


def split_option(default: str) -> Decorator:
    """``--split``; ``default`` says what is done without it."""
    return click.option(
        "--split",
        metavar="HOW",
        help=f"Split the faces: official, or by shares such as 80:10:10.  [default: {default}]",
    )


def seed_option(what: str, default: int | None = 0) -> Decorator:
    """``--seed``, of ``what``; without a default the recipe's."""
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=default,
        help=f"Draw {what} by this seed." + ("  [default: the recipe's]" if default is None else ""),
    )


edit_option = click.option(
    "--edit",
    multiple=True,
    metavar="FILE:S",
    help="Move each face along a direction of 'fergan direction', or a bundled one, by a strength, such as happy.npz:2 "
    "or happy:2.",
)


def read_edits(texts: tuple[str, ...], network: str | None = None) -> tuple[tuple[Direction, float], ...]:
    """The directions of ``--edit`` with their strengths; strengths that nobody tried are warned of.

    Raises:
        UsageError: no strength, or none that is a number.
        DataError: a file is missing or is not a direction.
    """
    found = []
    for text in texts:
        path, _, number = text.rpartition(":")
        strength = _number(number)
        if not path or strength is None:
            raise UsageError(f"--edit {text!r}: write the file and a strength, such as happy.npz:2")
        from ...stylegan.directions import find_direction, read_direction

        direction = read_direction(find_direction(path, network))
        _warn_of_reach(f"--edit {text}", direction, strength)
        found.append((direction, strength))
    return tuple(found)


def read_edit_sweep(
    text: str, edits: tuple[str, ...], network: str | None
) -> tuple[tuple[tuple[Direction, float], ...], tuple[float, ...]]:
    """The one direction of ``--edit-sweep`` and its strengths, ascending, each once.

    Raises:
        UsageError: not two strengths or more, or not one direction without a strength of its own.
        DataError: the file is missing or is not a direction.
    """
    several = _sweep("--edit-sweep", text, "number; write for example 0,1,2,3")
    if len(several) < 2:
        raise UsageError(f"--edit-sweep {text!r}: names one strength; give --edit FILE:{text} for that, or several")
    if len(edits) != 1 or _number(edits[0].rpartition(":")[2]) is not None:
        raise UsageError("--edit-sweep: give one --edit FILE with it, without a strength")
    from ...stylegan.directions import find_direction, read_direction

    direction = read_direction(find_direction(edits[0], network))
    for strength in (several[0], several[-1]):
        _warn_of_reach(f"--edit-sweep {strength:g}", direction, strength)
    return ((direction, 1.0),), several


def _number(text: str) -> float | None:
    """A finite number; None where the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number + 0.0 if math.isfinite(number) else None  # -0.0 and 0.0 are one number


def _sweep(option: str, text: str, wanted: str, most: float = math.inf) -> tuple[float, ...]:
    """The numbers of a sweep, of at most this size, ascending, each once."""
    found = set()
    for part in text.split(","):
        number = _number(part)
        if number is None or abs(number) > most:
            raise UsageError(f"{option} {text!r}: {part.strip()!r} is not a {wanted}")
        found.add(number)
    return tuple(sorted(found))


def _warn_of_reach(what: str, direction: Direction, strength: float) -> None:
    if direction.leaves_reach(strength):
        low, high = direction.reach
        click.echo(f"{what}: was measured at strengths from {low:g} to {high:g}; faces may break", err=True)


crop_option = click.option(
    "--crop",
    type=CROP,
    help="With --want, show the judge this part of a face, as 'fergan classify' does.  [default: none]",
)


def models_option(help: str) -> Decorator:
    """``--model``, repeatable: keyword ``models``, pairs of a name or None and a model."""
    return click.option("--model", "models", multiple=True, metavar="[NAME=]FILE|NAME", callback=_named, help=help)


def _named(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[tuple[str | None, str], ...]:
    """``NAME=FILE`` or ``FILE``, in whose folders there may be a ``=`` too."""
    found = []
    for text in texts:
        name, equals, source = text.partition("=")
        found.append((name, source) if equals and name and "/" not in name else (None, text))
    return tuple(found)


view_option = click.option(
    "--view",
    type=click.Choice(["48", "own"]),
    help="Show the model FER2013's 48x48 gray faces, or faces of its own size and colours.  "
    "[default: 48; own for other people's networks that take larger or RGB faces]",
)
force_option = click.option(
    "--force", is_flag=True, help="Replace what is there: delete what fergan made in the run folder first."
)


replace_option = click.option("--force", is_flag=True, help="Replace what is there: the file, if it exists.")


def refuse_existing(path: str | Path, force: bool) -> None:
    """A UsageError where a file would be replaced without ``force``."""
    if not force and Path(path).exists():
        raise UsageError(f"{path}: exists already; give another name, or --force to replace it")


open_option = click.option("--open", "show_page", is_flag=True, help="Open the report in the browser.")


def format_option(*kinds: str, help: str = "Print in this form; json is for programs.") -> Decorator:
    """``--format`` with the forms of a command, the first by default: keyword ``format``."""
    return click.option("--format", type=click.Choice(kinds), default=kinds[0], help=help)


def noise_option(*modes: str) -> Decorator:
    """``--noise-mode`` with the modes that make sense for a command."""
    text = "Add this noise in a StyleGAN2" + ("; random depends on the seed." if "random" in modes else ".")
    return click.option("--noise-mode", type=click.Choice(modes), default="const", help=text)


def _labels(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """``"a,b,c"``, or the name of a known order, such as ``fer2013``."""
    if text is None:
        return None
    labels = parse_labels(text)
    if len(labels) < 2 or not all(labels) or len(set(labels)) != len(labels):
        raise UsageError(
            f"--labels {text!r}: write the names of the outputs in their order, such as angry,disgust,fear, "
            f"or one of {', '.join(NAMED)}"
        )
    return labels


def _input_range(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None or text.strip().lower() == "imagenet":
        return text and "imagenet"
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not math.isfinite(low) or not math.isfinite(high) or low == high:
        raise UsageError(
            f"--input-range {text!r}: write what black and white are to the network, such as 0,1 or -1,1, or imagenet"
        )
    return low, high


described_options = together(
    click.option(
        "--labels",
        metavar="LIST",
        callback=_labels,
        help="Name the model's outputs in their order, where no NAME.json beside it does: a,b,c or "
        f"{', '.join(NAMED)}.",
    ),
    click.option(
        "--input-range",
        metavar="LO,HI|imagenet",
        callback=_input_range,
        help="Show the model black and white as these numbers, such as 0,255 or -1,1, or imagenet as "
        "torchvision's networks want them, where no NAME.json beside it says so.",
    ),
)
"""``--labels`` and ``--input-range``: keywords ``labels`` and ``input_range``.

These are what :func:`fergan.classify.classifier.load_classifier` takes; None where they are not given.
"""
classifier_options = together(
    click.option(
        "--model",
        metavar="FILE|NAME",
        help="Judge with this .keras, .h5, .hdf5 or .onnx file, or a name that 'fergan models' lists.  "
        f"[default: {DEFAULT}]",
    ),
    described_options,
)
"""``--model`` and :data:`described_options`: keywords ``model``, ``labels`` and ``input_range``."""


def parse_psi_sweep(text: str) -> tuple[float, ...]:
    """``"1,0.5"`` -> ``(0.5, 1.0)``: ascending, each once.

    Raises:
        UsageError: not two or more numbers from -2 to 2.
    """
    found = _sweep("--psi-sweep", text, "number from -2 to 2; write for example 0.5,0.7,1", 2)
    if len(found) < 2:
        raise UsageError(f"--psi-sweep {text!r}: names one psi; give --psi {text} for that, or several psi")
    return found


run_option = click.option(
    "--run", "run_name", default="default", metavar="NAME", help="Work in this run folder: runs/NAME, or a path."
)
