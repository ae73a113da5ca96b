"""Samples beside the training images nearest to them: is a face new, or remembered?

A mirrored training image counts like the image itself, since trainings mirror. Instead of a mirrored copy of all of
them, the sample is mirrored: for pixels that is the same, for features nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...stylegan.metrics import nearer_share, nearest

SHOWN = 16
"""Samples on the sheet."""

CLOSEST = 3
"""Training images beside each."""

_THUMB, _GAP, _LINE, _MARGIN = 96, 8, 17, 24
_INK, _SOFT, _PAPER, _ALERT = "#1c1c1c", "#6a6a6a", "#ffffff", "#c0271a"


@dataclass(frozen=True)
class Neighbours:
    """The training images nearest to fakes, in one kind of features.

    Attributes:
        places: int64 [Q, k], which training images, the nearest first.
        distances: float64 [Q, k].
        mirrored: bool [Q, k], whether the mirrored training image is meant.
        typical: the median distance from a training image to the nearest other one.
        percentiles: float64 [Q], the percentage of training images that are nearer to another training image than the
            fake is to its nearest. 0 for a copy, 50 for a fake that is as near as the median training image is.
        nearer_share: see :func:`fergan.stylegan.metrics.nearer_share`.
    """

    places: np.ndarray
    distances: np.ndarray
    mirrored: np.ndarray
    typical: float
    percentiles: np.ndarray
    nearer_share: float

    def ratio(self, distance: float) -> float | None:
        """In units of the typical distance; None where that is 0."""
        return distance / self.typical if self.typical > 0 else None


def find_neighbours(
    fakes: np.ndarray,
    fakes_mirrored: np.ndarray,
    reals: np.ndarray,
    sample: np.ndarray,
    sample_mirrored: np.ndarray,
) -> Neighbours:
    """Search.

    Args:
        fakes, fakes_mirrored: features [Q, D] of fakes and of their mirror images.
        reals: features [N, D] of all training images, more than CLOSEST.
        sample: int [S], places of the training images that tell what is typical.
        sample_mirrored: features [S, D] of their mirror images.
    """
    places, distances, mirrored = _either_way(fakes, fakes_mirrored, reals, None)
    _, among_reals, _ = _either_way(reals[sample], sample_mirrored, reals, sample)
    ordered = np.sort(among_reals[:, 0])
    return Neighbours(
        places,
        distances,
        mirrored,
        typical=float(np.median(ordered)),
        percentiles=100 * np.searchsorted(ordered, distances[:, 0]) / len(ordered),
        nearer_share=nearer_share(distances[:, 0], ordered),
    )


def _either_way(
    queries: np.ndarray, mirrored: np.ndarray, references: np.ndarray, exclude: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest references of each query or its mirror image: places, distances, whether mirrored, each [Q, k]."""
    both = [nearest(side, references, CLOSEST, exclude) for side in (queries, mirrored)]
    distances = np.hstack([both[0][0], both[1][0]])
    places = np.hstack([both[0][1], both[1][1]])
    turned = np.repeat([False, True], CLOSEST)[None].repeat(len(queries), axis=0)
    # a reference may be near both ways: the farther of the two does not count
    for row in range(len(queries)):
        for left in range(CLOSEST):
            for right in range(CLOSEST, 2 * CLOSEST):
                if places[row, left] == places[row, right]:
                    distances[row, left if distances[row, left] > distances[row, right] else right] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :CLOSEST]
    found = (np.take_along_axis(values, order, axis=1) for values in (places, distances, turned))
    return tuple(found)  # type: ignore[return-value]


@dataclass(frozen=True)
class Sample:
    """A row of the sheet: the sample's caption and picture, and per kind of features its training images with captions.

    Pictures are uint8 [H, W, 1 or 3]; a caption that begins with ``!`` is printed in red.
    """

    caption: str
    picture: np.ndarray
    groups: Sequence[Sequence[tuple[str, np.ndarray]]]


def draw_sheet(title: str, notes: Sequence[str], headings: Sequence[str], samples: Sequence[Sample]) -> np.ndarray:
    """The sheet, uint8 [H, W, 3]: samples in two columns, each beside its training images.

    Args:
        notes: lines under it.
        headings: one for the samples and one for each group of training images.
    """
    group = CLOSEST * (_THUMB + _GAP)
    half = _THUMB + _GAP + (len(headings) - 1) * (group + 2 * _GAP)
    columns = 2 if len(samples) > 1 else 1
    rows = -(-len(samples) // columns)
    top = _MARGIN + 30 + len(notes) * _LINE + 12
    row_height = _THUMB + _LINE + _GAP + 4
    width = 2 * _MARGIN + columns * half + (columns - 1) * 2 * _MARGIN
    sheet = Image.new("RGB", (width, top + _LINE + 6 + rows * row_height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(13)
    draw.text((_MARGIN, _MARGIN), title, _INK, large)
    for index, note in enumerate(notes):
        draw.text((_MARGIN, _MARGIN + 30 + index * _LINE), note, _SOFT, small)
    for column in range(columns):
        left = _MARGIN + column * (half + 2 * _MARGIN)
        starts = [left] + [left + _THUMB + 3 * _GAP + index * (group + 2 * _GAP) for index in range(len(headings) - 1)]
        for start, heading in zip(starts, headings, strict=True):
            draw.text((start, top), heading, _INK, small)
        for row, sample in enumerate(samples[column * rows : (column + 1) * rows]):
            y = top + _LINE + 6 + row * row_height
            _cell(sheet, draw, (starts[0], y), sample.picture, sample.caption, small)
            for start, members in zip(starts[1:], sample.groups, strict=True):
                for index, (caption, picture) in enumerate(members):
                    _cell(sheet, draw, (start + index * (_THUMB + _GAP), y), picture, caption, small)
    return np.asarray(sheet)


def _cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    picture: np.ndarray,
    caption: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, 0] if picture.shape[2] == 1 else picture))
    sheet.paste(image.convert("RGB").resize((_THUMB, _THUMB), Image.Resampling.LANCZOS), at)
    colour = _ALERT if caption.startswith("!") else _SOFT
    draw.text((at[0], at[1] + _THUMB + 2), caption.lstrip("!"), colour, font)
