"""New versions while requests come, and the end of the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

BODY = json.dumps({"instances": np.zeros((2, 64, 64, 1), int).tolist()}).encode()
Write = Callable[[Path, float], Path]


def happy(client: httpx.Client, path: str = "/v1/models/mine:predict") -> float:
    answer = client.post(path, content=BODY)
    assert answer.status_code == 200, answer.text
    return round(answer.json()["predictions"][0][3], 3)


def states(client: httpx.Client) -> dict[str, str]:
    return {v["version"]: v["state"] for v in client.get("/v1/models/mine").json()["model_version_status"]}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.05)


def test_a_new_version_takes_over_without_a_failed_request(
    serve: Callable[..., Any], small_model: Write, tmp_path: Path
) -> None:
    base = tmp_path / "mine"
    small_model(base / "1" / "model.keras", 0.2)
    small_model(tmp_path / "new" / "model.keras", 0.8)
    with serve(models={"mine": str(base)}, poll=0.1) as client:
        seen: list[float] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30) as own:
                while not stop.is_set():
                    seen.append(happy(own))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(seen) > 20)
            damaged = base / "2"  # half of a file: left out, tried again when the rest has come
            damaged.mkdir()
            whole = (tmp_path / "new" / "model.keras").read_bytes()
            shutil.copy(tmp_path / "new" / "model.json", damaged)
            (damaged / "model.keras").write_bytes(whole[: len(whole) // 2])
            wait_for(lambda: states(client).get("2") == "END")
            assert states(client)["1"] == "AVAILABLE"
            (damaged / "model.keras").write_bytes(whole)
            wait_for(lambda: states(client) == {"1": "END", "2": "AVAILABLE"})
            asked = len(seen)
            wait_for(lambda: len(seen) > asked + 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(seen) == {0.2, 0.8}  # every request was answered, by the one or the other
        assert seen[-1] == 0.8
        assert client.post("/v1/models/mine/versions/1:predict", content=BODY).status_code == 404
        shutil.rmtree(base / "2")  # back to the one before
        wait_for(lambda: states(client).get("1") == "AVAILABLE")
        assert happy(client) == 0.2
        shutil.rmtree(base)  # what is loaded goes on
        time.sleep(0.4)
        assert happy(client) == 0.2


def test_several_versions(serve: Callable[..., Any], small_model: Write, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        small_model(tmp_path / str(number) / "model.keras", number / 10)
    with serve(models={"mine": str(tmp_path)}, versions=2, labels={("mine", "stable"): 1}) as client:
        assert states(client) == {"1": "AVAILABLE", "2": "AVAILABLE", "3": "AVAILABLE"}
        assert happy(client) == 0.3
        assert happy(client, "/v1/models/mine/versions/2:predict") == 0.2
        assert happy(client, "/v1/models/mine/labels/stable:predict") == 0.1


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_sigterm_finishes_what_is_under_way() -> None:
    command = [sys.executable, "-m", "fergan", "serve", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split(" at ")[1].split("/v1")[0]
        body = json.dumps({"instances": np.zeros((128, 48, 48, 1), int).tolist()}).encode()
        answers: list[int] = []

        def ask() -> None:
            answers.append(httpx.post(f"{url}/v1/models/fer:predict", content=body, timeout=30).status_code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()

        def under_way() -> bool:
            page = httpx.get(f"{url}/metrics").text
            return "fergan_requests_in_flight 7.0" in page

        wait_for(under_way)
        os.kill(server.pid, signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert answers == [200] * 6
        assert server.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")
