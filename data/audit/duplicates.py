"""Faces that occur twice: byte for byte, or the same photograph cut, scaled, lit or mirrored a little differently."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter

THRESHOLD = 0.8
"""Correlation of fine detail from which two pictures count as one photograph.

On FER2013 the correlations of pairs that look alike have two humps, around 0.5 (other people in the same light) and
above 0.9 (the same photograph), with their valley at 0.75 to 0.8. Of the 24 pairs across splits that lie nearest above
0.8, about five show two people by eye.
"""

COARSE = 0.8
"""Correlation of whole pictures below which their detail is not compared."""

FLAT = 5.0
"""Standard deviation, in gray levels, below which a picture shows nothing."""

_COMPONENTS = 128
_BLOCK = 512
_SHIFT = 4  # pixels: how far apart two cuts of a photograph may be
_FINE, _WIDE = 0.8, 3.0  # pixels: detail is what lies between two Gaussian blurs


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows.

    Attributes:
        first, second: int64 [P], ``first < second``.
        similarity: float32 [P], correlation of fine detail, at most 1.
        mirrored: bool [P], whether one is the mirror image of the other.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    mirrored: np.ndarray


def pixel_hashes(images: np.ndarray) -> np.ndarray:
    """str [N]: the first 16 hex digits of the SHA-256 of each picture's pixels (uint8 [N, H, W])."""
    return np.array([hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images], dtype="<U16")


def exact_groups(images: np.ndarray) -> np.ndarray:
    """int64 [N]: for each picture the row of the first one with the same pixels."""
    _, first, group = np.unique(pixel_hashes(images), return_index=True, return_inverse=True)
    return first[group]


def is_flat(images: np.ndarray) -> np.ndarray:
    """bool [N]: whether a picture (uint8 [N, H, W]) is of nearly one gray, see :data:`FLAT`."""
    return images.reshape(len(images), -1).std(axis=1) < FLAT


def near_duplicates(images: np.ndarray, threshold: float = THRESHOLD, *, between: int | None = None) -> Pairs:
    """Find pairs of the same photograph.

    Two steps. First, all pairs whose pixels, centred and scaled to unit length (so brightness and contrast do not
    matter), correlate by :data:`COARSE` or more, mirrored or not. The search runs over principal components: for
    ``x = Vp + r`` with orthogonal ``r``, ``x.y <= p.q + |r||s|``, so no pair above the bound is missed. Then the
    correlation of fine detail (a difference of Gaussians), at the best of all shifts up to 4 pixels, decides: what
    faces in the same light share is coarse.

    Args:
        images: uint8 [N, H, W], gray. Flat ones are in no pair. Time grows with N squared: some 12 s of one core for
            30,000 faces of 48x48.
        threshold: least correlation of fine detail.
        between: only pairs of a row below this one with a row from it on are looked for; None for all.

    Returns:
        The pairs, exact duplicates among them, sorted by rows. A pair is named once, as what it resembles more.
    """
    kept = np.flatnonzero(~is_flat(images))
    border = None if between is None else int((kept < between).sum())
    vectors = _unit(images[kept].reshape(len(kept), -1).astype(np.float32))
    height, width = images.shape[1:]
    plain, mirror = _projections(vectors, height, width)
    found = []
    for mirrored, other in ((False, plain), (True, mirror)):
        for first, second in _candidates(plain, other, border):
            close = _correlation(vectors, first, second, (height, width), mirrored) >= COARSE
            found.append(np.stack([first[close], second[close], np.full(close.sum(), mirrored)], axis=1))
    pairs = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    similarity = _detail_correlation(images[kept], pairs)
    pairs, similarity = pairs[similarity >= threshold], similarity[similarity >= threshold]
    order = np.lexsort((-similarity, pairs[:, 1], pairs[:, 0]))
    pairs, similarity = pairs[order], similarity[order]
    new = np.ones(len(pairs), dtype=bool)
    new[1:] = (pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)
    pairs, similarity = pairs[new], similarity[new]
    return Pairs(kept[pairs[:, 0]], kept[pairs[:, 1]], similarity, pairs[:, 2].astype(bool))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _projections(vectors: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, k+1]: components and the length of what they leave out, of the vectors and of their mirror images."""
    sample = vectors[:: max(1, len(vectors) // 4000)]
    _, basis = np.linalg.eigh(sample.T @ sample)
    basis = basis[:, -_COMPONENTS:]
    mirrored = basis.reshape(height, width, -1)[:, ::-1].reshape(height * width, -1)
    projected = []
    for axes in (basis, mirrored):
        inside = vectors @ axes
        rest = np.sqrt(np.maximum(0, 1 - (inside**2).sum(axis=1, keepdims=True)))
        projected.append(np.concatenate([inside, rest], axis=1).astype(np.float32))
    return projected[0], projected[1]


def _candidates(plain: np.ndarray, other: np.ndarray, border: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (first, second) of rows, first < second, whose bound reaches COARSE, a block of rows at a time; with a
    border, first lies below it and second does not."""
    end = len(plain) if border is None else border
    for start in range(0, end, _BLOCK):
        beyond = start if border is None else border
        bound = plain[start : min(start + _BLOCK, end)] @ other[beyond:].T
        first, second = np.divmod(np.flatnonzero(bound.ravel() >= COARSE), max(bound.shape[1], 1))
        first, second = first + start, second + beyond
        above = second > first
        yield first[above], second[above]


def _correlation(
    vectors: np.ndarray, first: np.ndarray, second: np.ndarray, shape: tuple[int, int], mirrored: bool
) -> np.ndarray:
    result = np.empty(len(first), np.float32)
    for start in range(0, len(first), 4096):
        part = slice(start, start + 4096)
        other = vectors[second[part]]
        if mirrored:
            other = other.reshape(-1, *shape)[:, :, ::-1].reshape(len(other), -1)
        result[part] = np.einsum("ij,ij->i", vectors[first[part]], other)
    return result


def _detail_correlation(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """float32 [P]: correlation of fine detail at the best small shift, by the convolution theorem."""
    if not len(pairs):
        return np.empty(0, np.float32)
    rows, where = np.unique(pairs[:, :2], return_inverse=True)
    where = where.reshape(-1, 2)
    height, width = images.shape[1:]
    pictures = images[rows].astype(np.float32)
    detail = gaussian_filter(pictures, (0, _FINE, _FINE)) - gaussian_filter(pictures, (0, _WIDE, _WIDE))
    # tapered towards the edges, where a shifted picture shows something else
    detail *= np.sqrt(np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])).astype(np.float32)
    detail = _unit(detail.reshape(len(rows), -1)).reshape(detail.shape)
    plain, mirror = fft.rfft2(detail), fft.rfft2(np.ascontiguousarray(detail[:, :, ::-1]))
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 2048):
        part = slice(start, start + 2048)
        first, second = where[part].T
        other = np.where(pairs[part, 2, None, None] == 1, mirror[second], plain[second])
        product = fft.irfft2(plain[first] * other.conj(), s=(height, width))
        near = np.roll(product, (_SHIFT, _SHIFT), axis=(1, 2))[:, : 2 * _SHIFT + 1, : 2 * _SHIFT + 1]
        result[part] = near.max(axis=(1, 2))
    return result
