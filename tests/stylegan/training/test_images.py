"""Labels of training images are refused where they contradict each other."""

import json
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
