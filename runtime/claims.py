"""Claims: a folder remembers what is made in it, and refuses to go on with something else."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .errors import DataError, UsageError
from .files import make_folder, printable, write_atomically


def claim(file: Path, wanted: Mapping[str, Any], what: str, free: Collection[str] = ()) -> None:
    """Write down in a folder what is made there; on the next call compare.

    Args:
        file: the record, such as ``training.json``, in the folder; both are made where they are missing.
        wanted: settings, as JSON values.
        what: is made there, for errors, such as ``training``.
        free: keys that may change from call to call.

    Raises:
        UsageError: the folder holds the same kind of thing with other settings.
        DataError: the record cannot be read or written.
    """
    wanted = json.loads(json.dumps(wanted))
    if file.exists():
        try:
            found = json.loads(file.read_bytes())
            differing = [key for key in wanted if wanted[key] != found.get(key) and key not in free]
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{printable(file)}: cannot be read ({printable(error)}); give another --out") from error
        if differing:
            changes = "; ".join(
                f"{key} was {_short(found.get(key))}, is now {_short(wanted[key])}" for key in differing
            )
            raise UsageError(
                f"{printable(file.parent)}: holds a {what} with other settings ({printable(changes)}); choose another "
                "output folder with --out"
            )
        if not free:
            return
    make_folder(file.parent)
    write_atomically(file, (json.dumps(wanted, indent=2) + "\n").encode())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else reprlib.repr(text)
