"""Published expression networks by name: downloaded when they are first used, and the same file ever after."""

from __future__ import annotations

from ..runtime.published import Shelf
from .known import KNOWN_JUDGES

_BEGINNINGS = {".hdf5": (b"\x89HDF\r\n\x1a\n",), ".onnx": (b"\x08",)}
"""First bytes of files: HDF5's signature; of ONNX the number of its first field, ``ir_version``."""

_SHELF = Shelf(KNOWN_JUDGES, "classifier", _BEGINNINGS, max_size=2**30)

cached_judge, fetch_judge = _SHELF.cached, _SHELF.fetch
