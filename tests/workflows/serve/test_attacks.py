"""A real server, attacked: others are answered all the while, and it ends when it is told to."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM and no limits")
pytest.importorskip("simdjson", reason="pip install 'fergan[serve]' to run this test")

FACES = json.dumps({"instances": np.zeros((2, 48, 48, 1), int).tolist()}).encode()
PREDICT = b"POST /v1/models/fer:predict HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def process(*options: str, files: int = 0, log: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """``fergan serve``, and a client that waits 1 s at most."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); " if files else ""
    program = f"{limit}from fergan.workflows.cli.main import main; main()"
    command = [sys.executable, "-c", program, "serve", "--port", "0", "--device", "cpu", "--drain", "1", *options]
    with log.open("w") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split(" at ")[1].split("/v1")[0]
        with httpx.Client(base_url=url, timeout=10) as client:
            client.post("/v1/models/fer:predict", content=FACES)
            client.timeout = httpx.Timeout(1)
            yield server, client
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with process(log=tmp_path_factory.mktemp("log") / "log") as (_, client):
        yield client


def raw(client: httpx.Client, *pieces: bytes) -> bytes:
    """What the server answers to raw bytes until it closes the connection, or says nothing for 3 s."""
    said = b""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=3) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            while piece := connection.recv(65536):
                said += piece
        except OSError:
            pass
    return said


def statuses(said: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", said)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"A" * (31 * 2**20) + b'" "b"',
        b'{"instances":[' + b"[1,2]," * 300_000 + b"[1 2]]}",
        b'{"instances":["' + b"A" * (31 * 2**20) + b'"]}',
        b'{"instances":[' + b"1," * (15 * 2**20) + b"null]}",
    ],
    ids=["string", "lists", "value", "numbers"],
)
def test_a_large_body_with_an_error_stops_nobody(client: httpx.Client, body: bytes) -> None:
    answers: list[httpx.Response] = []
    url = f"{client.base_url}/v1/models/fer:predict"
    thread = threading.Thread(target=lambda: answers.append(httpx.post(url, content=body, timeout=60)))
    thread.start()
    while thread.is_alive():
        assert client.get("/healthz").status_code == 200  # in a second
        time.sleep(0.02)
    (answer,) = answers
    assert answer.status_code in (400, 413)
    assert len(answer.content) < 3000


@pytest.mark.parametrize(
    ("start", "flood"),
    [
        (b"1\r\n{\r\n0\r\n", b"a:b\r\n" * 20_000),
        (b"1\r\n{\r\n0\r\nx: ", b"A" * 100_000),
        (b"1;", b"e" * 100_000),
        (b"", b"1;" + b"e" * 60_000 + b"\r\n{\r\n"),
    ],
    ids=["trailers", "a long trailer", "a long extension", "extensions"],
)
def test_what_is_around_a_body_is_bounded(client: httpx.Client, start: bytes, flood: bytes) -> None:
    said = raw(client, PREDICT + b"Transfer-Encoding: chunked\r\n\r\n" + start, *[flood] * 200)
    assert statuses(said) in ([b"400"], [])  # a client that never stops sending may lose the answer
    assert client.get("/healthz").status_code == 200


def test_chunks_of_one_byte_with_a_trailer_are_read(client: httpx.Client) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in FACES)
    said = raw(
        client, PREDICT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, b"0\r\na: b\r\n\r\n"
    )
    assert statuses(said) == [b"200"]


