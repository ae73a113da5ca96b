"""Clients that send too much, too slowly, or not to the end."""

from __future__ import annotations

import gzip
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

PREDICT = "/v1/models/fer:predict"


@pytest.fixture(scope="module")
def client(serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    limits = {"header_timeout": 0.5, "piece_timeout": 0.5, "body_timeout": 1.0, "keep_alive": 20.0}
    with serve(max_body=100_000, max_pixels=10_000, max_queue=40, max_connections=40, **limits) as client:
        yield client


def conversation(client: httpx.Client, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What the server says to raw bytes, until it closes the connection."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        said = b""
        try:
            while piece := connection.recv(65536):
                said += piece
        except ConnectionResetError:
            pass
        return said


def is_alive(client: httpx.Client) -> bool:
    return client.get("/healthz").json() == {"status": "ok"}


def test_large_bodies(client: httpx.Client) -> None:
    for content in (b"x" * 150_000, iter([b"x" * 50_000] * 3)):  # with their length, and in chunks
        answer = client.post(PREDICT, content=content)
        assert answer.status_code == 413
        assert "larger than 100000 bytes" in answer.json()["error"]
    bomb = gzip.compress(b" " * 10_000_000)
    answer = client.post(PREDICT, content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert is_alive(client)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"{}")[:-4]], ids=["no gzip", "cut off"])
def test_damaged_gzip(client: httpx.Client, content: bytes) -> None:
    answer = client.post(PREDICT, content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert "gzip" in answer.json()["error"]


def test_a_body_that_never_ends_is_cut_off(client: httpx.Client) -> None:
    head = b"POST /v1/models/fer:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert b" 408 " in conversation(client, head, b"{")
    assert b" 408 " in conversation(client, head, *[b" "] * 8, pause=0.2)  # each piece in time, the whole not
    assert is_alive(client)


def test_a_head_that_never_ends_is_cut_off(client: httpx.Client) -> None:
    assert b" 408 " in conversation(client)
    assert b" 408 " in conversation(client, b"GET /healthz HTTP/1.1\r\n", *[b"X: y\r\n"] * 4, pause=0.2)
    assert b" 431 " in conversation(client, b"GET /healthz HTTP/1.1\r\n", b"X: " + b"y" * 100_000)
    assert is_alive(client)


def test_no_http(client: httpx.Client) -> None:
    said = conversation(client, b"\x16\x03\x01 hello\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400")
    assert json.loads(said.split(b"\r\n\r\n", 1)[1]).keys() == {"error"}


def test_a_body_that_nobody_reads_ends_the_connection(client: httpx.Client) -> None:
    said = conversation(client, b"POST /v1/foo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in said


def test_many_connections(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port or 80)
    idle = [socket.create_connection(address) for _ in range(40)]
    try:
        assert b" 503 " in conversation(client)
    finally:
        for connection in idle:
            connection.close()
    time.sleep(0.1)
    assert is_alive(client)


def test_a_full_queue_refuses(client: httpx.Client) -> None:
    """40 rows may wait; 16 clients bring 8 each, again and again."""
    body = json.dumps({"instances": np.zeros((8, 48, 48, 1), int).tolist()}).encode()
    seen: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            seen.extend(
                own.post(PREDICT, content=gzip.compress(body), headers={"content-encoding": "gzip"}) for _ in range(3)
            )

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in seen if answer.status_code == 503]
    assert refused
    assert all(answer.headers["retry-after"] == "1" and "full" in answer.json()["error"] for answer in refused)
    assert {answer.status_code for answer in seen} == {200, 503}


def test_pictures_of_too_many_pixels(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    Image.new("L", (300, 300)).save(buffer, "PNG")
    answer = client.post("/v1/faces:analyze", content=buffer.getvalue())
    assert answer.status_code == 413
    assert answer.json() == {"error": "The picture has 90000 pixels; the limit is 10000"}


def test_metrics_count_what_was_refused(client: httpx.Client) -> None:
    client.post("/v1/models/made-up:predict", content=b"{}")
    page = client.get("/monitoring/prometheus/metrics").text
    assert 'fergan_requests_total{code="413",method="predict",model="fer"}' in page
    assert "made-up" not in page  # names of others' making would fill the memory
    assert client.get("/metrics").status_code == 200
