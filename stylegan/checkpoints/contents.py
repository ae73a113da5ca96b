"""Open the container of a checkpoint file; what is in it, the formats find out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import CheckpointError
from .restricted_pickle import Machine
from .stand_ins import STAND_INS
from .torch_files import MAGIC, read_legacy, read_zip

MAX_FILE_SIZE = 8 * 2**30

# Beginnings of files that people mistake for checkpoints, and what they are.
OTHER_KINDS: list[tuple[bytes, str]] = [
    (b"version https://git-lfs", "a Git LFS pointer in place of the file itself; run `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file, perhaps a Keras model; generators are not kept in those"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
    (b"\x89PNG", "a PNG image, not a network"),
    (b"\xff\xd8\xff", "a JPEG image, not a network"),
    (b"\x93NUMPY", "a numpy array, not a network"),
]


@dataclass(frozen=True)
class Content:
    """The content of a file.

    Attributes:
        container: ``pickle``, ``torch`` (what ``torch.save`` writes), ``safetensors``, or ``unknown``.
        root: the object in a pickle or torch file, read by the restricted reader; the file's bytes for the others.
        sha256: of the whole file, in hexadecimal.
        size: of the file, in bytes.
    """

    container: Literal["pickle", "torch", "safetensors", "unknown"]
    root: Any
    sha256: str
    size: int


def read_content(path: Path) -> Content:
    """Read a file and open its container.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or is of a kind that never holds a generator.
    """
    data = _read(path)
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    start = data[:512]
    for beginning, kind in OTHER_KINDS:
        if start.startswith(beginning):
            raise CheckpointError(kind)
    if start.lstrip()[:1] == b"<":
        raise CheckpointError("a web page in place of a checkpoint: the download failed or needs a login; get it again")
    if start.startswith(b"PK\x03\x04"):
        return Content("torch", read_zip(data, STAND_INS), sha256, size)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        return Content("safetensors", data, sha256, size)
    if start.startswith(b"\x80"):
        view = memoryview(data)
        root = Machine(view, STAND_INS).read()
        if type(root) is int and root == MAGIC:
            return Content("torch", read_legacy(view, STAND_INS), sha256, size)
        return Content("pickle", root, sha256, size)
    return Content("unknown", data, sha256, size)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise CheckpointError("a folder, not a checkpoint file")
        if not path.is_file():
            raise CheckpointError("there is no such file" if not path.exists() else "not a regular file")
        size = path.stat().st_size
        if size > MAX_FILE_SIZE:
            raise CheckpointError(f"{size / 2**30:.0f} GiB, more than any StyleGAN2 checkpoint has")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})") from None
    if not data:
        raise CheckpointError("the file is empty; get a fresh copy")
    return data
