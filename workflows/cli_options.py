"""Options that several commands share. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from ..data.errors import UsageError

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
class_option = click.option("--class", "class_index", type=click.IntRange(0), help="Class, for conditional generators.")


def noise_option(*modes: str) -> Callable[[Any], Any]:
    """``--noise-mode`` with the modes that make sense for a command."""
    text = "StyleGAN2's noise; random depends on the seed." if "random" in modes else "StyleGAN2's noise."
    return click.option("--noise-mode", type=click.Choice(modes), default="const", show_default=True, help=text)


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
