"""Claims: a folder remembers what is made in it, and refuses to go on with something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .distributed import rank
from .errors import DataError, UsageError
from .files import make_folder, printable, read_json, write_atomically


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
    found = read_json(file, "give another --out")
    if found is not None:
        if not isinstance(found, dict):
            raise DataError(f"{printable(file)}: is damaged (no settings); give another --out")
        differing = [key for key in wanted if wanted[key] != found.get(key) and key not in free]
        if differing:
            changed = changes({key: (found.get(key), wanted[key]) for key in differing})
            raise UsageError(
                f"{printable(file.parent)}: holds a {what} with other settings ({changed}); choose another "
                "output folder with --out"
            )
        if not free:
            return
    make_folder(file.parent)
    write_atomically(file, (json.dumps(wanted, indent=2) + "\n").encode())


def changes(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Settings that are not those of before, for an error: ``seed was 1, is now 2``; JSON values, long ones cut."""
    return "; ".join(
        f"{printable(key)} was {shortened(old)}, is now {shortened(new)}" for key, (old, new) in differing.items()
    )


def shortened(value: Any) -> str:
    """A JSON value for an error, of 60 characters at most."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def locked(folder: Path, work: Callable[[], str]) -> Iterator[None]:
    """Hold a folder for this process alone; the operating system lets go when the process ends, however it ends.

    Args:
        folder: exists.
        work: says for the error what another process does in the folder, such as ``on this study``.

    Raises:
        UsageError: another process holds the folder.
        DataError: the folder cannot be written to.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"{printable(folder)}: another fergan process is at work {work()}") from error
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be written to ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def training_in(folder: str | Path) -> AbstractContextManager[None]:
    """Hold the folder of a training, which is made where it is missing; of several processes the first one does.

    Raises:
        UsageError, DataError: as :func:`locked` says.
    """
    return locked(make_folder(folder), lambda: "on this training") if rank() == 0 else nullcontext()
