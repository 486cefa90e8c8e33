"""HTTP on one connection, with the bounds that uvicorn leaves out.

They are: how long and how large a request's head may be, and how long its body may take.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_TIMEOUT_S = 5.0
"""A request's head has to be there so long after the connection or its own first byte."""

BODY_TIMEOUT_S = 10.0
"""A body has to be there so long after its head, however slowly it comes."""

HEAD_LIMIT = 64 * 1024
"""Largest head, bytes (and one read more at most)."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for httptools, bounded."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.head_since: float | None = None
        """When we began to wait for a head, by the loop's clock; None while we do not."""
        self.body_since: float | None = None
        """The same of a body."""
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self.head_since = self.loop.time()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0
        if self.head_since is None:
            self.head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """A head is complete, and a body may follow."""
        self.head_since = None
        self.body_since = self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is complete."""
        self.body_since = None
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        super().data_received(data)
        if self.head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self.refuse(b"431 Request Header Fields Too Large")

    def refuse_if_slow(self, now: float) -> None:
        """End the connection when a head or body is overdue at `now` (the loop's clock)."""
        head_late = self.head_since is not None and now - self.head_since > HEAD_TIMEOUT_S
        body_late = self.body_since is not None and now - self.body_since > BODY_TIMEOUT_S
        if head_late or body_late:
            self.refuse(b"408 Request Timeout")

    def refuse(self, status: bytes) -> None:
        """Answer in the application's place and end the connection; an answer that has begun is cut off."""
        amid_request = self.body_since is not None
        self.head_since = self.body_since = None
        if self.transport.is_closing():
            return
        begun = False
        if amid_request:
            begun = self.cycle.response_started and not self.cycle.response_complete
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not begun:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
