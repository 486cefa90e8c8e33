"""A light HTTP load generator: as many connections as wanted, one request at a time on each, as fast as it answers.

Runs in a process of its own (`python -m bench.load`, orders on stdin as JSON, the outcome on stdout as JSON), so that
its work is not mistaken for the server's. It reads just enough of an answer to know its status and its end.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where."""

    port: int
    connections: int
    seconds: float
    warm_up_s: float = 0.5
    """Requests of this first span are sent but not counted."""
    path: str
    requests: list[tuple[dict[str, str], str]]
    """Headers and body of each; sent once each, then the run ends early."""
    method: str = "POST"
    repeat: bool = False
    """Begin again when all were sent."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    count: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[int, int]
    broken: int
    """Connections that ended before their answer."""
    exhausted: bool
    """All requests were sent before the time was over."""


class Run:
    """One run over all connections."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self._next = self._requests()
        self.durations: list[float] = []
        self.statuses: dict[int, int] = {}
        self.broken = 0
        self.exhausted = False
        self.open = 0
        self.done = asyncio.get_running_loop().create_future()
        self.counted_from = 0.0
        self.ends_at = 0.0
        self.last = 0.0

    def _requests(self) -> Iterator[bytes]:
        orders = self.orders
        start = f"{orders.method} {orders.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        ready = []
        for headers, body in orders.requests:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            content = body.encode()
            ready.append(f"{start}{lines}content-length: {len(content)}\r\n\r\n".encode() + content)
        yield from ready
        while orders.repeat:
            yield from ready

    def next_request(self) -> bytes | None:
        """The next request; None when the run is over."""
        if time.perf_counter() >= self.ends_at:
            return None
        request = next(self._next, None)
        if request is None:
            self.exhausted = True
        return request

    def answered(self, started: float, status: int) -> None:
        """Count an answer."""
        now = time.perf_counter()
        if started >= self.counted_from:
            self.durations.append(now - started)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.last = now

    def closed(self, *, broken: bool) -> None:
        """One connection is through."""
        self.broken += broken
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)

    async def go(self) -> Outcome:
        """Open the connections, send, and sum up."""
        loop = asyncio.get_running_loop()
        self.ends_at = time.perf_counter() + 3600
        clients = []
        for _ in range(self.orders.connections):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.orders.port)
            clients.append(client)
        self.open = len(clients)
        begin = time.perf_counter()
        self.counted_from = begin + self.orders.warm_up_s
        self.ends_at = self.counted_from + self.orders.seconds
        for client in clients:
            client.send()
        await self.done
        return self.outcome()

    def outcome(self) -> Outcome:
        """The figures of the counted span."""
        ordered = sorted(self.durations)
        if not ordered:
            return Outcome(
                count=0,
                per_s=0,
                p50_ms=0,
                p99_ms=0,
                max_ms=0,
                statuses={},
                broken=self.broken,
                exhausted=self.exhausted,
            )
        return Outcome(
            count=len(ordered),
            per_s=len(ordered) / (self.last - self.counted_from),
            p50_ms=ordered[len(ordered) // 2] * 1000,
            p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
            max_ms=ordered[-1] * 1000,
            statuses=self.statuses,
            broken=self.broken,
            exhausted=self.exhausted,
        )


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._started = 0.0
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request, or hang up when there is none."""
        assert self._transport is not None
        request = self._run.next_request()
        if request is None:
            self._finished = True
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read until the answer is complete."""
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            return
        at = buffer.find(b"content-length: ", 0, end)
        if at >= 0:
            length = int(buffer[at + 16 : buffer.find(b"\r\n", at)])
            if len(buffer) < end + 4 + length:
                self._buffer = buffer
                return
        self._buffer = b""
        self._run.answered(self._started, int(buffer[9:12]))
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._run.closed(broken=not self._finished)


async def main() -> None:
    """Take orders from stdin, write the outcome to stdout."""
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    outcome = await Run(orders).go()
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    uvloop.run(main())
