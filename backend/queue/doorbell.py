"""Hears that a job was put into a queue: LISTEN on a direct connection of its own.

A missed ring costs at most one look's pause, since workers look at the queue anyway.
"""

from __future__ import annotations

import asyncio
import contextlib

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.queue.engine import channel_of
from backend.queue.outages import TRANSIENT, Patience

PROBE_S = 15.0
"""A silent connection is asked so often whether it still lives."""

PROBE_TIMEOUT_S = 2.0


class Doorbell:
    """Rings when jobs of one queue arrive, and after each reconnection (something may have been missed)."""

    def __init__(self, address: PostgresAddress, queue: str, application: str) -> None:
        self._address = address
        self._channel = channel_of(queue)
        self._application = application
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
            ended = asyncio.Event()
            try:
                connection.add_termination_listener(lambda *_, ended=ended: ended.set())
                await connection.add_listener(self._channel, lambda *_: self.rung.set())
                patience.over()
                self.rung.set()
                self.listening.set()
                while not ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PROBE_S):
                            await ended.wait()
                    if not ended.is_set():
                        await connection.execute("select 1", timeout=PROBE_TIMEOUT_S)
            except TRANSIENT as error:
                await patience.wait(error)
            finally:
                self.listening.clear()
                connection.terminate()
