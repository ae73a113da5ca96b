"""Options that several commands share. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ...data.labels import NAMED, canonical_label
from ...runtime.errors import UsageError

if TYPE_CHECKING:
    from ...stylegan.directions import Direction

NOISE_MODES = ("const", "random", "none")

device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
network_option = click.option(
    "--network",
    metavar="FILE|NAME",
    help="Checkpoint, or a name that 'fergan models' lists.  [default: the best bundled]",
)
trunc_option = click.option(
    "--trunc", type=click.FloatRange(-2, 2), metavar="PSI", help="Truncation psi.  [default: the generator's]"
)
class_option = click.option(
    "--class", "class_index", metavar="N|NAME", help="Class of a conditional generator, such as 1 or disgust."
)

edit_option = click.option(
    "--edit",
    multiple=True,
    metavar="FILE:S",
    help="Move each face along a direction of 'fergan direction' by a strength, such as happy.npz:2.",
)


def read_edits(texts: tuple[str, ...]) -> tuple[tuple[Direction, float], ...]:
    """The directions of ``--edit`` with their strengths; strengths that nobody tried are warned of.

    Raises:
        UsageError: no strength, or none that is a number.
        DataError: a file is missing or is no direction.
    """
    found = []
    for text in texts:
        path, _, number = text.rpartition(":")
        try:
            strength = float(number)
        except ValueError:
            strength = math.nan
        if not path or not math.isfinite(strength):
            raise UsageError(f"--edit {text!r}: write the file and a strength, such as happy.npz:2")
        from ...stylegan.directions import read_direction

        direction = read_direction(path)
        if direction.leaves_reach(strength):
            low, high = direction.reach
            click.echo(f"--edit {text}: was learnt for strengths from {low:g} to {high:g}; faces may break", err=True)
        found.append((direction, strength))
    return tuple(found)


crop_option = click.option(
    "--crop",
    type=click.Choice(["none", "ffhq", "detect"]),
    help="With --want: the part of a picture that the judge sees, as for 'fergan classify'.  [default: none]",
)

force_option = click.option(
    "--force", is_flag=True, help="Start over: delete what fergan made in the run folder first."
)


def format_option(*kinds: str) -> Callable[[Any], Any]:
    """``--format`` with the forms of a command, the first by default: keyword ``kind``."""
    return click.option(
        "--format",
        "kind",
        type=click.Choice(kinds),
        default=kinds[0],
        show_default=True,
        help="What is printed; json is for programs.",
    )


def noise_option(*modes: str) -> Callable[[Any], Any]:
    """``--noise-mode`` with the modes that make sense for a command."""
    text = "StyleGAN2's noise; random depends on the seed." if "random" in modes else "StyleGAN2's noise."
    return click.option("--noise-mode", type=click.Choice(modes), default="const", show_default=True, help=text)


def _labels(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """``"a,b,c"``, or the name of a known order, such as ``fer2013``."""
    if text is None:
        return None
    labels = NAMED.get(text.strip().lower()) or tuple(canonical_label(name) for name in text.split(","))
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


def classifier_options(command: Any) -> Any:
    """``--model``, ``--labels`` and ``--input-range``: keywords ``model``, ``labels`` and ``input_range``.

    These are what :func:`fergan.classify.classifier.load_classifier` takes; None where they are not given.
    """
    for option in reversed(
        [
            click.option(
                "--model",
                metavar="FILE|NAME",
                help="A .keras, .h5, .hdf5 or .onnx file or a bundled name.  [default: fernet]",
            ),
            click.option(
                "--labels",
                metavar="LIST",
                callback=_labels,
                help="What the model's outputs are called, in order, where no NAME.json beside it says so: a,b,c or "
                f"{', '.join(NAMED)}.",
            ),
            click.option(
                "--input-range",
                metavar="LO,HI|imagenet",
                callback=_input_range,
                help="What black and white are to the model, such as -1,1, or imagenet for what torchvision's "
                "networks want.  [default: NAME.json's, or 0,255]",
            ),
        ]
    ):
        command = option(command)
    return command


def parse_psi_sweep(text: str) -> tuple[float, ...]:
    """``"1,0.5"`` -> ``(0.5, 1.0)``: ascending, each once.

    Raises:
        UsageError: not two or more numbers from -2 to 2.
    """
    values = set()
    for part in text.split(","):
        try:
            psi = float(part)
        except ValueError:
            psi = math.nan
        if not -2 <= psi <= 2:
            raise UsageError(
                f"--psi-sweep {text!r}: {part.strip()!r} is no number from -2 to 2; write for example 0.5,0.7,1"
            )
        values.add(psi + 0.0)  # -0.0 and 0.0 are one psi
    if len(values) < 2:
        raise UsageError(f"--psi-sweep {text!r}: names one psi; give --trunc {text} for that, or several psi")
    return tuple(sorted(values))


run_option = click.option(
    "--run", "run_name", default="default", show_default=True, metavar="NAME", help="Run folder: runs/NAME, or a path."
)
