"""A path that may be a data set, as the readers look at it to recognise their own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ..image_source import ImageSource


class Place:
    """A file or folder.

    Attributes:
        path: of it.
        is_table: whether it is a CSV file, by its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_table = path.suffix.lower() == ".csv"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pictures in a folder or zip, in the order of :func:`..image_source.list_images`; none in a table.

        Raises:
            DataError: the folder or zip is damaged or holds no picture.
        """
        if self.is_table:
            return ()
        with ImageSource(self.path) as source:
            return source.names
