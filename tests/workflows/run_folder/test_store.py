"""Faces in a run folder that are not whole."""

import os
from pathlib import Path

import numpy as np
from fergan.workflows.run_folder.store import whole_pictures
from PIL import Image


def test_only_whole_pictures_count(tmp_path: Path) -> None:
    for name in ("whole", "empty", "cut", "pipe", "gone", "folder"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-5])
    for name in ("pipe", "gone", "folder"):
        (tmp_path / f"{name}.png").unlink()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("/nowhere")
    (tmp_path / "folder.png").mkdir()
    assert whole_pictures(tmp_path) == {"whole.png"}
