"""Many small faces as a few pictures: sprite sheets that a style sheet cuts into faces.

One JPEG of 256 faces is smaller than 256 JPEGs (one header, one set of tables), can be shown in several places of a
page at the cost of one, and needs no script. Each face has a border of its own repeated edge, because browsers blend
the neighbouring pixels in when they scale a cut-out, and starts on a new JPEG block, because a block that holds parts
of two faces mixes their colours.
"""

import base64
import io
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...runtime.errors import DataError

COLUMNS = 16
ROWS = 16
_GUTTER = 2
_QUALITIES = (82, 70, 55, 40)
_SMALLEST = 60  # pixels: below this a face tells nothing
PICTURE_EDGE = 320  # pixels of a single picture; larger faces are shrunk
_BLOCK = 16  # pixels: a JPEG block of subsampled colour

Face = Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Cell:
    """Where one face lies: sheet number, column and row, all from 0; `prefix` tells apart two sets in one page."""

    sheet: int
    column: int
    row: int
    prefix: str = "s"

    @property
    def css(self) -> str:
        """The style classes of an element that shows this face."""
        return f"face {self.prefix}{self.sheet} c{self.column} r{self.row}"


@dataclass(frozen=True)
class Sprites:
    """Faces by name: their cells, the style sheet that shows them, and those whose picture could not be read."""

    cells: Mapping[str, Cell] = field(default_factory=dict)
    css: str = ""
    unreadable: Mapping[str, str] = field(default_factory=dict)


