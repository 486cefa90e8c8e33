"""The least HTTP/1.1 client that keeps a connection open: cheap enough not to be the bottleneck of what it drives.

One request at a time on one connection. It speaks only as much HTTP as the sender needs: POST with a body, answers
of any size up to a bound, no redirects, no TLS.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT_S = 3.0
ANSWER_LIMIT = 1024 * 1024


class NoAnswer(Exception):
    """The request may or may not have been received: the connection failed or the answer did not come in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes


class HttpConnection:
    """A connection to one server, opened when needed and again after a failure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http address: {url}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._authority = parts.netloc.encode()
        self._wire: _Wire | None = None

    async def post(self, path: bytes, headers: bytes, body: bytes, timeout_s: float) -> Answer:
        """Send one request; `headers` are complete lines. Raises NoAnswer."""
        wire = self._wire
        if wire is None or not wire.usable:
            self._wire = wire = await self._connect()
        try:
            async with asyncio.timeout(timeout_s):
                return await wire.exchange(
                    b"".join(
                        (
                            b"POST ",
                            path,
                            b" HTTP/1.1\r\nhost: ",
                            self._authority,
                            b"\r\ncontent-length: ",
                            str(len(body)).encode(),
                            b"\r\n",
                            headers,
                            b"\r\n",
                            body,
                        )
                    )
                )
        except TimeoutError as late:
            self.close()
            raise NoAnswer("no answer in time") from late
        except NoAnswer:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, wire = await loop.create_connection(_Wire, self._host, self._port)
        except OSError as failed:  # asyncio's TimeoutError is one too
            raise NoAnswer(f"no connection: {failed}") from failed
        return wire


class _Wire(asyncio.Protocol):
    """The bytes of one connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None  # httptools ships no types for its callbacks' owner
        self._waiting: asyncio.Future[Answer] | None = None
        self._body = bytearray()
        self._keep_alive = True

    @property
    def usable(self) -> bool:
        """Open, and nobody waits for an answer on it."""
        return self._transport is not None and not self._transport.is_closing() and self._waiting is None

    async def exchange(self, request: bytes) -> Answer:
        """Send a whole request and wait for its answer. Raises NoAnswer when the connection fails first."""
        if self._transport is None:
            raise NoAnswer("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def abort(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as broken:
            self._fail(f"broken answer: {broken}")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(f"connection lost: {exc}" if exc else "connection closed")

    # Called by the parser.

    def on_body(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        self._body += chunk
        if len(self._body) > ANSWER_LIMIT:
            self._fail("the answer is too large")
            self.abort()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        waiting, parser = self._waiting, self._parser
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(int(parser.get_status_code()), bytes(self._body)))
        if not parser.should_keep_alive() and self._transport is not None:
            self._transport.close()

    def _fail(self, why: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswer(why))
