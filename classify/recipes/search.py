"""The space of ``fergan tune``: settings of a recipe with ranges or choices. Imports no torch, Keras or Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import UsageError
from . import Recipe, settings_of
from .overrides import resolve


@dataclass(frozen=True)
class Dimension:
    """One setting that is varied.

    Attributes:
        key: full name, such as ``training.learning_rate``.
        low, high: the range, both included; None where there are ``choices``.
        log: whether the range is even on a logarithmic scale.
        whole: whether values are whole numbers.
        choices: the values as an override writes them; empty where there is a range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return f"{self.key}={'|'.join(self.choices)}"
        return f"{self.key}={self.low:g}:{self.high:g}{':log' if self.log else ''}"


def search_space(recipe: Recipe, dimensions: Sequence[str] = ()) -> tuple[Dimension, ...]:
    """The dimensions of a search.

    Args:
        recipe: whose settings they are.
        dimensions: ``KEY=LOW:HIGH``, ``KEY=LOW:HIGH:log`` or ``KEY=A|B|C`` each; keys as for overrides. None: learning
            rate and weight decay around the recipe's own, dropout, label smoothing, zoom and mixup.

    Raises:
        UsageError: an unknown key, a range that is none, or a setting named twice.
    """
    settings = settings_of(recipe)
    if not dimensions:
        return _usual(settings)
    space = tuple(_parsed(text, settings) for text in dimensions)
    keys = [dimension.key for dimension in space]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--search {key}: is there twice; give one range for each setting")
    return space


def _usual(settings: Mapping[str, Any]) -> tuple[Dimension, ...]:
    rate, decay = settings["training.learning_rate"], settings["training.weight_decay"]
    around = [Dimension("training.weight_decay", decay / 10, decay * 10, log=True)] if decay > 0 else []
    return (
        Dimension("training.learning_rate", rate / 10, rate * 3, log=True),
        *around,
        Dimension("training.dropout", 0.0, 0.6),
        Dimension("training.label_smoothing", 0.0, 0.2),
        Dimension("training.augmentation.zoom", 0.0, 0.25),
        Dimension("training.augmentation.mixup", 0.0, 0.4),
    )


def _parsed(text: str, settings: Mapping[str, Any]) -> Dimension:
    name, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise UsageError(f"--search {text!r} names no values; write KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A|B")
    key = resolve(name.strip(), list(settings))
    if "|" in values:
        return Dimension(key, choices=tuple(dict.fromkeys(value.strip() for value in values.split("|"))))
    low_text, _, rest = values.partition(":")
    high_text, _, scale = rest.partition(":")
    try:
        low, high = float(low_text), float(high_text)
    except ValueError as error:
        raise UsageError(f"--search {text!r}: {values} is not a range; write LOW:HIGH, LOW:HIGH:log or A|B") from error
    own = settings[key]
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise UsageError(f"--search {text!r}: {key} is not a number (it is {own!r}); write its values as A|B")
    whole = isinstance(own, int)
    if (
        not -math.inf < low < high < math.inf
        or scale not in ("", "log")
        or (scale and low <= 0)
        or (whole and (low % 1 or high % 1))
    ):
        raise UsageError(
            f"--search {text!r}: is not a range; LOW must be below HIGH, both finite, above 0 for log, and both "
            f"whole numbers if {key} is one"
        )
    return Dimension(key, low, high, bool(scale), whole)
