"""The settings of ``fergan serve``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...classify.bundled import DEFAULT

MIB = 2**20


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a server.

    Attributes:
        models: name -> model file, bundled name, or folder of version folders.
        labels: (model, label) -> version that the label stands for.
        versions: how many of the newest versions of a folder are served at once.
        device: ``auto``, ``cpu`` or ``cuda``.
        host, port: where to listen; port 0 takes a free one.
        poll: seconds between looks for new versions.
        workers: batches that go through networks at once; None for what suits the device.
        max_batch: rows of a batch; None for what suits the device.
        batch_wait: seconds that an unfilled batch waits for more rows.
        max_queue: waiting rows of a model from which on requests are refused (503).
        max_body: bytes of a request's body, as sent and as unpacked (413).
        max_bodies: bytes of all bodies that are being received or worked on (503).
        max_values: lists, objects, strings and fours of values in a body that takes the slow way through JSON (413).
        max_pixels: of an uploaded picture (413).
        max_connections: open at once (503).
        header_timeout: seconds that a client may take for a request's head.
        piece_timeout, body_timeout: seconds between two pieces of a body, and for all of it (408).
        request_timeout: seconds from a complete request to its answer (504).
        keep_alive: seconds after which an idle connection is closed.
        drain: seconds that requests under way are given when the server is asked to stop.
        cors: send the headers that let pages of other origins read the answers.
        access_log: log a line for each request.
    """

    models: Mapping[str, str] = field(default_factory=lambda: {"fer": DEFAULT})
    labels: Mapping[tuple[str, str], int] = field(default_factory=dict)
    versions: int = 1
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8501
    poll: float = 1.0
    workers: int | None = None
    max_batch: int | None = None
    batch_wait: float = 0.002
    max_queue: int = 1024
    max_body: int = 32 * MIB
    max_bodies: int = 256 * MIB
    max_values: int = 2**21
    max_pixels: int = 2**25
    max_connections: int = 1000
    header_timeout: float = 10.0
    piece_timeout: float = 10.0
    body_timeout: float = 60.0
    request_timeout: float = 30.0
    keep_alive: float = 75.0
    drain: float = 30.0
    cors: bool = False
    access_log: bool = False
