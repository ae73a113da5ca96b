"""Styles that a projector found for a photograph, as NVIDIA's projector writes them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from ...runtime.files import printable, read_bytes
from ...stylegan.generator import Generator

_MAX_BYTES = 2**30


def read_projected_w(path: str | Path, generator: Generator) -> tuple[np.ndarray, str]:
    """Read ``projected_w.npz``.

    Args:
        path: a numpy archive with the array ``w`` [N, num_ws, w_dim] of any float type; nothing in it is executed.
        generator: that is to draw the styles.

    Returns:
        float32 [N, num_ws, w_dim], N > 0, and the file's SHA-256.

    Raises:
        DataError: the file is missing, damaged, or made for another generator.
    """
    label = printable(path)
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if "w.npy" not in sizes:
            raise DataError(f"{label}: holds no array 'w' (but {printable(', '.join(sizes) or 'nothing')})")
        if sizes["w.npy"] > _MAX_BYTES:  # a small zip can unpack to any size
            raise DataError(f"{label}: its array 'w' has {sizes['w.npy'] / 2**30:.1f} GiB, more than is read")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            w = arrays["w"]
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged files
        raise DataError(
            f"{label}: is not an .npz file that numpy can read ({printable(error)}); write it again with the projector"
        ) from error
    needed = f"[N, {generator.num_ws}, {generator.w_dim}]"
    if w.ndim != 3 or w.shape[1:] != (generator.num_ws, generator.w_dim) or not len(w):
        raise DataError(
            f"{label}: its array 'w' is {list(w.shape)}, where {generator.name} takes {needed}; "
            "use the network that it was projected with"
        )
    if w.dtype.kind != "f" or not np.isfinite(w).all():
        raise DataError(f"{label}: its array 'w' must hold finite floats (it is {w.dtype}); project the picture again")
    return w.astype(np.float32), hashlib.sha256(data).hexdigest()
