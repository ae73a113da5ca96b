"""Faces in a run folder that are not whole."""

import os
from pathlib import Path

import numpy as np
import pytest
from fergan.runtime.errors import DataError
from fergan.workflows.run_folder.faces import Face
from fergan.workflows.run_folder.pictures import PictureTar
from fergan.workflows.run_folder.store import Store, whole_pictures
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


@pytest.mark.parametrize("kept", [0, 100, 1500, 4000])
def test_a_tar_that_was_cut_is_not_whole(tmp_path: Path, kept: int) -> None:
    tar = PictureTar()
    for seed in range(9):
        picture = np.random.default_rng(seed).integers(0, 256, (16, 16, 1), np.uint8)
        tar.add(Face(f"seed{seed:04d}.png", seed), picture)
    whole = tar.finish()
    (tmp_path / "cut.tar").write_bytes(whole[:kept])
    (tmp_path / "whole.tar").write_bytes(whole)
    assert whole_pictures(tmp_path) == {"whole.tar"}


@pytest.mark.parametrize("place", ["{}", "file://{}", "memory:/{}"])
def test_a_store_deletes_what_it_is_told(tmp_path: Path, place: str) -> None:
    store = Store(place.format(tmp_path))
    for name in ("run.json", "faces/a.png", "faces/b.png"):
        store.write(name, b"x")
    store.remove([])
    store.remove(["faces/a.png", "run.json"])
    assert (store.names() - {"faces"}, store.names("faces")) == (set(), {"b.png"})
    with pytest.raises(DataError, match="cannot be cleared"):
        store.remove(["faces/a.png"])
