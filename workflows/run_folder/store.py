"""The files of a run by URI: a folder of this machine, or whatever fsspec opens (``s3://``, ``gs://``, ``memory://``)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...data.images import png_chunks
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically


class Store:
    """Files under a URI, each of which appears whole or not at all.

    On a disk a file takes its name when it is complete; object stores put whole objects anyway.

    Args:
        uri: a path, ``file://PATH``, or a URI of an fsspec file system, whose package must be installed.

    Raises:
        UsageError: no file system knows the URI, or its package is missing.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        self._folder: Path | None = None
        self._fs: Any = None
        if "://" not in self.uri or self.uri.startswith("file://"):
            self._folder = Path(self.uri.removeprefix("file://"))
            return
        try:
            import fsspec

            self._fs, self._root = fsspec.core.url_to_fs(self.uri)
        except ImportError as error:
            raise UsageError(f"--storage {printable(self.uri)}: {printable(error)}") from error
        except ValueError as error:
            raise UsageError(
                f"--storage {printable(self.uri)}: {printable(error)}; give s3://, gs:// or file://"
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file, such as ``faces/seed0000.png``.

        Raises:
            DataError: it cannot be written.
        """
        try:
            if self._folder is not None:
                path = self._folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
            else:
                self._fs.pipe_file(f"{self._root}/{name}", content)
        except DataError:
            raise
        except Exception as error:  # each file system raises its own types
            raise DataError(f"{printable(self.uri)}/{name}: cannot be written ({printable(error)})") from error

    def read(self, name: str) -> bytes:
        """Raises DataError where there is no such file, or it cannot be read."""
        try:
            if self._folder is not None:
                return (self._folder / name).read_bytes()
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except Exception as error:
            raise DataError(f"{printable(self.uri)}/{name}: cannot be read ({printable(error)})") from error

    def remove(self, names: Iterable[str]) -> None:
        """Delete files that are there. Raises DataError where one cannot be deleted."""
        try:
            for name in names:
                if self._folder is not None:
                    (self._folder / name).unlink()
                else:
                    self._fs.rm_file(f"{self._root}/{name}")
        except Exception as error:
            raise DataError(f"{printable(self.uri)}: cannot be cleared ({printable(error)})") from error

    def pictures(self) -> set[str]:
        """Names of the files in ``faces/``; on a disk, only of those that are whole. Raises DataError."""
        return self.names("faces") if self._folder is None else whole_pictures(self._folder / "faces")

    def names(self, folder: str = "") -> set[str]:
        """Names of the files directly in a folder, none if there is no such folder. Raises DataError."""
        try:
            if self._folder is not None:
                place = self._folder / folder
                return {path.name for path in place.iterdir()} if place.is_dir() else set()
            found = self._fs.ls(f"{self._root}/{folder}".rstrip("/"), detail=False, refresh=True)
            return {str(path).rstrip("/").rpartition("/")[2] for path in found}
        except FileNotFoundError:
            return set()
        except Exception as error:
            raise DataError(f"{printable(self.uri)}: cannot be listed ({printable(error)})") from error


def whole_pictures(folder: Path) -> set[str]:
    """Names of the files in a folder of pictures; not of PNGs and tars that are empty, cut short, damaged or none.

    Pictures of fergan appear complete or not at all, so only what was done to them afterwards is looked for: in PNGs by
    their checksums, in tars, which are large, by their end alone.
    """
    if not folder.is_dir():
        return set()
    whole = {".png": _whole_png, ".tar": _ended_tar}
    return {path.name for path in folder.iterdir() if path.suffix not in whole or whole[path.suffix](path)}


def _ended_tar(path: Path) -> bool:
    """Whether a file ends as tars do, with two empty blocks of 512 bytes; PNGs have not so many zeros."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            file.seek(-1024, os.SEEK_END)
            return not any(file.read())
    except OSError:
        return False


def _whole_png(path: Path) -> bool:
    try:
        if not path.is_file():  # a named pipe would keep us waiting for ever
            return False
        data = path.read_bytes()
    except OSError:
        return False
    chunks = list(png_chunks(data))
    return bool(chunks) and all(good for _, good, _ in chunks) and chunks[-1][::2] == (b"IEND", len(data))
