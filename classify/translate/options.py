"""A Keras layer's configuration and weights, read so that nothing in them is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..keras_files.errors import Untranslatable

Tensor = torch.Tensor
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")


class Options:
    """A layer's configuration. What no translation has looked at must be unset, or the layer is not understood."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name = config["name"]
        known = ("name", "trainable", "dtype", "momentum", "renorm_momentum", "synchronized")
        self._left = {k: v for k, v in config.items() if k not in known and not k.endswith(_OF_TRAINING)}

    def __call__(self, key: str, default: Any = None) -> Any:
        return self._left.pop(key, default)

    def require(self, key: str, *allowed: Any) -> Any:
        value = self._left.pop(key, allowed[0])
        if value not in allowed:
            raise Untranslatable(f"{self.name}: {key} is {value!r}")
        return value

    def pair(self, key: str, default: Any = None) -> tuple[int, int]:
        value = self._left.pop(key, None)
        value = default if value is None else value
        first, second = (value, value) if isinstance(value, int) else value
        return int(first), int(second)

    def finish(self) -> None:
        unknown = {k: v for k, v in self._left.items() if v is not None and v is not False}
        if unknown:
            raise Untranslatable(f"{self.name}: has the options {unknown}")


Variables = Sequence[Tensor]
Shapes = Sequence[tuple[int, ...]]


def checked(options: Options, variables: Variables, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The variables as float32, of exactly these shapes."""
    if [tuple(variable.shape) for variable in variables] != list(shapes):
        found = ", ".join(str(list(variable.shape)) for variable in variables) or "none"
        raise Untranslatable(f"{options.name}: should have weights of {[list(s) for s in shapes]}, has {found}")
    return [variable.float() for variable in variables]


def axis_of(options: Options, axis: int, shapes: Shapes) -> int:
    """An axis counted from the front; never that of the batch."""
    rank = len(shapes[0])
    if not -rank <= axis < rank or axis % rank == 0:
        raise Untranslatable(f"{options.name}: works along axis {axis} of {list(shapes[0])}")
    return axis % rank


def channel_count(options: Options, axis: Any, shapes: Shapes) -> int:
    """How many there are, for layers that must work along them."""
    (axis,) = axis if isinstance(axis, list) else [axis]
    if axis_of(options, axis, shapes) != len(shapes[0]) - 1:
        raise Untranslatable(f"{options.name}: works along axis {axis} of {list(shapes[0])}")
    return shapes[0][-1]


def numbers(options: Options, key: str, shapes: Shapes) -> Tensor:
    """A number, or one for each channel; 0 if there is none."""
    value = options(key)
    numbers = torch.tensor(0.0 if value is None else value, dtype=torch.float64)
    if numbers.ndim and numbers.shape != (shapes[0][-1],):
        raise Untranslatable(f"{options.name}: {key} has the shape {list(numbers.shape)}")
    return numbers


def borders(options: Options, key: str) -> tuple[int, int, int, int]:
    """top, bottom, left, right"""
    options.require("data_format", "channels_last")
    (top, bottom), (left, right) = options(key)
    if not 0 <= min(top, bottom, left, right) <= max(top, bottom, left, right) <= 64:
        raise Untranslatable(f"{options.name}: {key} is {top, bottom, left, right}")
    return top, bottom, left, right
