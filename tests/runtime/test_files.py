"""Files are read whole or refused in one clear error."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fergan.runtime.errors import DataError
from fergan.runtime.files import npz_bytes, read_npz, read_regular

CONTENT = npz_bytes(zeros=np.zeros(100_000), names=np.array(["a", "b"]))


def test_a_small_file_takes_little_memory_to_read(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"12345")
    tracemalloc.start()
    assert read_regular(path) == b"12345"
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20
    with pytest.raises(DataError, match="has 5 bytes; at most 4 are read"):
        read_regular(path, 4)


def test_arrays_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT)
    arrays = read_npz(tmp_path / "a.npz")
    assert list(arrays) == ["zeros", "names"]
    assert arrays["zeros"].shape == (100_000,) and arrays["names"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", CONTENT[:200], CONTENT[:-9], npz_bytes(objects=np.array([{}])), npz_bytes(a=np.zeros(2**17))],
    ids=["empty", "text", "cut short", "its end cut off", "objects", "large when unpacked"],
)
def test_a_damaged_archive_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: is damaged .*; make another"):
        read_npz(tmp_path / "a.npz", "make another", most=2**20 - 1)
    with pytest.raises(DataError, match=r"b\.npz: cannot be read .*; make another"):
        read_npz(tmp_path / "b.npz", "make another")
