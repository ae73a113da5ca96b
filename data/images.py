"""Image files in and out: one array shape for every kind of picture, and safe writing.

Reading trusts nothing: only the formats below are ever tried (so no PostScript interpreter is started), sizes are
checked before anything is decoded, and whatever a decoder trips over becomes a :class:`DataError` that names the file.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable, write_atomically

HEIF = find_spec("pillow_heif") is not None
"""Whether HEIC and HEIF pictures are read, by the package pillow-heif."""

_AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # Pillow 11.3 and later

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", *_AVIF)
"""The formats that are read, by their Pillow names. No other decoder is tried, whatever a file claims to be."""

MAX_PIXELS = 2**26
"""Largest picture that is decoded: 67 million pixels (8192 x 8192). A few kB of PNG can claim far more."""

MAX_BYTES = 2**28
"""Largest image file, or zip member after decompression, that is read into memory: 256 MiB."""

BACKGROUND = "white"
"""The colour behind transparent pixels unless asked otherwise (any colour name or #rrggbb that Pillow knows)."""

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
READABLE = f"PNG, JPEG, BMP, GIF, TIFF, WebP, PGM{', AVIF or HEIC' if HEIF else ' or AVIF'}"
"""The formats in words, for messages."""

_PNG = b"\x89PNG\r\n\x1a\n"
_BEGINNINGS = (_PNG, b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


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
        UsageError: ``background`` is not a colour.
    """
    try:
        backdrop = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise UsageError(f"background {background!r} is not a colour; give a name like white, or #rrggbb") from error
    if isinstance(source, bytes):
        data = source
        label = printable(name or "image")
    else:
        label = printable(name or os.fspath(source))
        data = read_file(Path(source), label)
    if not data:
        raise DataError(f"{label}: is empty (0 bytes); delete it or make it again")
    check_bytes(len(data), label)
    formats = FORMATS
    if _is_heic(data):
        _teach_heif(label)
        formats = ("HEIF",)
    _check_png(data, label)
    try:
        # Pillow warns about large pictures on its own; the limit below refuses them in one clear line instead.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=formats)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(label, f"{image.width} x {image.height} pixels")
            image.load()
            return _pixels(image, label, backdrop)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{label}: is not a readable {READABLE} image (it begins {data[:8]!r}); replace it") from error
    except Image.DecompressionBombError as error:
        raise _too_large(label, "its pixel count") from error
    except MemoryError as error:
        raise DataError(f"{label}: there is not enough memory to decode it; make it smaller") from error
    except Exception as error:  # on damaged bytes decoders raise almost any type: struct.error, KeyError, SyntaxError
        raise DataError(f"{label}: is truncated or damaged ({printable(error)}); make or download it again") from error


def image_pixels(image: Image.Image) -> np.ndarray:
    """An open Pillow image as :func:`read_image` gives its file: upright, 8-bit, on white where it is transparent.

    Returns:
        uint8 [H, W, 1] for pictures stored as gray, else [H, W, 3].

    Raises:
        DataError: pixels without a known range.
    """
    image.load()  # Pillow itself turns some formats upright when it loads them
    return _pixels(image, "image", ImageColor.getrgb(BACKGROUND)[:3])


def _pixels(image: Image.Image, label: str, backdrop: tuple[int, ...]) -> np.ndarray:
    return np.array(_channels_last(_upright(_eight_bit(image, label), image), backdrop))


def _check_png(data: bytes, label: str) -> None:
    """Refuse a PNG of which a checksum is wrong: Pillow decodes on, and damaged pixels look like any."""
    for kind, good, _ in png_chunks(data):
        if not good and (kind[:1].isupper() or kind == b"tRNS"):
            raise DataError(f"{label}: is truncated or damaged (a checksum is wrong); make or download it again")
        if kind == b"IEND":  # what follows is nothing of the picture, though some programs leave something there
            return


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bool, int]]:
    """The chunks of a PNG file (W3C PNG, third edition, 5.3), none of another file.

    Yields:
        Its kind, whether its checksum is right, and where it ends; the last one may lie beyond the end of the data.
    """
    view, place = memoryview(data), len(_PNG)
    if not data.startswith(_PNG):
        return
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        yield kind, zlib.crc32(view[place + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big"), end
        place = end


def begins_as_image(begin: bytes) -> bool:
    """Whether a file of this beginning (16 bytes are enough) is an image, whatever its name ends in."""
    if begin[:4] == b"RIFF":
        return begin[8:12] == b"WEBP"
    netpbm = begin[:1] == b"P" and begin[1:2] in b"123456" and begin[2:3].isspace()
    return begin.startswith(_BEGINNINGS) or netpbm or begin[4:12] in (b"ftypavif", b"ftypavis") or _is_heic(begin)


def _is_heic(begin: bytes) -> bool:
    return begin[4:8] == b"ftyp" and begin[8:12] in _HEIC


def _teach_heif(label: str) -> None:
    """Teach Pillow HEIC; a DataError where that is not installed."""
    if not HEIF:
        raise DataError(f"{label}: is a HEIC picture; run: pip install 'fergan[heic]', or save it as JPEG or PNG")
    import pillow_heif

    pillow_heif.register_heif_opener()


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
    file = _PNG
    for kind, data in chunks:
        file += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return file


def read_file(path: Path, label: str) -> bytes:
    """The bytes of a regular file of at most :data:`MAX_BYTES`; a DataError that calls it ``label`` otherwise."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would keep us waiting for ever
            raise DataError(f"{label}: is not a file; give an image file ({READABLE})")
        check_bytes(status.st_size, label)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or printable(error)
        raise DataError(f"{label}: cannot be read ({reason}); check the path and its permissions") from error


def check_bytes(count: int, label: str) -> None:
    """Refuse a file of more than :data:`MAX_BYTES` with a DataError."""
    if count > MAX_BYTES:
        limit = f"{MAX_BYTES / 2**20:.0f} MiB"
        raise DataError(f"{label}: {count / 2**20:.0f} MiB is more than the {limit} that are read; make it smaller")


def _too_large(label: str, what: str) -> DataError:
    return DataError(f"{label}: {what}: more than the {MAX_PIXELS:,} that are decoded; make the picture smaller")


def _eight_bit(image: Image.Image, label: str) -> Image.Image:
    """Gray of 9 to 16 bits scaled to 8; other pictures as they are."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
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
    except Exception:  # damaged metadata is not a reason to refuse a good picture
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
