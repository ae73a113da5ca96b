"""The ASGI application: which path goes where, and everything that keeps one client from harming the others."""

from __future__ import annotations

import asyncio
import html
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .counters import Counters
from .faces_api import ANALYZE, build_api
from .refusal import Refusal, error_body
from .repository import Repository
from .rest import RestApi, parse_target
from .settings import ServeSettings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger("fergan.serve.access")
_METRICS = ("/monitoring/prometheus/metrics", "/metrics")
_API = ("/healthz", "/readyz", "/openapi.json")
_NOT_FOUND = (  # as libevent, whose server TensorFlow Serving uses, answers
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
)
_CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)


class _ClientGone(Exception):
    """The connection ended before the request did."""


@dataclass
class _Answer:
    status: int
    body: bytes
    kind: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class _Exchange:
    """One request on its way: what is counted and logged of it."""

    verb: str
    path: str
    headers: dict[bytes, bytes]
    model: str = ""
    method: str = "other"
    held: int = 0
    read: bool = False

    @property
    def has_body(self) -> bool:
        return self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers


class Application:
    """The server without its sockets."""

    def __init__(self, settings: ServeSettings, repository: Repository, counters: Counters) -> None:
        self._settings, self._repository, self._counters = settings, repository, counters
        self._parsers = ThreadPoolExecutor(2, "parser")
        self._rest = RestApi(settings, repository, self._parsers)
        self._api = build_api(settings, repository, self._parsers)
        self._held = 0
        counters.body_bytes.set_function(lambda: self._held)

    def close(self) -> None:
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        exchange = _Exchange(scope["method"], raw.decode("ascii", "replace"), dict(scope["headers"]))
        started = time.perf_counter()
        if self._settings.cors:
            send = _for_every_origin(send)
        self._counters.in_flight.inc()
        status = 499
        try:
            status = await self._exchange(exchange, scope, receive, send)
        except (_ClientGone, TimeoutError):  # it went away, or does not read what it asked for
            pass
        except asyncio.CancelledError:  # the time for requests under way is over
            with suppress(Exception):
                await self._send(_refused(Refusal("The server is being stopped", "UNAVAILABLE", retry_after=1)), send)
        finally:
            self._held -= exchange.held
            seconds = time.perf_counter() - started
            self._counters.in_flight.dec()
            model = exchange.model if exchange.model in self._repository.names else ""
            self._counters.answered(model, exchange.method, status, seconds)
            if self._settings.access_log:
                client = (scope.get("client") or ("-",))[0]
                _log.info("%s %s %s %d %.1f ms", client, exchange.verb, exchange.path, status, 1000 * seconds)

    async def _exchange(self, exchange: _Exchange, scope: Scope, receive: Receive, send: Send) -> int:
        try:
            if exchange.path in _API or (exchange.path == ANALYZE and exchange.verb == "POST"):
                return await self._to_api(exchange, scope, receive, send)
            answer = await self._answer(exchange, receive)
        except Refusal as refusal:
            answer = _refused(refusal)
        except (_ClientGone, asyncio.CancelledError):
            raise
        except Exception:
            logging.getLogger(__name__).exception("%s %s", exchange.verb, exchange.path)
            answer = _Answer(500, error_body("An internal fault; the server's log says more"))
        if exchange.has_body and not exchange.read:
            answer.headers.append((b"connection", b"close"))
        await self._send(answer, send)
        return answer.status

    async def _send(self, answer: _Answer, send: Send) -> None:
        length = str(len(answer.body)).encode()
        headers = [(b"content-type", answer.kind), (b"content-length", length), *answer.headers]
        async with asyncio.timeout(self._settings.body_timeout):
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, exchange: _Exchange, receive: Receive) -> _Answer:
        if exchange.path in _METRICS and exchange.verb == "GET":
            exchange.method = "metrics"
            return _Answer(200, self._counters.page(), b"text/plain; version=0.0.4; charset=utf-8")
        if exchange.path == "/" and exchange.verb == "GET":
            return _Answer(200, _landing_page(self._repository.names), b"text/html; charset=utf-8")
        if not re.match("(?i)/v1/", exchange.path):
            return _Answer(404, _NOT_FOUND, b"text/html")
        return await self._model_answer(exchange, receive)

    async def _model_answer(self, exchange: _Exchange, receive: Receive) -> _Answer:
        if exchange.verb == "OPTIONS":
            if re.match("https?://", exchange.headers.get(b"origin", b"").decode("latin-1")):
                return _Answer(200, b"")
            return _Answer(400, error_body("Origin header is missing in CORS preflight request"))
        try:
            target = parse_target(exchange.verb, exchange.path)
            exchange.model, exchange.method = target.name, target.method
            body = b""
            if exchange.verb == "POST":
                body = await self._body(exchange, receive)
            async with asyncio.timeout(self._settings.request_timeout):
                return _Answer(200, await self._rest.answer(target, body))
        except Refusal as refusal:
            return _refused(refusal)
        except TimeoutError:
            return _refused(Refusal("The request took too long", "DEADLINE_EXCEEDED"))

    async def _to_api(self, exchange: _Exchange, scope: Scope, receive: Receive, send: Send) -> int:
        """Through FastAPI, which gets a body that is there already."""
        exchange.method = exchange.path.removeprefix("/v1/").strip("/")
        body = b""
        if exchange.has_body:
            body = await self._body(exchange, receive)
        pending = [{"type": "http.request", "body": body, "more_body": False}]
        status = 500

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            async with asyncio.timeout(self._settings.request_timeout):
                await self._api(scope, replay, watch)
        except TimeoutError:
            raise Refusal("The request took too long", "DEADLINE_EXCEEDED") from None
        return status

    # Bodies

    async def _body(self, exchange: _Exchange, receive: Receive) -> bytes:
        """The body of a request, unpacked.

        Raises:
            Refusal: too large, too slow, damaged, or there is no room for it now.
        """
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                body = await self._received(exchange, receive)
        except TimeoutError:
            raise Refusal("The body of the request came too slowly", status=408, code="DEADLINE_EXCEEDED") from None
        coding = exchange.headers.get(b"content-encoding", b"").strip().lower()
        if coding in (b"gzip", b"x-gzip"):
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(self._parsers, _unzipped, body, self._settings.max_body)
            self._hold(exchange, len(body))
        return body

    async def _received(self, exchange: _Exchange, receive: Receive) -> bytes:
        limit = self._settings.max_body
        length = exchange.headers.get(b"content-length", b"")
        too_long = length.isdigit() and int(length) > limit
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            async with asyncio.timeout(self._settings.piece_timeout):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            too_long = too_long or size > limit
            if too_long:
                pieces.clear()  # what comes is dropped, so that the client gets as far as reading the answer
                if size > 2 * limit:
                    break
                continue
            self._hold(exchange, len(piece))
            pieces.append(piece)
        exchange.read = not more
        if too_long:
            raise Refusal(f"The body is larger than {limit} bytes, the limit", "RESOURCE_EXHAUSTED", status=413)
        return b"".join(pieces)

    def _hold(self, exchange: _Exchange, count: int) -> None:
        if self._held + count > self._settings.max_bodies:
            raise Refusal("Too many large requests at once; try again in a second", "UNAVAILABLE", retry_after=1)
        self._held += count
        exchange.held += count


