"""Runs an ASGI application on a free port of this machine, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

STOP_S = 10.0


class _Quiet:
    """The application without the noise of requests that were still hanging when the server ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        with suppress(asyncio.CancelledError):
            await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """Says when it listens. Outside the main thread it leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.up.set()


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The URL under which the application answers, until the block ends; what still hangs then is cut off."""
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # named, so that asyncio sets TCP_NODELAY
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    config = uvicorn.Config(
        _Quiet(app), log_config=None, access_log=False, lifespan="off", loop="asyncio", timeout_graceful_shutdown=0
    )
    server = _Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),), name="fake provider", daemon=True)
    thread.start()
    try:
        if not server.up.wait(STOP_S):
            raise TimeoutError("the fake did not start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(STOP_S)
        listener.close()
