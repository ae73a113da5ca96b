"""Starting and stopping the server."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from ...runtime.errors import UsageError
from .application import Application
from .counters import Counters
from .protocol import GuardedProtocol
from .repository import Repository
from .settings import ServeSettings

_log = logging.getLogger(__name__)

_ACCEPTED_AT_ONCE, _WAITING = 32, 2048
"""Connections that are taken before those above the limit are closed; and that the system keeps until they are."""
_OTHER_FILES = 2 * _ACCEPTED_AT_ONCE + 32
"""File descriptors that are kept for models, and for connections that are accepted to be refused."""
_PATIENCE = 2.0
"""Seconds that threads are given at the end."""


class InferenceServer:
    """A server: made, run once, stopped.

    Args:
        announce: called with the base URL when requests can come.

    Raises:
        UsageError: the address cannot be bound.
    """

    def __init__(self, settings: ServeSettings, announce: Callable[[str], None] = lambda url: None) -> None:
        self._settings, self._announce = settings, announce
        self._socket = _bind(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._uvicorn: uvicorn.Server | None = None

    @property
    def is_started(self) -> bool:
        """Whether requests can come, or could."""
        return self._uvicorn is not None and self._uvicorn.started

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
        asyncio.get_running_loop().set_exception_handler(_Complaints())
        counters = Counters()
        repository = Repository(self._settings, counters)
        application = Application(self._settings, repository, counters)
        try:
            await repository.start()
            config = uvicorn.Config(
                application,
                http=functools.partial(GuardedProtocol, _fitting(self._settings)),  # type: ignore[arg-type]
                backlog=_ACCEPTED_AT_ONCE,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=self._settings.keep_alive,  # type: ignore[arg-type]
                timeout_graceful_shutdown=self._settings.drain,  # type: ignore[arg-type]
            )
            self._uvicorn = _Server(config, self._ready)
            await self._uvicorn.serve([self._socket])
        finally:
            await repository.stop()
            application.close()

    def _ready(self) -> None:
        self._socket.listen(_WAITING)
        self._announce(self.url)


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
    server = InferenceServer(settings, announce)

    def handle(number: int, frame: FrameType | None) -> None:
        """uvicorn stops on signals, and raises them once more when it is done; before it runs nothing needs an end."""
        if not server.is_started:
            os._exit(128 + number)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, handle)
    server.run()
    _leave()


def _leave() -> None:
    """End the process even if a model is still at work: a thread in a network cannot be stopped, but abandoned."""
    end = time.monotonic() + _PATIENCE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(end - time.monotonic(), 0))
            if thread.is_alive():
                logging.getLogger(__name__).warning("stopped while %s was at work", thread.name)
                logging.shutdown()
                sys.stdout.flush()
                os._exit(0)


class _Complaints:
    """Report the event loop's errors, but one line a minute in place of thousands when no file descriptor is left."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next:
            self._next = loop.time() + 60
            _log.warning("no connection can be accepted now: %s (ulimit -n)", error.strerror)


def _fitting(settings: ServeSettings) -> ServeSettings:
    """With no more connections than there are file descriptors for, less some for models and their files."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return settings
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _OTHER_FILES
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return settings
    fitting = max(soft - _OTHER_FILES, 1)
    _log.warning("at most %d connections at once, as this process may have %d files open (ulimit -n)", fitting, soft)
    return replace(settings, max_connections=fitting)


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