def _for_every_origin(send: Send) -> Send:
    async def with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_CORS]
        await send(message)

    return with_cors


def _unzipped(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(f"The gzip body is damaged: {error}") from error
    if len(plain) > limit:
        raise Refusal(f"The body unpacks to more than {limit} bytes, the limit", "RESOURCE_EXHAUSTED", status=413)
    if not unpacker.eof:
        raise Refusal("The gzip body is damaged: it ends too early")
    return plain


def _landing_page(names: tuple[str, ...]) -> bytes:
    """A page for people who open the address in a browser."""
    models = "".join(
        f'<li><a href="/v1/models/{quote(name)}">{html.escape(name)}</a>, '
        f'<a href="/v1/models/{quote(name)}/metadata">inputs, outputs and labels</a></li>'
        for name in names
    )
    text = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>fergan serve</title><h1>fergan serve</h1>
<p>Expression classifiers, by TensorFlow Serving's REST API. They say how faces look, not what people feel.</p>
<ul>{models}</ul><p><a href="/v1/models">All models</a>, <a href="/openapi.json">OpenAPI</a>,
<a href="/metrics">metrics</a>, <a href="/healthz">health</a></p></html>
"""
    return text.encode()


def _refused(refusal: Refusal) -> _Answer:
    answer = _Answer(refusal.status, error_body(refusal.message))
    if refusal.retry_after is not None:
        answer.headers.append((b"retry-after", str(refusal.retry_after).encode()))
    return answer
