"""Starting and stopping the server."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ...runtime.errors import UsageError
from .application import Application
from .counters import Metrics
from .protocol import GuardedProtocol
from .repository import Repository
from .settings import ServeSettings


class InferenceServer:
    """A server: made, run once, stopped.

    Args:
        settings: of the server.
        announce: called with the base URL when requests can come.

    Raises:
        UsageError: the address cannot be had.
    """

    def __init__(self, settings: ServeSettings, announce: Callable[[str], None] = lambda url: None) -> None:
        self._settings, self._announce = settings, announce
        self._socket = _bind(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._uvicorn: uvicorn.Server | None = None

    def run(self) -> None:
        """Serve until SIGTERM, Ctrl-C or :meth:`stop`; then finish what is under way.

        Raises:
            DataError: a model cannot be opened.
        """
        try:
            asyncio.run(self._run())
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ask the server to stop; may be called from another thread."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    async def _run(self) -> None:
        metrics = Metrics()
        repository = Repository(self._settings, metrics)
        application = Application(self._settings, repository, metrics)
        try:
            await repository.start()
            config = uvicorn.Config(
                application,
                http=functools.partial(GuardedProtocol, self._settings),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=self._settings.keep_alive,  # type: ignore[arg-type]
                timeout_graceful_shutdown=self._settings.drain,  # type: ignore[arg-type]
            )
            self._uvicorn = _Server(config, lambda: self._announce(self.url))
            await self._uvicorn.serve([self._socket])
        finally:
            await repository.stop()
            application.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()


def serve(settings: ServeSettings, announce: Callable[[str], None]) -> None:
    """Run a server in this process until SIGTERM or Ctrl-C; log to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("fergan").setLevel(logging.INFO)
    sys.setswitchinterval(0.0005)  # the network's thread asks for Python's lock between operations, and must get it
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _already_handled)
    InferenceServer(settings, announce).run()


def _already_handled(number: int, frame: FrameType | None) -> Any:
    """uvicorn has stopped on this signal, and raises it once more when it is done."""


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    return listener