def make_sprites(
    names: Iterable[str],
    load_face: Callable[[str], Face],
    size: int = 124,
    budget: int = 2_600_000,
    prefix: str = "s",
) -> Sprites:
    """Load each named face once, shrink it and lay it into sheets of at most 256.

    Args:
        names: the faces to show; a name given twice is loaded once.
        load_face: name -> picture of any size and mode, or uint8 [H, W], [H, W, 1] or [H, W, 3]; called from several
            threads at a time.
        size: the edge of a face in the sheet, in pixels; smaller faces keep their own size. Four less than a multiple
            of 16 wastes no block.
        budget: the most bytes for all sheets together, before base64 adds a third; JPEG quality and size give way.
        prefix: of the sheets' class names; two sets of sprites in one page need two. Letters only.

    A face that cannot be read (OSError, ValueError, KeyError, DataError or a picture that Pillow refuses as too large)
    is missing from `cells` and named, with the reason, in `unreadable`.
    """
    thumbnails: dict[str, Image.Image] = {}
    unreadable: dict[str, str] = {}

    def shrunk(name: str) -> Image.Image | str:
        try:
            return _thumbnail(load_face(name), size)
        except (OSError, ValueError, KeyError, DataError, Image.DecompressionBombError) as error:
            return f"{type(error).__name__}: {error}"

    wanted = list(dict.fromkeys(names))
    # decoding takes nearly all the time of a report on large faces, and Pillow lets other threads run meanwhile
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for name, result in zip(wanted, pool.map(shrunk, wanted), strict=True):
            if isinstance(result, str):
                unreadable[name] = result
            else:
                thumbnails[name] = result
    if not thumbnails:
        return Sprites(unreadable=unreadable)

    shown = list(thumbnails)
    parts = [shown[start : start + COLUMNS * ROWS] for start in range(0, len(shown), COLUMNS * ROWS)]
    edge, encoded = _within(budget, [[thumbnails[name] for name in part] for part in parts])
    cells = {
        name: Cell(number, i % COLUMNS, i // COLUMNS, prefix)
        for number, part in enumerate(parts)
        for i, name in enumerate(part)
    }
    rules = [
        _rules(f"{prefix}{number}", data, len(part), edge)
        for number, (data, part) in enumerate(zip(encoded, parts, strict=True))
    ]
    return Sprites(cells, "\n".join(rules), unreadable)


def _within(budget: int, parts: list[list[Image.Image]]) -> tuple[int, list[bytes]]:
    """The edge of a face and the encoded sheets: the best of some qualities and sizes that is small enough."""
    edge = max(max(picture.size) for part in parts for picture in part)
    while True:
        sheets = [_sheet(part, edge) for part in parts]
        for quality in _QUALITIES:
            encoded = [_jpeg(sheet, quality) for sheet in sheets]
            if sum(map(len, encoded)) <= budget:
                return edge, encoded
        if edge <= _SMALLEST:
            return edge, encoded
        edge = max(_SMALLEST, edge - _BLOCK)


def as_picture(face: Face) -> Image.Image:
    """A face as an 8-bit 'L' or 'RGB' picture: 16 bits are scaled down, transparency goes onto white.

    Raises:
        ValueError: an array that is not uint8 [H, W], [H, W, 1] or [H, W, 3], or that is empty.
    """
    if isinstance(face, np.ndarray):
        array = face[:, :, 0] if face.ndim == 3 and face.shape[2] == 1 else face
        shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
        if array.dtype != np.uint8 or not shaped or not array.size:
            raise ValueError(f"a face must be uint8 [H, W, 3] or [H, W], not {face.dtype} {list(face.shape)}")
        return Image.fromarray(np.ascontiguousarray(array))
    if face.mode in ("L", "RGB"):
        return face
    if face.mode.startswith("I"):
        return Image.fromarray((np.asarray(face).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if face.mode in ("LA", "PA", "RGBA") or "transparency" in face.info:
        rgba = face.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return face.convert("RGB")


def _thumbnail(face: Face, size: int) -> Image.Image:
    # a copy, because thumbnail() works in place and the picture may belong to the caller's cache
    picture = as_picture(face).copy()
    # reducing_gap shrinks by a whole factor first: many times faster for 1024 pixels, not visible at this size
    picture.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def _step(edge: int) -> int:
    """The distance of neighbouring faces in a sheet."""
    return -(-(edge + 2 * _GUTTER) // _BLOCK) * _BLOCK


def _sheet(pictures: list[Image.Image], edge: int) -> Image.Image:
    step = _step(edge)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    canvas = Image.new(mode, (min(COLUMNS, len(pictures)) * step, -(-len(pictures) // COLUMNS) * step))
    for i, picture in enumerate(pictures):
        canvas.paste(_cell(picture, edge, mode), (i % COLUMNS * step, i // COLUMNS * step))
    return canvas


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _rules(sheet: str, jpeg: bytes, faces: int, edge: int) -> str:
    """The style rules that show the faces of one sheet in boxes of any size."""
    step = _step(edge)
    columns, rows = min(COLUMNS, faces), -(-faces // COLUMNS)
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")

    # A percentage position p puts the point p of the picture onto the point p of the box, hence offset / (sheet - box).
    def position(index: int, count: int) -> str:
        return f"{100 * (index * step + _GUTTER) / (count * step - edge):.4f}%"

    size = f"{100 * columns * step / edge:.4f}% {100 * rows * step / edge:.4f}%"
    return "\n".join(
        [
            f'.{sheet}{{background-image:url("{uri}");background-size:{size}}}',
            *(f".{sheet}.c{i}{{background-position-x:{position(i, columns)}}}" for i in range(columns)),
            *(f".{sheet}.r{i}{{background-position-y:{position(i, rows)}}}" for i in range(rows)),
        ]
    )


def _cell(picture: Image.Image, edge: int, mode: str) -> Image.Image:
    """The picture in the middle of a square of `edge`, scaled to touch it, and its border repeated to fill `step`."""
    step = _step(edge)
    picture = picture.convert(mode)
    if max(picture.size) != edge:
        scale = edge / max(picture.size)
        target = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(target, Image.Resampling.BICUBIC)
    left, top = (edge - picture.width) // 2 + _GUTTER, (edge - picture.height) // 2 + _GUTTER
    array = np.asarray(picture)
    pad = [(top, step - top - picture.height), (left, step - left - picture.width)] + [(0, 0)] * (array.ndim - 2)
    if picture.width == picture.height:
        return Image.fromarray(np.pad(array, pad, mode="edge"))
    return Image.fromarray(np.pad(array, pad, mode="constant", constant_values=128))


def picture_uri(face: Face) -> str:
    """One face as a data URI, a JPEG of at most 320 pixels; smaller faces are left for the page to enlarge."""
    picture = as_picture(face).copy()
    picture.thumbnail((PICTURE_EDGE, PICTURE_EDGE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
