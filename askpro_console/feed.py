"""The one place where the console reads: snapshots of the shown screen's domains, and nothing else.

The feed never touches a widget. It hands each reading to the console, which posts it to the screen. It starts after
the first frame, survives every dead store, and while nobody watches or the refresh is paused it reads nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from backend.watch.reader import Reading
from screens.host import Seen

log = logging.getLogger(__name__)

READ_S = 3.0
"""Longest wait for one reading; the reader itself promises two seconds."""

RETRY_S = 1.0
"""Pause after the reader itself failed."""


class Reader(Protocol):
    """What reads (`backend.watch.reader.SnapshotReader`)."""

    async def read(self, domain: str) -> Reading:
        """The newest snapshot that can be had; never raises for a dead store."""

    def changes(self) -> AsyncGenerator[str, None]:
        """Domains that are worth reading again."""

    async def aclose(self) -> None:
        """Close the connections."""


Connect = Callable[[], Awaitable[Reader]]
"""Makes the reader; may take its time (imports), must not block the event loop."""


class Feed:
    """Reads what is watched, whenever it changed."""

    def __init__(self, connect: Connect, arrived: Callable[[Seen], None]) -> None:
        """A feed that does nothing until `run`.

        Args:
            connect: Makes the reader.
            arrived: Gets every reading, on the event loop.
        """
        self._connect = connect
        self._arrived = arrived
        self._watched: tuple[str, ...] = ()
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self.latest: dict[str, Seen] = {}
        """The newest reading of each domain that was ever watched."""
        self._running = asyncio.Event()
        self._running.set()

    @property
    def paused(self) -> bool:
        """Whether nothing is read unless asked for."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Read nothing, and listen to nothing, until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Read again, everything watched at once."""
        self._running.set()
        self.read_now()

    def watch(self, domains: Sequence[str]) -> None:
        """Read these domains from now on, each of them once at once."""
        self._watched = tuple(domains)
        self.read_now()

    def read_now(self) -> None:
        """Read everything watched anew, even while paused."""
        self._due.update(dict.fromkeys(self._watched))
        self._wake.set()

    async def run(self) -> None:
        """Read until cancelled."""
        reader = await self._connected()
        listener = asyncio.create_task(self._listen(reader), name="feed-changes")
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._due:
                    domain = next(iter(self._due))
                    del self._due[domain]
                    await self._read(reader, domain)
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await listener
            with contextlib.suppress(Exception):
                async with asyncio.timeout(READ_S):
                    await reader.aclose()

    async def _connected(self) -> Reader:
        while True:
            try:
                return await self._connect()
            except Exception as error:
                log.warning("the snapshot reader cannot be made: %s", error)
                self._tell_error(f"{error}")
                await asyncio.sleep(RETRY_S)

    async def _listen(self, reader: Reader) -> None:
        while True:
            await self._running.wait()
            try:
                async with contextlib.aclosing(reader.changes()) as changes:
                    async for domain in changes:
                        if self.paused:
                            break
                        if domain in self._watched:
                            self._due[domain] = None
                            self._wake.set()
            except Exception:
                log.exception("listening for new snapshots failed")
                await asyncio.sleep(RETRY_S)
                self.read_now()

    async def _read(self, reader: Reader, domain: str) -> None:
        if domain not in self._watched:
            return
        try:
            async with asyncio.timeout(READ_S):
                reading = await reader.read(domain)
        except Exception as error:
            log.warning("reading %s failed: %r", domain, error)
            reading = Reading(domain, None, "nowhere", None, str(error) or "no answer in time", "stale")
        self._keep(reading)

    def _keep(self, reading: Reading) -> None:
        now = time.monotonic()
        known = self.latest.get(reading.domain)
        snapshot, source, age = reading.snapshot, str(reading.source), reading.age_s or 0.0
        if snapshot is None and known is not None and known.snapshot is not None:
            snapshot, source, age = known.snapshot, "memory", known.age_s + now - known.at
        seen = Seen(
            domain=reading.domain,
            snapshot=snapshot,
            source=source,
            age_s=age,
            at=now,
            stale=reading.freshness != "live",
            error=reading.error or "",
        )
        self.latest[reading.domain] = seen
        self._arrived(seen)

    def _tell_error(self, error: str) -> None:
        for domain in self._watched:
            self._keep(Reading(domain, None, "nowhere", None, error, "unknown"))

    def give(self, seen: Seen) -> None:
        """Take a reading from elsewhere, such as the first look before the reader is there."""
        if seen.domain not in self.latest:
            self.latest[seen.domain] = seen
            self._arrived(seen)
