"""Notices: "something of these domains changed", from whoever changed it to the publisher.

A notice is a hint that makes a screen quicker. Losing one costs at most a second, so telling never waits and
never fails: work is not slower for a Valkey that is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from backend.valkey.client import EXCHANGE_S, ValkeyUnavailable, exchange, open_valkey

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHANGED_CHANNEL = "askpro:changed"
"""Payload: names of domains, separated by commas."""

GAP_S = 0.02
"""Shortest time between two messages of one process; what changes in between shares the next."""

PAUSE_S = 1.0
"""After a failure nothing is tried for so long."""

LISTEN_S = 0.5
"""A listener looks up from the wire so often."""


class Notices:
    """Tells which domains changed. Any number of calls become at most fifty messages a second.

    Nothing is kept: what could not be sent is dropped and counted in `dropped`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | None = None
        self._waiting: set[str] = set()
        self._sender: asyncio.Task[None] | None = None
        self.sent = 0
        """Messages that Valkey took."""
        self.dropped = 0
        """Messages that it did not."""

    async def changed(self, *domains: str) -> None:
        """Tell that these domains changed; returns at once, raises nothing."""
        self._waiting.update(domains)
        if self._waiting and (self._sender is None or self._sender.done()):
            self._sender = asyncio.create_task(self._send(), name="notices")

    async def _send(self) -> None:
        while self._waiting:
            domains, self._waiting = self._waiting, set()
            try:
                async with exchange():
                    if self._client is None:
                        self._client = open_valkey(self._url, size=1)
                    await self._client.publish(CHANGED_CHANNEL, ",".join(sorted(domains)))
                self.sent += 1
                await asyncio.sleep(GAP_S)
            except ValkeyUnavailable:
                self.dropped += 1
                await asyncio.sleep(PAUSE_S)

    async def aclose(self) -> None:
        """Send what waits, then close; at most two seconds."""
        if self._sender is not None:
            await asyncio.wait({self._sender}, timeout=EXCHANGE_S)
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        if self._client is not None:
            await self._client.aclose()


async def listen(client: Redis, channel: str) -> AsyncGenerator[str | None, None]:
    """Messages of `channel` as text; None whenever there was none for half a second.

    Yields None once as soon as the subscription stands. Raises `ValkeyUnavailable` when the connection ends.
    """
    pubsub = client.pubsub()
    try:
        async with exchange():
            await pubsub.subscribe(channel)
            while await pubsub.get_message(timeout=EXCHANGE_S) is None:
                pass
        yield None
        while True:
            async with exchange(EXCHANGE_S + LISTEN_S):
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
            data = message["data"] if message is not None else None
            yield data.decode("utf-8", "replace") if isinstance(data, bytes) else None
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(EXCHANGE_S):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis leaves it without annotations
