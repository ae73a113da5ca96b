"""Seeds as people write them, shards of them, and the names of their faces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from ...runtime.errors import UsageError

SHARD = 64
"""Faces a shard: small enough to lose little by a kill, large enough to keep files and calls few."""

_LARGEST_SHARD, _MANY_SHARDS = 4096, 2048

_LAST = 2**32 - 1  # numpy's RandomState takes 32 bits
_MOST = 10_000
_Item = TypeVar("_Item")


def parse_seeds(text: str) -> list[int]:
    """``"0,1,4-6"`` -> ``[0, 1, 4, 5, 6]``, as in NVIDIA's programs; sorted, each seed once.

    Raises:
        UsageError: not a list of numbers and ranges, or outside 0..2**32-1.
    """
    seeds: set[int] = set()
    for part in _parts(text, "--seeds"):
        seeds.update(part)
    return sorted(seeds)


def parse_list(text: str, option: str, last: int = _LAST, what: str = "seed") -> list[int]:
    """``"85,100,4-6"`` -> ``[85, 100, 4, 5, 6]``: numbers and ranges in the order given, repeated ones too.

    Raises:
        UsageError: not a list of numbers and ranges, one is beyond ``last``, or there are more than 10,000.
    """
    numbers: list[int] = []
    for part in _parts(text, option, last, what):
        if len(numbers) + len(part) > _MOST:
            raise UsageError(f"{option} {text!r}: names more than {_MOST:,}; give fewer")
        numbers.extend(part)
    return numbers


def _parts(text: str, option: str, highest: int = _LAST, what: str = "seed") -> Iterator[range]:
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part)
        if not match:
            raise UsageError(f"{option} {text!r}: {part.strip()!r} is not a {what} or range; write for example 0,1,4-6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > highest:
            raise UsageError(f"{option} {text!r}: {part.strip()!r} is not a range within 0..{highest}")
        yield range(first, last + 1)


def seed_sequence(text: str) -> Sequence[int]:
    """Parse as :func:`parse_seeds` does, but keep a single range: ten million seeds then take no memory."""
    parts = list(_parts(text, "--seeds"))
    return parts[0] if len(parts) == 1 else parse_seeds(text)


def format_seeds(seeds: Sequence[int]) -> str:
    """The shortest text for sorted seeds: ``[0, 1, 2, 7]`` -> ``"0-2,7"``."""
    if isinstance(seeds, range) and seeds.step == 1 and len(seeds) > 1:
        return f"{seeds[0]}-{seeds[-1]}"
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def face_name(seed: int) -> str:
    """NVIDIA's file name for a seed: ``seed0042.png``."""
    return f"seed{seed:04d}.png"


def shard_size(n: int) -> int:
    """Faces a shard of a run of ``n`` faces: 64, and more where that would make thousands of files.

    >>> [shard_size(n) for n in (500, 131_072, 1_000_000, 10_000_000)]
    [64, 64, 512, 4096]
    """
    size = SHARD
    while size < _LARGEST_SHARD and n > size * _MANY_SHARDS:
        size *= 2
    return size


def shards(items: Sequence[_Item]) -> Iterator[tuple[int, Sequence[_Item]]]:
    """Number and contents of one shard after another, of :func:`shard_size` items."""
    size = shard_size(len(items))
    for number, start in enumerate(range(0, len(items), size)):
        yield number, items[start : start + size]
