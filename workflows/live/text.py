"""Text on pictures: OpenCV's font for ASCII, and for all other text a font of this machine that has its characters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...runtime.opencv import opencv

Colour = tuple[int, ...]

FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "segoeui.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "meiryo.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
)
"""Fonts of Linux, Windows and macOS, searched in this order where the system keeps its fonts."""

_EM = 30  # pixels of a font's size at OpenCV's scale 1: capitals of both are then about as high
_UNASSIGNED = "\U0010fffe"  # no font has it: drawn as the box for missing characters


def text_size(text: str, scale: float) -> tuple[int, int, int]:
    """Width, height above the base line and depth below it, in pixels."""
    text, font = _drawable(text, scale)
    if font is None:
        cv2 = opencv()
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        return wide, high, below
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    return round(right - min(left, 0)), round(-top), max(round(bottom), round(scale * 10))


def put_text(picture: np.ndarray, text: str, x: int, y: int, scale: float, colour: Colour, outlined: bool) -> None:
    """Write a line from ``x`` to the right on the base line ``y``, with a black outline if asked for.

    Args:
        picture: uint8 [H, W, 3]; changed.
        scale: OpenCV's, of FONT_HERSHEY_SIMPLEX.
    """
    text, font = _drawable(text, scale)
    if font is None:
        cv2 = opencv()
        for ink, thick in (((0, 0, 0), 2), (colour, 1)) if outlined else ((colour, 1),):
            cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)
        return
    wide, high, below = text_size(text, scale)
    left, upper = max(x - 2, 0), max(y - high - 2, 0)
    part = picture[upper : max(y + below + 2, 0), left : max(x + wide + 2, 0)]
    if part.size:
        image = Image.fromarray(np.ascontiguousarray(part))
        ImageDraw.Draw(image).text(
            (x - left, y - upper), text, colour, font, "ls", stroke_width=int(outlined), stroke_fill=(0, 0, 0)
        )
        part[:] = np.asarray(image)


def escaped_labels(labels: Sequence[str]) -> list[str]:
    """The labels that no font of this machine can show: they are drawn as escapes such as ``\\u751f``."""
    return [label for label in labels if _odd(label) and _font_of(_odd(label)) is None]


def _drawable(text: str, scale: float) -> tuple[str, ImageFont.FreeTypeFont | None]:
    """The text as it is drawn, and the font; None for OpenCV's, which knows ASCII only."""
    if text.isascii():
        return text, None
    name = _font_of(_odd(text))
    if name is None:  # two labels must never look alike
        return text.encode("ascii", "backslashreplace").decode(), None
    return text, _font(name, max(6, round(_EM * scale)))


def _odd(text: str) -> str:
    """The characters beyond ASCII, each once."""
    return "".join(sorted({character for character in text if not character.isascii()}))


@cache
def _font_of(characters: str) -> str | None:
    for name in FONTS:
        font = _font(name, 32)
        if font is not None and not any(_looks(font, each) == _looks(font, _UNASSIGNED) for each in characters):
            return name
    return None


def _looks(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except (OSError, ImportError):  # not on this machine; a Pillow without FreeType
        return None
