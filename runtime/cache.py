"""The user's cache: where downloads and compiled libraries are kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from .errors import DataError
from .files import printable


def cache_folder() -> Path:
    """The environment's FERGAN_CACHE, else ``~/.cache/fergan`` (on Linux). It may not exist yet."""
    return Path(os.environ.get("FERGAN_CACHE") or platformdirs.user_cache_dir("fergan"))


def code_folder(name: str) -> Path:
    """Make a folder of the cache for files that are executed, such as compiled libraries.

    Raises:
        DataError: another user owns the folder or could write to it; what such a user plants would be run here.
        OSError: it cannot be made.
    """
    folder = (cache_folder() / name).resolve()  # so that no link on the way is followed anew after the check
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    refuse_foreign(folder)
    return folder


def refuse_foreign(path: Path) -> None:
    """Make sure that only this user and root decide what ``path`` holds; OpenSSH has the same rule for its keys.

    The folders above count too, since whoever can write to one can put another folder in the place of ``path``; a
    sticky one such as ``/tmp`` is fine, because there only owners rename.

    Raises:
        DataError: another user owns the path or a folder above it, or could write to it.
        OSError: it is not there.
    """
    if not hasattr(os, "getuid"):
        return
    path = path.resolve()
    for place in (path, *path.parents):
        status = place.stat()
        if status.st_uid not in (0, os.getuid()):
            raise DataError(
                f"{printable(place)}: belongs to another user, so what lies there is not run; "
                "set FERGAN_CACHE to a folder of your own"
            )
        sticky = place != path and status.st_mode & stat.S_ISVTX
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            raise DataError(
                f"{printable(place)}: other users can write to it, so what lies there is not run; "
                f"'chmod go-w {printable(place)}', or set FERGAN_CACHE to a folder that only you can write to"
            )
