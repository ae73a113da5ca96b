"""Files that others publish, by name: downloaded when they are first used, and the same ever after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .cache import cache_folder
from .downloads import OnProgress, Remote, download
from .errors import UsageError


class Entry(Protocol):
    """A file, with its name in the cache, its address, and the licence and the repository that it belongs to."""

    @property
    def name(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def url(self) -> str | None: ...
    @property
    def licence(self) -> str: ...
    @property
    def origin(self) -> str: ...


@dataclass(frozen=True)
class Shelf:
    """Published files of one kind.

    Attributes:
        entries: by name.
        kind: of them, for errors.
        beginnings: the file begins with one of these bytes, by its ending.
        max_size: bytes above which it cannot be one.
    """

    entries: Mapping[str, Entry]
    kind: str
    beginnings: Mapping[str, tuple[bytes, ...]]
    max_size: int

    def cached(self, name: str) -> Path | None:
        """The downloaded file of a name, unchecked, or None if it is not there yet."""
        path = self._place(name)
        return path if path.is_file() else None

    def fetch(self, name: str, progress: OnProgress | None = None) -> Path:
        """The file of a name, downloaded if it is not there yet, and checked.

        Raises:
            UsageError: nothing has this name.
            DataError: it cannot be downloaded, what comes is of another kind, or the file is not the one it was before.
        """
        path, entry = self._place(name), self.entries[name]
        notice = (
            f"{name} is published by {entry.origin} under the licence {entry.licence}. "
            "The licence of fergan does not cover it."
        )
        note = {"name": name, "url": entry.url, "licence": entry.licence}
        beginnings = self.beginnings[path.suffix]
        sha256 = getattr(entry, "sha256", None)
        remote = Remote(name, "network", str(entry.url), notice, note, beginnings, self.max_size, sha256)
        return download(remote, path, progress)

    def _place(self, name: str) -> Path:
        if name not in self.entries:
            raise UsageError(f"no published {self.kind} is called {name!r}; known are: {', '.join(self.entries)}")
        return cache_folder() / self.entries[name].file
