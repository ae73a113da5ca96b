"""The images of a folder or a zip file: found by their names, in one order on every machine, read in place."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..runtime.errors import DataError
from ..runtime.files import printable, require_folder, utf8_text
from .images import BACKGROUND, HEIF, READABLE, begins_as_image, check_bytes, read_file, read_image

_ENDINGS = "png jpg jpeg jpe jfif bmp dib gif tif tiff webp pgm ppm pbm pnm avif heic heif"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""File name endings (any case) by which images are found in folders and zips.

HEIC is among them also where it cannot be read: such a picture is then named and counted, not passed over in silence.
A file without any ending is an image if it begins as one.
"""

_BEGIN = 16


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in a folder and all folders below it, in one order on every machine.

    Files are told by their ending (:data:`SUFFIXES`), those without one by their first bytes; links that lead nowhere
    are listed too, and cannot be read. Names are compared folder by folder with numbers by value
    (``2.png`` before ``10.png``), letters without case, and no regard to the locale. Names that begin with a dot and
    ``__MACOSX`` folders are passed over. Links to folders are followed; a folder reached twice is listed once.

    Raises:
        DataError: the folder is missing, is not a folder, cannot be read or holds no image.
    """
    folder = Path(folder)
    label = printable(folder)
    require_folder(folder, f"give a folder of images ({READABLE})")

    def unreadable(error: OSError) -> None:
        raise DataError(f"{printable(error.filename or folder)}: cannot be read ({error.strerror})") from error

    found: list[PurePosixPath] = []
    seen: set[tuple[int, int]] = set()
    for current, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        status = os.stat(current)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort(key=_natural_part)  # which of two routes to a folder comes first must not depend on the disk
        relative = PurePosixPath(Path(current).relative_to(folder).as_posix())
        found += [relative / file for file in files]
        folders[:] = [name for name in folders if _is_visible(PurePosixPath(name))]
    images = [path for path in found if _is_image(path, _begin(folder / path))]
    if not images:
        raise DataError(f"{label}: holds no images ({READABLE}, told by their file name endings); give another folder")
    return [folder / path for path in sorted(images, key=_natural)]


class ImageSource:
    """The images of a folder or of a zip file, alike; a single image file is a source of one.

    A zip is read in place: nothing is extracted to the disk, and no member is decompressed beyond
    :data:`.images.MAX_BYTES`. Names from a zip may be anything, ``../x.png`` too: use them as labels, not as
    paths to write to. The object may be sent to other processes and used from several threads.

    Example:
        >>> source = ImageSource("faces.zip")                                    # doctest: +SKIP
        >>> faces = [source.read(name) for name in source.names]                  # doctest: +SKIP

    Attributes:
        path: the folder, zip or image file.
        names: the images in it, with forward slashes, in the order of :func:`list_images`; never empty. Bytes of a name
            that are not UTF-8 stand there as escapes (see :func:`fergan.runtime.files.utf8_text`).

    Raises:
        DataError: the path is missing, neither a folder nor a zip nor an image, damaged, or holds no image.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._zip_owner = 0
        self._lock = threading.Lock()
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._on_disk: dict[str, str] = {}  # only of names that are not UTF-8
        label = printable(self.path)
        self._alone = self.path.is_file() and begins_as_image(_begin(self.path)())
        if self._alone:
            self.names: tuple[str, ...] = (utf8_text(self.path.name),)
        elif self.path.is_file():
            try:
                members = self._archive().infolist()
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
                raise DataError(
                    f"{label}: is not a readable zip file ({printable(error)}); give a folder, a zip or an image"
                ) from error
            self._members = {
                name: info
                for info in members  # old .NET and others separate folders by backslashes
                if not info.is_dir() and self._is_image(info, name := info.filename.replace("\\", "/"))
            }
            if not self._members:
                raise DataError(f"{label}: holds no images ({READABLE}, told by their endings); give another zip")
            self.names = tuple(sorted(self._members, key=lambda name: _natural(PurePosixPath(name))))
        elif self.path.exists() and not self.path.is_dir():
            raise DataError(f"{label}: is neither a folder nor a zip file; give a folder or a zip of images")
        else:
            self.names = tuple(map(self._named, list_images(self.path)))
        self._known = frozenset(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, object]:
        kept = ("path", "names", "_known", "_members", "_on_disk", "_alone")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _zip=None, _zip_owner=0, _lock=threading.Lock())

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the zip file, if one is open. It opens again when next needed."""
        with self._lock:
            if self._zip is not None and self._zip_owner == os.getpid():
                self._zip.close()
            self._zip = None

    @cached_property
    def readable(self) -> tuple[str, ...]:
        """The names without those that are known to be unreadable: links that lead nowhere, and HEIC pictures where
        pillow-heif is not installed."""
        return tuple(name for name in self.names if self._is_readable(name))

    def file(self, name: str) -> Path:
        """Where an image of a folder lies; of a zip, the zip."""
        return self.path if self._members or self._alone else self.path / self._on_disk.get(name, name)

    def _is_readable(self, name: str) -> bool:
        heic = not HEIF and PurePosixPath(name).suffix.lower() in (".heic", ".heif")
        return not heic and (bool(self._members) or self.file(name).is_file())

    def _named(self, file: Path) -> str:
        path = file.relative_to(self.path).as_posix()
        name = utf8_text(path)
        if name != path:
            while name in self._on_disk or (self.path / name).exists():
                name += "_"
            self._on_disk[name] = path
        return name

    def _is_image(self, info: zipfile.ZipInfo, name: str) -> bool:
        def begin() -> bytes:
            try:
                with self._archive().open(info) as member:
                    return member.read(_BEGIN)
            except Exception:  # encrypted, damaged or packed by an unusual method
                return b""

        return _is_image(PurePosixPath(name), begin)

    def label(self, name: str) -> str:
        """How messages call an image: ``folder/name`` or ``file.zip: name``."""
        if self._alone:
            return printable(self.path)
        return printable(f"{self.path}: {name}" if self._members else self.path / name)

    def read_bytes(self, name: str) -> bytes:
        """The file of one image, undecoded.

        Raises:
            DataError: it cannot be read, is encrypted, damaged or larger than :data:`.images.MAX_BYTES`.
            KeyError: ``name`` is not one of :attr:`names`.
        """
        if name not in self._known:
            raise KeyError(name)
        label = self.label(name)
        if not self._members:
            return read_file(self.file(name), label)
        info = self._members[name]
        if info.flag_bits & 1:
            raise DataError(f"{label}: is encrypted; make the zip again without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile cannot bound others
            raise DataError(f"{label}: is packed by an unusual method; make the zip again with deflate or uncompressed")
        check_bytes(info.file_size, label)
        try:
            # The size is given because without it zipfile unpacks everything before it looks at the size in the header.
            # A header that understates the size then fails by its checksum.
            with self._archive().open(info) as member:
                return member.read(info.file_size)
        except Exception as error:  # zlib.error, BadZipFile, OSError, NotImplementedError, struct.error ...
            raise DataError(f"{label}: cannot be unpacked ({printable(error)}); make the zip again") from error

    def read(self, name: str, *, background: str = BACKGROUND) -> np.ndarray:
        """One image as by :func:`.images.read_image`, uint8 [H, W, 1 or 3]; its errors and :meth:`read_bytes`'s."""
        return read_image(self.read_bytes(name), name=self.label(name), background=background)

    def _archive(self) -> zipfile.ZipFile:
        """The open zip. A forked process opens its own: a shared file position would mix up both processes' reads."""
        with self._lock:
            if self._zip is None or self._zip_owner != os.getpid():
                self._zip, self._zip_owner = zipfile.ZipFile(self.path), os.getpid()
            return self._zip


def _is_visible(path: PurePosixPath) -> bool:
    return not any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in path.parts)


def _is_image(path: PurePosixPath, begin: Callable[[], bytes]) -> bool:
    """Whether a file is an image by its ending, or without one by its first bytes."""
    return _is_visible(path) and (path.suffix.lower() in SUFFIXES or (not path.suffix and begins_as_image(begin())))


def _begin(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            if not file.is_file():  # to open a named pipe would wait for ever
                return b""
            with open(file, "rb") as opened:
                return opened.read(_BEGIN)
        except OSError:
            return b""

    return read


def _natural_part(name: str) -> tuple[Any, ...]:
    """A sort key that compares runs of digits by value: as (length, digits), for which no number is too long."""
    pieces = re.split(r"([0-9]+)", name)  # text, digits, text, digits, ..., text
    key = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p.casefold() for i, p in enumerate(pieces)]
    return tuple(key), name  # the name itself settles 'a' against 'A' and '1' against '01'


def _natural(path: PurePosixPath) -> tuple[Any, ...]:
    return tuple(_natural_part(part) for part in path.parts)
