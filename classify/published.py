"""Published expression networks by name: downloaded when they are first used, and the same file ever after."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..runtime.cache import cache_folder
from ..runtime.downloads import OnProgress, Remote, download
from ..runtime.errors import UsageError
from .known import KNOWN_JUDGES, KnownJudge

_MAX_SIZE = 2**30
_BEGINNINGS = {".hdf5": b"\x89HDF\r\n\x1a\n", ".onnx": b"\x08"}
"""First bytes of files: HDF5's signature; of ONNX the number of its first field, ``ir_version``."""


def cached_judge(name: str, cache: str | os.PathLike[str] | None = None) -> Path | None:
    """The downloaded file of a published network, unchecked, or None if it is not there yet."""
    path = _place(_entry(name), cache)
    return path if path.is_file() else None


def fetch_judge(
    name: str,
    cache: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The file of a published network, downloaded if it is not there yet, and checked.

    Args:
        name: of :data:`.known.KNOWN_JUDGES`.
        cache: the folder; None for :func:`fergan.runtime.cache.cache_folder`.
        progress: called while bytes arrive.
        say: told the licence before the first download; None writes it to the error stream.

    Raises:
        UsageError: there is no such network.
        DataError: it cannot be downloaded, what comes is no network, or the file is not the one it was before.
    """
    judge = _entry(name)
    notice = (
        f"{judge.name} is published by {judge.origin} under the licence {judge.licence}. "
        "The licence of fergan does not cover it."
    )
    note = {"name": judge.name, "url": judge.url, "licence": judge.licence}
    beginnings = (_BEGINNINGS[Path(judge.file).suffix],)
    remote = Remote(judge.name, "network", str(judge.url), notice, note, beginnings, _MAX_SIZE, judge.sha256)
    return download(remote, _place(judge, cache), progress, say)


def _entry(name: str) -> KnownJudge:
    if name not in KNOWN_JUDGES:
        raise UsageError(f"no published classifier is called {name!r}; known are: {', '.join(KNOWN_JUDGES)}")
    return KNOWN_JUDGES[name]


def _place(judge: KnownJudge, cache: str | os.PathLike[str] | None) -> Path:
    return (cache_folder() if cache is None else Path(cache)) / judge.file
