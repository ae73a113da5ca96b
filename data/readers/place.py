"""A path that may be a data set, as the readers look at it to recognise their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..image_source import ImageSource


class Place:
    """A file or folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_table = path.suffix.lower() == ".csv"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pictures in a folder or zip that can be read, ordered as :func:`..image_source.list_images` does; of a
        table none.

        Raises:
            DataError: the folder or zip is damaged or holds no picture.
        """
        if self.is_table:
            return ()
        with ImageSource(self.path) as source:
            return source.readable

    def most(self, fits: Callable[[PurePosixPath], bool]) -> bool:
        """Whether more than half of the pictures have names that fit: a few others make no other data set of it."""
        return 2 * sum(fits(PurePosixPath(name)) for name in self.names) > len(self.names)
