"""A card's answers to what a model file leaves open: the size of the input, and which output is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..runtime.errors import DataError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Wanted:
    """The answers of a card to what a file leaves open.

    Attributes:
        size: (height, width) for a network that takes pictures of any size.
        output: name of the output that holds the expressions.
        labels: how many numbers that output has.
    """

    size: tuple[int, int] | None = None
    output: str | None = None
    labels: int | None = None

    def sized(self, shape: Shape) -> Shape:
        """(height, width, channels) of an input, with :attr:`size` where the file leaves it open."""
        if self.size is None or len(shape) != 3 or None not in shape[:2]:
            return shape
        return (shape[0] or self.size[0], shape[1] or self.size[1], shape[2])

    def choose(self, shapes: Mapping[str, Shape]) -> str:
        """The name of the output that holds the expressions.

        Raises:
            DataError: there are several, and nothing says which; or none has the name that was given.
        """
        if self.output is not None:
            if self.output not in shapes:
                raise DataError(f"has no output {self.output!r}; its outputs are {_listed(shapes)}")
            return self.output
        fitting = [name for name, shape in shapes.items() if len(shapes) == 1 or shape == (self.labels,)]
        if len(fitting) != 1:
            raise DataError(
                f"has the outputs {_listed(shapes)}; say which holds the expressions, with --labels of as many names "
                'or {"output": "NAME"} in the NAME.json beside it'
            )
        return fitting[0]


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
