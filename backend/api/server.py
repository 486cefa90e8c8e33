"""The API process: listens, answers, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
from collections.abc import Callable, Iterator

import uvicorn

from backend.api.app import create_app
from backend.api.config import ApiConfig
from backend.api.protocol import BoundedProtocol
from backend.api.resources import Resources
from backend.stack.child import announce_ready, inherited_listener, stop_event

log = logging.getLogger(__name__)

BACKLOG = 2048

KEEP_ALIVE_S = 30
"""An idle connection is kept open for so long."""

DRAIN_S = 10
"""Requests under way have so long to finish when the process is told to stop."""


class ApiServer(uvicorn.Server):
    """uvicorn without its own signal handling, and with an eye on slow connections."""

    def __init__(self, config: uvicorn.Config, on_up: Callable[[], None]) -> None:
        """`on_up` is called once requests are answered."""
        super().__init__(config)
        self._on_up = on_up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._on_up()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `stop_event`."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once a second connections whose request does not come are ended."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.refuse_if_slow(now)
        return await super().on_tick(counter)


async def serve(
    config: ApiConfig, *, stop: asyncio.Event | None = None, on_ready: Callable[[str], None] | None = None
) -> None:
    """Answer HTTP until told to stop (SIGTERM, the supervisor's death, or `stop`), then drain.

    `on_ready` is given the base URL once requests are answered. Raises OSError when the address is taken or the
    database can't be reached, asyncpg's errors when it refuses, ValueError for a reject key of the wrong length.
    """
    allow_many_files()
    stopping = stop_event() if stop is None else stop
    app = create_app(config)
    resources: Resources = app.state.resources
    listener = inherited_listener() or listening(config.host, config.port)
    with listener:
        async with app.router.lifespan_context(app):

            def up() -> None:
                if stop is None:
                    # The process is ours. What was loaded stays, and looking through it again and again for garbage
                    # costs a quarter of the deliveries per second (`python -m bench.intake`).
                    gc.collect()
                    gc.freeze()
                announce_ready()
                if on_ready is not None:
                    on_ready(url_of(listener))

            server = ApiServer(server_config(app, config), up)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
            stopped = asyncio.create_task(stopping.wait(), name="stop")
            try:
                await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
                resources.draining = True
                server.should_exit = True
                await serving
            finally:
                stopped.cancel()
                serving.cancel()


def server_config(app: object, config: ApiConfig) -> uvicorn.Config:
    """How this process uses uvicorn. The lifespan is run around the server, where its errors can be seen."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every bad request
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # uvicorn's type of an application is narrower than Starlette's
        http=BoundedProtocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=config.max_connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at the address. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else an answer in two parts takes 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_many_files() -> None:
    """Raise the limit of open files as far as we may: every connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
