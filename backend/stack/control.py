"""The control socket: HTTP on a Unix socket that only the system's own user (and root) may speak to.

GET /status; POST /stop; POST /processes/{name}/restart. Small on purpose: it lives in the supervisor and answers from
its first moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import h11
import msgspec

from backend.stack.failures import place_unusable
from backend.stack.status import Status

REQUEST_LIMIT_S = 10.0
IDLE_LIMIT_S = 120.0
REQUEST_BYTES = 16 * 1024


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an order."""

    detail: str


class Control:
    """What the socket offers, as plain functions."""

    def __init__(
        self, *, status: Callable[[], Status], stop: Callable[[], None], restart: Callable[[str], bool]
    ) -> None:
        """`restart` says whether there is a process of that name."""
        self._status = status
        self._stop = stop
        self._restart = restart

    def answer(self, method: str, target: str) -> tuple[int, msgspec.Struct]:
        """Status code and body for one request."""
        path = target.partition("?")[0]
        match method, path.strip("/").split("/"):
            case "GET", ["status"]:
                return 200, self._status()
            case "POST", ["stop"]:
                self._stop()
                return 202, Answer(detail="stopping")
            case "POST", ["processes", name, "restart"]:
                if self._restart(name):
                    return 202, Answer(detail=f"{name} starts again")
                return 404, Answer(detail="no such process")
            case _, ["status"] | ["stop"] | ["processes", _, "restart"]:
                return 405, Answer(detail="another method")
        return 404, Answer(detail="no such thing")


class ControlServer:
    """Serves `Control` on the socket until closed."""

    def __init__(self, path: Path, control: Control) -> None:
        self._path = path
        self._control = control
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Raises PlaceUnusable. Call it only while holding the supervisor's lock: it replaces a left socket."""
        try:
            self._path.unlink(missing_ok=True)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                bound.bind(str(self._path))
            finally:
                os.umask(before)
            self._server = await asyncio.start_unix_server(self._serve, sock=bound)
        except OSError as error:
            raise place_unusable(self._path, error) from error

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if _allowed(writer.get_extra_info("socket")):
                await self._talk(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError, asyncio.CancelledError):
            # The client went away, is too slow or speaks something else; or the server closes.
            return
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES)
        limit_s = REQUEST_LIMIT_S
        while True:
            async with asyncio.timeout(limit_s):
                request = await _next_request(connection, reader)
            if request is None:
                return
            code, body = self._control.answer(request.method.decode("ascii"), request.target.decode("ascii", "replace"))
            data = msgspec.json.encode(body)
            headers = [("content-type", "application/json"), ("content-length", str(len(data)))]
            writer.write(connection.send(h11.Response(status_code=code, headers=headers)) or b"")
            writer.write(connection.send(h11.Data(data=data)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            async with asyncio.timeout(REQUEST_LIMIT_S):
                await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
            limit_s = IDLE_LIMIT_S


async def _next_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The next request with its body read and ignored; None at the connection's end."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(REQUEST_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


def _allowed(connection: socket.socket) -> bool:
    """Whether the other side is root or the system's own user; the file's mode says so too."""
    if sys.platform != "linux":
        return True
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", data)
    return uid in {0, os.geteuid()}
