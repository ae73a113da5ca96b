"""Image files in and out: one array shape for every kind of picture, one way through a folder or a zip, safe writing.

Reading trusts nothing: only the six formats below are ever tried (so no PostScript interpreter is started), sizes are
checked before anything is decoded, and whatever a decoder trips over becomes a :class:`DataError` that names the file.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable, require_folder, write_atomically

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
"""The formats that are read, by their Pillow names. No other decoder is tried, whatever a file claims to be."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"})
"""File name endings (any case) by which images are found in folders and zips."""

MAX_PIXELS = 2**26
"""Largest picture that is decoded: 67 million pixels (8192 x 8192). A few kB of PNG can claim far more."""

MAX_BYTES = 2**28
"""Largest image file, or zip member after decompression, that is read into memory: 256 MiB."""

BACKGROUND = "white"
"""What shows through transparent pixels unless asked otherwise (any colour name or #rrggbb that Pillow knows)."""

_TURNS = {  # EXIF 2.32, tag 0x0112: how the stored picture must be turned to stand upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GRAY_MODES = ("1", "L", "LA", "La")
_READABLE = "PNG, JPEG, BMP, GIF, TIFF or WebP"


def read_image(
    source: str | os.PathLike[str] | bytes, *, name: str | None = None, background: str = BACKGROUND
) -> np.ndarray:
    """Read one picture, upright, as 8-bit gray or RGB.

    Palettes are resolved, CMYK becomes RGB (ICC profiles are not applied), transparency is composited on
    ``background``, 1-bit becomes 0 and 255, 16-bit gray is scaled (65535 becomes 255; Pillow itself keeps the high byte
    of 16-bit RGB), EXIF orientation is applied, and of an animation the first frame is taken.

    Args:
        source: path of the file, or its contents.
        name: what error messages call the picture; the path, or "image", by default.
        background: colour behind transparent pixels.

    Returns:
        uint8 [H, W, 1] for pictures stored as gray, else [H, W, 3] in RGB order; 0..255, C-contiguous, writable.

    Raises:
        DataError: missing, empty, truncated, damaged or oversized, not an image, or pixels without a known range
            (32-bit integer or floating point).
        UsageError: ``background`` is no colour.
    """
    try:
        backdrop = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise UsageError(f"background {background!r} is no colour; give a name such as 'white', or #rrggbb") from error
    if isinstance(source, bytes):
        data = source
        label = printable(name or "image")
    else:
        label = printable(name or os.fspath(source))
        data = _read_file(Path(source), label)
    if not data:
        raise DataError(f"{label}: is empty (0 bytes); delete it or make it again")
    if len(data) > MAX_BYTES:
        raise DataError(f"{label}: {_mib(len(data))} is more than the {_mib(MAX_BYTES)} that are read; make it smaller")
    try:
        # Pillow warns about large pictures on its own; the limit below refuses them in one clear line instead.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(label, f"{image.width} x {image.height} pixels")
            image.load()
            return np.array(_channels_last(_upright(_eight_bit(image, label), image), backdrop))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        begin = data[:8]
        raise DataError(f"{label}: is no readable {_READABLE} image (begins with {begin!r}); replace it") from error
    except Image.DecompressionBombError as error:
        raise _too_large(label, "its pixel count") from error
    except MemoryError as error:
        raise DataError(f"{label}: there is not enough memory to decode it; make it smaller") from error
    except Exception as error:  # on damaged bytes decoders raise almost any type: struct.error, KeyError, SyntaxError
        raise DataError(f"{label}: is truncated or damaged ({printable(error)}); make or download it again") from error


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in a folder and all folders below it, in one order on every machine.

    Files are told by their ending (:data:`SUFFIXES`). Names are compared folder by folder with numbers by value
    (``2.png`` before ``10.png``), letters without case, and no regard to the locale. Names that begin with a dot and
    ``__MACOSX`` folders are passed over. Links to folders are followed; a folder reached twice is listed once.

    Returns:
        Paths that begin with ``folder``; never empty.

    Raises:
        DataError: the folder is missing, is no folder, cannot be read or holds no image.
    """
    folder = Path(folder)
    label = printable(folder)
    require_folder(folder, f"give a folder of images ({_READABLE})")

    def unreadable(error: OSError) -> None:
        raise DataError(f"{printable(error.filename or folder)}: cannot be read ({error.strerror})") from error

    found: list[PurePosixPath] = []
    seen: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort(key=_natural_part)  # which of two routes to a folder comes first must not depend on the disk
        relative = PurePosixPath(Path(here).relative_to(folder).as_posix())
        found += [relative / file for file in files]
        folders[:] = [name for name in folders if _is_visible(PurePosixPath(name))]
    images = [path for path in found if _is_image_name(path) and (folder / path).is_file()]
    if not images:
        raise DataError(f"{label}: holds no images ({_READABLE}, told by their file name endings); give another folder")
    return [folder / path for path in sorted(images, key=_natural)]


class ImageSource:
    """The images of a folder or of a zip file, alike.

    A zip is read in place: nothing is extracted to the disk, and no member is decompressed beyond :data:`MAX_BYTES`.
    Names from a zip may be anything, ``../x.png`` too: use them as labels, not as paths to write to.
    The object may be sent to other processes and used from several threads.

    Example:
        >>> source = ImageSource("faces.zip")                                    # doctest: +SKIP
        >>> faces = [image for name, image in source.images(on_error=print)]     # doctest: +SKIP

    Attributes:
        path: the folder or zip file.
        names: the images' names inside it, with forward slashes, in the order of :func:`list_images`; never empty.

    Raises:
        DataError: the path is missing, neither a folder nor a zip, damaged, or holds no image.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._zip_owner = 0
        self._lock = threading.Lock()
        self._members: dict[str, zipfile.ZipInfo] = {}
        label = printable(self.path)
        if self.path.is_file():
            try:
                members = self._archive().infolist()
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
                raise DataError(
                    f"{label}: is not a readable zip file ({printable(error)}); give a folder or a zip of images"
                ) from error
            self._members = {
                name: info
                for info in members  # old .NET and others separate folders by backslashes
                if not info.is_dir() and _is_image_name(PurePosixPath(name := info.filename.replace("\\", "/")))
            }
            if not self._members:
                raise DataError(f"{label}: holds no images ({_READABLE}, told by their endings); give another zip")
            self.names = tuple(sorted(self._members, key=lambda name: _natural(PurePosixPath(name))))
        elif self.path.exists() and not self.path.is_dir():
            raise DataError(f"{label}: is neither a folder nor a zip file; give a folder or a zip of images")
        else:
            self.names = tuple(file.relative_to(self.path).as_posix() for file in list_images(self.path))
        self._known = frozenset(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "_known": self._known, "_members": self._members}

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

    def label(self, name: str) -> str:
        """How messages call an image: ``folder/name`` or ``file.zip: name``."""
        return printable(f"{self.path}: {name}" if self._members else self.path / name)

    def read_bytes(self, name: str) -> bytes:
        """The file of one image, undecoded.

        Raises:
            DataError: it cannot be read, is encrypted, damaged or larger than :data:`MAX_BYTES`.
            KeyError: ``name`` is not one of :attr:`names`.
        """
        if name not in self._known:
            raise KeyError(name)
        label = self.label(name)
        if not self._members:
            return _read_file(self.path / name, label)
        info = self._members[name]
        if info.flag_bits & 1:
            raise DataError(f"{label}: is encrypted; make the zip again without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile cannot bound others
            raise DataError(f"{label}: is packed by an unusual method; make the zip again with deflate or uncompressed")
        if info.file_size > MAX_BYTES:
            raise DataError(f"{label}: {_mib(info.file_size)} is more than the {_mib(MAX_BYTES)} that are read")
        try:
            # The size is given because without it zipfile unpacks everything before it looks at the size in the header.
            # A header that understates the size then fails by its checksum.
            with self._archive().open(info) as member:
                return member.read(info.file_size)
        except Exception as error:  # zlib.error, BadZipFile, OSError, NotImplementedError, struct.error ...
            raise DataError(f"{label}: cannot be unpacked ({printable(error)}); make the zip again") from error

    def read(self, name: str, *, background: str = BACKGROUND) -> np.ndarray:
        """One image as by :func:`read_image`: uint8 [H, W, 1 or 3]; same errors, and those of :meth:`read_bytes`."""
        return read_image(self.read_bytes(name), name=self.label(name), background=background)

    def images(
        self, *, background: str = BACKGROUND, on_error: Callable[[str, DataError], None] | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Every image in order, as (name, uint8 [H, W, 1 or 3]).

        Args:
            background: as in :func:`read_image`.
            on_error: called with (name, error) for an image that cannot be read, which is then left out. Without it
                the first such image ends the iteration with its DataError.
        """
        for name in self.names:
            try:
                image = self.read(name, background=background)
            except DataError as error:
                if on_error is None:
                    raise
                on_error(name, error)
                continue
            yield name, image

    def _archive(self) -> zipfile.ZipFile:
        """The open zip. A forked process opens its own: a shared file position would mix up both processes' reads."""
        with self._lock:
            if self._zip is None or self._zip_owner != os.getpid():
                self._zip, self._zip_owner = zipfile.ZipFile(self.path), os.getpid()
            return self._zip


def write_png(path: str | os.PathLike[str], array: np.ndarray, compress_level: int | None = None) -> None:
    """Write a picture as PNG, whole or not at all (see :func:`write_atomically`).

    The bytes depend on the pixels and the level alone (with one version of zlib and Pillow): no date, no metadata.

    Args:
        path: the file, replaced if it exists; its folder must exist.
        array: uint8 [H, W], [H, W, 1] or [H, W, 3], 0..255.
        compress_level: None for speed (see :func:`fast_png`), or zlib's 0..9 as Pillow writes it: 6 makes a face of
            1024 pixels a seventh smaller in ten times the time.

    Raises:
        UsageError: another dtype, shape or level.
        DataError: the file cannot be written, for instance because the disk is full.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim < 2 or array.size == 0 or array.shape[2:] not in ((), (1,), (3,)):
        given = f"{array.dtype} {list(array.shape)}"
        raise UsageError(f"a PNG is made of uint8 [H, W], [H, W, 1] or [H, W, 3], not of {given}")
    if compress_level is None:
        write_atomically(path, fast_png(array))
        return
    if compress_level not in range(10):
        raise UsageError(f"compress_level {compress_level!r} is not one of 0..9")
    if array.shape[2:] == (1,):
        array = array[:, :, 0]
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=compress_level)
    write_atomically(path, buffer.getvalue())


def fast_png(array: np.ndarray) -> bytes:
    """A PNG file (W3C PNG, third edition) in less than half the time of Pillow's fastest that compresses, and as small.

    Every row is stored as its difference from the row above (filter type 2, Up), and only runs of one byte are searched
    for (zlib's Z_RLE): photographs hold no other repeats worth the search. A 1024 x 1024 face takes 25 ms and 1009 KiB;
    Pillow at level 1 63 ms and 1018 KiB, OpenCV by its defaults 31 ms and 1185 KiB.

    Args:
        array: uint8 [H, W], [H, W, 1] or [H, W, 3], 0..255, of at least one pixel.
    """
    height, width = array.shape[:2]
    rows = array.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # the filter type of each row; above the first row are zeros
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    color_type = 2 if array.shape[2:] == (3,) else 0  # RGB or gray
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packer.compress(filtered.data) + packer.flush()), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        file += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return file


def _read_file(path: Path, label: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would keep us waiting for ever
            raise DataError(f"{label}: is not a file; give an image file ({_READABLE})")
        if status.st_size > MAX_BYTES:
            raise DataError(f"{label}: {_mib(status.st_size)} is more than the {_mib(MAX_BYTES)} that are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or printable(error)
        raise DataError(f"{label}: cannot be read ({reason}); check the path and its permissions") from error


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _too_large(label: str, what: str) -> DataError:
    return DataError(f"{label}: {what}: more than the {MAX_PIXELS:,} that are decoded; make the picture smaller")


def _eight_bit(image: Image.Image, label: str) -> Image.Image:
    """Gray of 9 to 16 bits scaled to 8; other pictures as they are."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        kind = "floating-point" if image.mode == "F" else "32-bit integer"
        raise DataError(f"{label}: {kind} pixels have no known range; save it with 8 or 16 bits a channel")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    bits, inverted = 16, False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = int(tags.get(258, (16,))[0])  # BitsPerSample: 12-bit scans come in 16-bit words
        inverted = tags.get(262) == 0  # PhotometricInterpretation WhiteIsZero, which Pillow resolves for 8 bits only
    top = 2**bits - 1
    gray = ((values * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    scaled = Image.fromarray(255 - gray if inverted else gray)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        scaled.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return scaled


def _upright(image: Image.Image, original: Image.Image) -> Image.Image:
    """``image`` turned as the EXIF data of ``original`` (loaded: Pillow turns TIFFs itself while loading) says."""
    try:
        orientation = original.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata is no reason to refuse a good picture
        orientation = 1
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _channels_last(image: Image.Image, backdrop: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, 1 or 3] of any 8-bit mode."""
    gray = image.mode in _GRAY_MODES
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (*backdrop, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
        gray = gray and len(set(backdrop)) == 1
        return np.asarray(image)[:, :, : 1 if gray else 3]
    return np.atleast_3d(np.asarray(image.convert("L" if gray else "RGB")))


def _is_visible(path: PurePosixPath) -> bool:
    return not any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in path.parts)


def _is_image_name(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and _is_visible(path)


def _natural_part(name: str) -> tuple[Any, ...]:
    """A sort key that compares runs of digits by value: as (length, digits), for which no number is too long."""
    pieces = re.split(r"([0-9]+)", name)  # text, digits, text, digits, ..., text
    key = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p.casefold() for i, p in enumerate(pieces)]
    return tuple(key), name  # the name itself settles 'a' against 'A' and '1' against '01'


def _natural(path: PurePosixPath) -> tuple[Any, ...]:
    return tuple(_natural_part(part) for part in path.parts)
