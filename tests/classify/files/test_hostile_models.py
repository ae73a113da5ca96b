"""Files that would keep their readers busy for ever or fill the memory end in one line."""

import errno
import io
import json
import mmap
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from fergan.classify.backend import keras
from fergan.classify.classifier import load_classifier
from fergan.classify.files import bounded
from fergan.classify.files.bounded import Limits, try_in_child
from fergan.classify.files.network import Guarded
from fergan.classify.files.open import open_keras_model
from fergan.runtime.errors import DataError

L = keras.layers
LABELS = ["a", "b", "c"]


def small(path: Path) -> Path:
    pixels = keras.Input((48, 48, 1))
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, strides=4, name="conv")(pixels))
    keras.Model(pixels, L.Dense(3, activation="softmax")(pooled)).save(path)
    return path


def test_limits_on_memory_time_and_files(tmp_path: Path) -> None:
    def forever() -> None:
        while True:
            pass

    path = tmp_path / "model.keras"
    with pytest.raises(DataError, match=r"model.keras: .* does not end"):
        try_in_child(path, Limits(0, seconds=1), forever, {})
    with pytest.raises(DataError, match=r"model.keras: needs more memory"):
        try_in_child(path, Limits(0), lambda: np.ones(2**28), {})

    def huge(inputs: torch.Tensor) -> torch.Tensor:
        try:
            return inputs.new_ones(2**28)
        except RuntimeError as error:
            raise RuntimeError(f"Exception encountered when calling Conv2D.call().\n\n{error}") from error

    network = SimpleNamespace(outputs=huge)
    with pytest.raises(DataError, match=r"model.keras: needs more memory"):
        try_in_child(path, Limits(0), lambda: Guarded(path, network).outputs(torch.ones(1)), {"DataError": DataError})
    with pytest.raises(DataError, match=r"model.keras: makes its reader crash"):
        try_in_child(path, Limits(0), os.abort, {})
    with pytest.raises(DataError, match="File too large"):
        try_in_child(path, Limits(0), lambda: (tmp_path / "made").write_bytes(b"x"), {})
    with pytest.raises(KeyError):
        try_in_child(path, Limits(0), lambda: {}["x"], {"KeyError": KeyError})
    try_in_child(path, Limits(0), lambda: np.ones(1000), {})


def test_a_machine_that_starts_no_process_leaves_a_file_untried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataError, match=r"model.keras: cannot be tried.*temporarily"):
        try_in_child(tmp_path / "model.keras", Limits(0), lambda: None, {})
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_that_waits_is_tried_again_and_one_that_works_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "_GLANCE", 0.1)
    tries = mmap.mmap(-1, 1)

    def act(forever: Callable[[], None]) -> None:
        tries[0] += 1
        forever()

    def busy() -> None:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            pass

    for forever, expected in ((busy, 1), (lambda: time.sleep(60), 2)):
        tries[0] = 0
        with pytest.raises(DataError, match="does not end"):
            try_in_child(tmp_path / "model.onnx", Limits(0, 1, 1), lambda forever=forever: act(forever), {})
        assert tries[0] == expected


def test_all_tries_of_a_file_share_one_budget(tmp_path: Path) -> None:
    def busy(seconds: float) -> None:
        while time.process_time() < seconds:
            pass

    limits = Limits(0, seconds=1, patience=1)
    try_in_child(tmp_path / "model.h5", limits, lambda: busy(0.4), {})
    assert limits.seconds < 0.7 and limits.wait < 1.7
    with pytest.raises(DataError, match="does not end"):
        try_in_child(tmp_path / "model.h5", limits, lambda: busy(60), {})
    assert limits.seconds < 0.2 or limits.wait == 0
    began = time.monotonic()
    with pytest.raises(DataError, match="does not end"):
        try_in_child(tmp_path / "model.h5", limits, lambda: busy(60), {})
    assert time.monotonic() - began < 2


def test_models_that_call_the_model_in_them_twice(tmp_path: Path) -> None:
    path = small(tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    inner = {"class_name": "ReLU", "config": {"name": "relu"}, "inbound_nodes": [0, 0]}
    for _ in range(13):
        inner = {"class_name": "Functional", "config": {"layers": [inner]}, "inbound_nodes": [0, 0]}
    config["config"]["layers"].append(inner)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    for load in (
        lambda: load_classifier(path, "cpu", labels=LABELS),
        lambda: open_keras_model(path, path.read_bytes()),
    ):
        with pytest.raises(DataError, match=r"model.keras: cannot be used: its layers are called 163\d\d times"):
            load()


def test_chunks_far_larger_than_their_file(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    small(path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("more", (3, 3), "f4", chunks=(3, 2**25), maxshape=(3, None), compression="gzip")
    with pytest.raises(DataError, match="times as large as the file"):
        open_keras_model(path, path.read_bytes())


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    path = small(tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        file["layers/conv2d/vars/0"][...] = np.nan
    parts["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="model.keras: says NaN or infinity"):
        load_classifier(path, "cpu", labels=LABELS)


def test_pipes_and_devices_are_no_models(tmp_path: Path) -> None:
    for beside in ("model.json", "model.validation.npz", "model.keras"):
        folder = tmp_path / beside
        folder.mkdir()
        path = small(folder / "model.keras")
        (folder / beside).unlink(missing_ok=True)
        os.mkfifo(folder / beside)
        with pytest.raises(DataError, match=f"{beside}: is not a regular file"):
            load_classifier(path, "cpu", labels=LABELS, input_range=(0, 255))
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is not a regular file"):
        load_classifier(tmp_path / "zero.onnx", "cpu", labels=LABELS)
