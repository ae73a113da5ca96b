"""Labels of training images are refused where they contradict each other or are damaged."""

import json
import zipfile
from pathlib import Path

import pytest
from fergan.runtime.errors import DataError
from fergan.stylegan.training.images import read_classes


def test_one_picture_under_two_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0], ["b.png", 1], ["a.png", 0]]}))
    assert read_classes(tmp_path, ("a.png", "b.png")).tolist() == [[1, 0], [0, 1]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0], ["b.png", 1], ["a.png", 2]]}))
    with pytest.raises(DataError, match="a.png is listed under two classes, 0 and 2"):
        read_classes(tmp_path, ("a.png", "b.png"))


@pytest.mark.parametrize(("mark", "shift", "value"), [(b"PK\x01\x02", 8, 1), (b"PK\x03\x04", 60, 255)])
def test_labels_that_cannot_be_unpacked_are_refused(tmp_path: Path, mark: bytes, shift: int, value: int) -> None:
    """Encrypted, by its flag in the directory of the zip; damaged, in the packed bytes."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{i}.png", i % 7] for i in range(500)]}))
    content = bytearray(path.read_bytes())
    place = content.index(mark) + shift
    content[place : place + 1] = bytes([value])
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip: dataset\.json: holds no list 'labels'"):
        read_classes(path, ("0.png",))
