"""Files as every package reads and writes them: whole or not at all, with errors that name the file."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

from .errors import DataError

if TYPE_CHECKING:
    import numpy as np

_TEMPORARY = re.compile(r"\.fergan-[0-9a-f]{16}\.tmp")


_NO_FOLDER = "its folder does not exist; make the folder first"


def temporary_path(path: str | os.PathLike[str], suffix: str = "") -> Path:
    """A hidden name of our own beside ``path``, free of the length of its name, for a file in the making.

    Args:
        path: what the file will be called when it is complete.
        suffix: an ending for writers that choose the format by it, such as ``.mp4``.
    """
    return Path(path).with_name(f".fergan-{secrets.token_hex(8)}.tmp{suffix}")


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left in a folder: files of :func:`temporary_path`'s names, without a suffix, only.

    Call it only where no other process of ours can be writing.
    """
    for leftover in folder.glob(".fergan-*.tmp"):
        if _TEMPORARY.fullmatch(leftover.name) and leftover.is_file() and not leftover.is_symlink():
            leftover.unlink(missing_ok=True)


def require_folder(folder: str | os.PathLike[str], advice: str) -> Path:
    """The path of a folder that exists.

    Raises:
        DataError: it is missing or something else; the message ends with ``advice``.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{printable(folder)}: {state}; {advice}")
    return folder


def require_folder_of(path: str | os.PathLike[str]) -> None:
    """Refuse a file's name before the work that fills the file.

    Raises:
        DataError: there is no such folder.
    """
    if not Path(path).parent.is_dir():
        raise DataError(f"{printable(path)}: cannot be written: {_NO_FOLDER}")


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name only ever stands for complete contents, even if the process is killed midway.

    The bytes go to a hidden temporary name in the same folder, which then replaces ``path``; after a failure the
    temporary file is removed and an older ``path`` is untouched. (A power cut is not covered: nothing is fsynced.)

    Raises:
        DataError: the disk is full, the folder is missing or not writable; the message says which.
    """
    path = Path(path)
    temporary = temporary_path(path)
    with writing(path):
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, an OSError becomes a DataError that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; free some space and run again"
        elif not path.parent.is_dir():
            reason = _NO_FOLDER
        else:
            reason = f"{error.strerror or error}; check the folder and its permissions"
        raise DataError(f"{printable(path)}: cannot be written: {reason}") from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents where they are missing.

    Raises:
        DataError: something else has its name, or the place is not writable.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be made ({error.strerror}); choose another place") from error
    return Path(path)


def printable(text: object, limit: int = 2000) -> str:
    r"""Text on one line that shows every character to any terminal, log and page.

    Line ends, lone bytes and the characters that reorder or hide their neighbours become escapes, such as ``\u202e``:
    a file name that holds one could show itself as another name. The middle of a long text becomes ``…``.
    """
    shown = str(text)
    if len(shown) > limit:
        half = max(1, (limit - 1) // 2)
        shown = f"{shown[:half]}\N{HORIZONTAL ELLIPSIS}{shown[-half:]}"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or category(c) == "Zs" else _escaped(c) for c in shown)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def utf8_text(text: str) -> str:
    r"""Text that any file can hold: bytes of a file name that are not UTF-8 become escapes, such as ``\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_regular(path: Path, most: int = 2**33, advice: str = "put one in its place") -> bytes:
    """The content of a file; pipes and devices, which may never end, are refused.

    Raises:
        DataError: no regular file, which the message ends with ``advice`` for, or more than ``most`` bytes.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{printable(path)}: is not a regular file (a pipe, device or folder); {advice}")
        if status.st_size > most:
            raise DataError(f"{printable(path)}: has {status.st_size} bytes; at most {most} are read")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read()
        if len(content) > most:
            raise DataError(f"{printable(path)}: has grown beyond {most} bytes; at most so many are read")
        return content
    finally:
        os.close(descriptor)


def read_bytes(path: str | os.PathLike[str], advice: str = "") -> bytes:
    """The content of a file that somebody named, which may be a pipe.

    Raises:
        DataError: it cannot be read; the message then ends with ``advice``.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or printable(error)
        raise DataError(f"{printable(path)}: cannot be read ({reason}){advice and f'; {advice}'}") from error


def read_json(path: Path, advice: str = "delete it", most: int = 2**33) -> Any:
    """The JSON values of a file of at most so many bytes, None where there is no such file.

    Raises:
        DataError: it cannot be read or is not JSON; the message then ends with ``advice``.
    """
    try:
        return json.loads(read_regular(path, most, advice))  # bytes: UTF-16 and byte order marks too
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror}); {advice}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)}: is damaged ({printable(error)}); {advice}") from error


def write_together(contents: Mapping[Path, str], what: str) -> None:
    """Write text files so that a reader never sees half of one; a full disk leaves the old ones together.

    Raises:
        DataError: a folder is missing or cannot be written to, or the disk is full; what was there before stays.
    """
    written: dict[Path, Path] = {}
    try:
        # all are complete on disk before any gets its name
        for path, content in contents.items():
            temporary = temporary_path(path)
            written[path] = temporary
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(utf8_text(content))
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    except OSError as error:
        place = next(iter(contents)).parent
        raise DataError(f"cannot write {what} into {place}: {error.strerror or error}") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def npz_bytes(**arrays: Any) -> bytes:
    """Arrays by name as the content of a compressed ``.npz`` file."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npz_arrays(content: bytes, most: int = 2**30) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file's content, of at most ``most`` bytes in all; nothing in it is executed.

    Raises:
        Exception: zipfile, zlib and numpy raise many types on damaged files.
    """
    import numpy as np

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > most:  # a small zip can unpack to any size
        raise ValueError(f"it unpacks to {size} bytes; at most {most} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: np.asarray(array) for name, array in arrays.items()}


def read_npz(path: str | os.PathLike[str], advice: str = "delete it", most: int = 2**30) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file, see :func:`npz_arrays`.

    Raises:
        DataError: it is missing, damaged or too large; the message then ends with ``advice``.
    """
    content = read_bytes(path, advice)
    try:
        return npz_arrays(content, most)
    except Exception as error:
        raise DataError(f"{printable(path)}: is damaged ({printable(error)}); {advice}") from error


def json_digest(data: Any) -> str:
    """Half of the SHA-256 of plain JSON values, which tells whether they are the same again."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def json_text(data: Any) -> str:
    """Plain JSON values as a file's text."""
    return utf8_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
