"""Servers in a thread of the test process, asked over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

Serving = Callable[..., Any]


@contextmanager
def serving(**settings: Any) -> Iterator[httpx.Client]:
    """A client of a running server."""
    for package in ("fastapi", "simdjson", "httptools", "prometheus_client", "multipart", "uvicorn"):
        pytest.importorskip(package, reason="pip install 'fergan[serve]' to run this test")
    from fergan.workflows.serve.server import InferenceServer
    from fergan.workflows.serve.settings import ServeSettings

    started = threading.Event()
    server = InferenceServer(ServeSettings(port=0, device="cpu", **settings), lambda url: started.set())
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(60)
        if failed:
            raise failed[0]
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve() -> Serving:
    return serving


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, float], Path]:
    """``small_model(path, happy)`` writes a network of 64x64 pixels that sees ``happy`` with about that probability."""

    def write(path: Path, happy: float) -> Path:
        from fergan.classify.backend import keras

        pixels = keras.Input((64, 64, 1), name="image")
        pooled = keras.layers.GlobalAveragePooling2D()(pixels)
        logits = np.log([(1 - happy) / 6] * 3 + [happy] + [(1 - happy) / 6] * 3)
        head = keras.layers.Dense(7, activation="softmax", name="scores")
        model = keras.Model(pixels, head(pooled))
        head.set_weights([np.full((1, 7), 0.0), logits])
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
        path.with_suffix(".json").write_text(
            '{"labels": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"], "input_range": [-1, 1]}'
        )
        return path

    return write


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """uint8 [20, 48, 48]"""
    return np.random.default_rng(0).integers(0, 256, (20, 48, 48), np.uint8)
