"""Hears that a job was put into a queue, and that something was said about queues: LISTEN on a connection of its own.

A missed ring costs at most one look's pause, since workers look at the queue anyway; what is in force is read again
every other second on the same connection, which thereby shows that it lives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, connect
from backend.queue.control import CHANNEL
from backend.queue.engine import channel_of
from backend.queue.outages import TRANSIENT, Patience

READ_S = 2.0
"""What is in force is read at least so often."""


class Doorbell:
    """Rings when jobs of one queue arrive, and after each reconnection (something may have been missed)."""

    def __init__(
        self, address: PostgresAddress, queue: str, application: str, read: Callable[[Connection], Awaitable[None]]
    ) -> None:
        """`read` reads what is in force; it raises asyncpg's errors, and TimeoutError after a bounded wait."""
        self._address = address
        self._channel = channel_of(queue)
        self._application = application
        self._read = read
        self.rung = asyncio.Event()
        """Set by each arrival; whoever answers it clears it."""
        self.listening = asyncio.Event()
        """Set while the connection stands."""

    async def run(self) -> None:
        """Listen for ever. Raises what is not an outage (a wrong password, say)."""
        patience = Patience("listening for jobs")
        while True:
            try:
                connection = await connect(self._address, Role.WORKER, application=self._application)
            except TRANSIENT as error:
                await patience.wait(error)
                continue
            news = asyncio.Event()
            try:
                connection.add_termination_listener(lambda *_, news=news: news.set())
                await connection.add_listener(self._channel, lambda *_: self.rung.set())
                await connection.add_listener(CHANNEL, lambda *_, news=news: news.set())
                self.rung.set()
                self.listening.set()
                while not connection.is_closed():
                    news.clear()
                    await self._read(connection)
                    patience.over()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(READ_S):
                            await news.wait()
            except TRANSIENT as error:
                await patience.wait(error)
            finally:
                self.listening.clear()
                connection.terminate()
