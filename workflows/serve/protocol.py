"""uvicorn's HTTP protocol with what it leaves open: clients that never finish what they send, and how many may come.

uvicorn times idle connections only between requests: a client that opens a connection and says nothing, or sends a
header a minute, would keep it for ever. It counts connections only when a request is complete. And it drops the body of
a request that offers to speak another protocol, which Java's HttpClient and curl do with ``Upgrade: h2c``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .refusal import error_body
from .settings import ServeSettings

_MAX_HEAD = 2**16
"""Bytes of a request's head, and of what is between the parts of a body: sizes and extensions of chunks, trailers."""
_SLICE = 16 * 1024
"""Bytes that the parser is fed at a time, and by which a head or what is around a body may be larger than the most.

Counts begin anew with a message, so a large read would hide a large head."""
_MAX_OVERHEAD = 8
"""Bytes around each byte of a body; chunks of one byte have five."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, settings: ServeSettings, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._deadline: asyncio.TimerHandle | None = None
        self._part = "head"
        self._ending: bytes | None = None
        self._fields = 0
        """Bytes of names and values in the head, then in the trailers."""
        self._body = self._overhead = self._gap = 0
        """Bytes of the body, of all that is around it, and of reads in a row that brought nothing of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._end(503, "Too many connections; try again in a second", b"retry-after: 1\r\n")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing() or self._ending is not None:
                return
            self._take(data[start : start + _SLICE])

    def _take(self, data: bytes) -> None:
        self._gap += len(data)
        self._overhead += len(data)
        self._feed(data)
        too_much = max(self._gap, self._fields) > _MAX_HEAD or self._overhead > _MAX_HEAD + _MAX_OVERHEAD * self._body
        if too_much and self._part == "head":
            self._end(431, f"The head of the request is larger than {_MAX_HEAD} bytes")
        elif too_much:
            self._end(400, "The body of the request holds too little beside its chunks' extensions and trailers")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._end(400, "Invalid HTTP request received.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the request as if it had not offered another protocol, which HTTP/1.1 lets a server do."""
        if self.scope["method"] == "CONNECT":
            self._end(400, "This server is not a proxy")
            return
        head = [self.scope["method"].encode() + b" " + self.url + b" HTTP/1.1"]
        head += [name + b": " + value for name, value in self.headers if name not in _OF_UPGRADES]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = "head"
        self._fields = self._body = self._overhead = self._gap = 0
        if self._deadline is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        self._fields += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += len(name) + len(value) + 4
        if self._part == "head":  # trailers are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode("ascii")
            return
        self._part = "body"
        self._fields = 0
        self._cancel_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._overhead = max(self._overhead - len(body), 0)
        self._gap = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._part = "between"
            self._fields = self._overhead = self._gap = 0  # a whole request has one answer
            super().on_message_complete()

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if last and self._ending is not None and not self.transport.is_closing():
            self._finish(self._ending)

    def send_400_response(self, msg: str) -> None:
        self._end(400, msg)

    # Ends

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self._settings.header_timeout, self._too_slow)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self._end(408, "The head of the request came too slowly")

    def _end(self, status: int, message: str, header: bytes = b"") -> None:
        """Answer what cannot be read further, after the requests before it have got their answers, and close."""
        if self.transport.is_closing() or self._ending is not None:
            return
        body = error_body(message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        answer = STATUS_LINE[status] + head + header + b"\r\n" + body
        if self.cycle is None or self.cycle.response_complete:
            self._finish(answer)
        elif self._part != "body":  # the request before this one is being answered
            self._ending = answer
        elif self.pipeline:  # the same, and this one waits for its turn
            self.pipeline.popleft()
            self._ending = answer
        else:
            self._finish(b"" if self.cycle.response_started else answer)

    def _finish(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()


_OF_UPGRADES = (b"upgrade", b"connection", b"http2-settings")