def test_an_offer_of_http_2_loses_no_body(client: httpx.Client) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    head = PREDICT + offer + b"Content-Length: %d\r\n\r\n" % len(FACES)
    again = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for pieces in ([head + FACES + again], [head, FACES[:10], FACES[10:], again]):
        said = raw(client, *pieces)
        assert statuses(said) == [b"200", b"200"]
        assert b"predictions" in said
    assert statuses(raw(client, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")) == [b"400"]


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"200"),
        (b"no http\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 100_000, b"431"),
        (PREDICT + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n", b"400"),
    ],
    ids=["request", "no http", "large head", "damaged body"],
)
def test_a_second_request_never_answers_for_the_first(client: httpx.Client, second: bytes, status: bytes) -> None:
    body = FACES + b" " * 120_000
    said = raw(client, PREDICT + b"Content-Length: %d\r\n\r\n" % len(body) + body + second[:20], second[20:])
    assert statuses(said) == [b"200", status]
    assert said.index(b"predictions") < said.rindex(b"HTTP/1.1")


@pytest.mark.parametrize("size", [50_000, 66_000, 70_000, 81_000])
def test_a_request_has_one_answer_whatever_its_head_and_trailers(client: httpx.Client, size: int) -> None:
    large = b"X: " + b"y" * size + b"\r\n\r\n"
    assert len(statuses(raw(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + large))) == 1
    chunked = PREDICT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n"
    assert len(statuses(raw(client, chunked % (len(FACES), FACES) + large))) == 1


def test_without_file_descriptors_the_log_stays_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(files=180, log=log) as (server, client):
        client.close()
        address = (client.base_url.host, client.base_url.port or 80)
        idle = [socket.create_connection(address, timeout=3) for _ in range(300)]
        time.sleep(3)
        assert log.stat().st_size < 10_000
        for connection in idle:
            connection.close()
        assert httpx.get(f"{client.base_url}/healthz", timeout=2).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(6) == 0


def endless_onnx(path: Path) -> None:
    """A loop without end."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    h, kind = onnx.helper, onnx.TensorProto
    go_on = [h.make_node("Identity", [a], [b]) for a, b in (("again", "once_more"), ("kept", "keeps"))]
    again, more, kept, keeps = (
        h.make_tensor_value_info(n, kind.BOOL, []) for n in ("again", "once_more", "kept", "keeps")
    )
    body = h.make_graph(go_on, "body", [h.make_tensor_value_info("round", 7, []), again, kept], [more, keeps])
    yes = h.make_node("Constant", [], ["yes"], value=h.make_tensor("yes", kind.BOOL, [], [True]))
    nodes = [yes, h.make_node("Loop", ["", "yes", "yes"], ["end"], body=body), h.make_node("Flatten", ["x"], ["y"])]
    ends = [
        h.make_tensor_value_info("x", kind.FLOAT, ["N", 1, 48, 48]),
        h.make_tensor_value_info("y", kind.FLOAT, ["N", "K"]),
    ]
    path.write_bytes(h.make_model(h.make_graph(nodes, "g", ends[:1], ends[1:])).SerializeToString())


@pytest.mark.slow
def test_a_model_that_never_opens_holds_up_nobody(small_model: Callable[[Path, float], Path], tmp_path: Path) -> None:
    base = tmp_path / "mine"
    small_model(base / "1" / "model.keras", 0.2)
    small_model(tmp_path / "new" / "3" / "model.keras", 0.8)
    endless_onnx(tmp_path / "model.onnx")

    def states(client: httpx.Client) -> dict[str, Any]:
        return {v["version"]: v for v in client.get("/v1/models/mine").json()["model_version_status"]}

    def wait_for(condition: Callable[[], bool], client: httpx.Client) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, states(client)
            assert client.get("/healthz").status_code == 200
            assert client.post("/v1/models/fer:predict", content=FACES, timeout=10).status_code == 200
            time.sleep(0.1)

    with process("--model", "fer=fernet", "--model", f"mine={base}", log=tmp_path / "log") as (server, client):
        (tmp_path / "2").mkdir()
        (tmp_path / "model.onnx").rename(tmp_path / "2" / "model.onnx")
        (tmp_path / "2" / "model.json").write_bytes((base / "1" / "model.json").read_bytes())
        (tmp_path / "2").rename(base / "2")
        wait_for(lambda: states(client).get("2", {}).get("state") == "END", client)
        assert "does not end" in states(client)["2"]["status"]["error_message"]
        assert states(client)["1"]["state"] == "AVAILABLE"
        (tmp_path / "new" / "3").rename(base / "3")
        wait_for(lambda: states(client).get("3", {}).get("state") == "AVAILABLE", client)
        (base / "2" / "model.onnx").rename(base / "2" / "another.onnx")  # tried again
        (base / "2").rename(base / "4")
        wait_for(lambda: states(client).get("4", {}).get("state") == "LOADING", client)
        server.send_signal(signal.SIGTERM)
        assert server.wait(6) == 0  # --drain and 5 s
