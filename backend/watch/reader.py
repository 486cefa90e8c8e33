"""Reading snapshots wherever they can still be had: the store, else the database, else memory, with their age.

A reader never raises for a dead store and never waits longer than two seconds, so a screen that reads can only
get older, not stuck. redis and asyncpg are imported when they are first needed, off the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from backend.postgres.address import PostgresAddress, Role
from backend.valkey.client import ValkeyUnavailable, in_few_words
from backend.watch.schedule import INTERVAL_S, live_s
from backend.watch.snapshots import DOMAINS, Snapshot

if TYPE_CHECKING:
    from backend.valkey.store import SnapshotStore, Stored
    from backend.watch.lane import Lane

Source = Literal["valkey", "database", "memory", "nowhere"]
Freshness = Literal["live", "stale", "unknown"]
S = TypeVar("S", bound=Snapshot)

READ_S = 2.0
"""Longest duration of one `read`."""

VALKEY_S = 0.8
"""Longest wait for the store within it."""

THROTTLE_S = 1.0
"""Shortest time between two collections of one domain by this reader."""

TICK_S = 1.0
"""Time between two looks when no notices come."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest known snapshot of a domain, where it was had from, and how old it is."""

    domain: str
    snapshot: Snapshot | None
    """None when none was ever had."""
    source: Source
    age_s: float | None
    """Since the database answered; None without a snapshot."""
    error: str | None
    """Why it is not newer, in words; None when it is as new as it should be."""
    freshness: Freshness
    """For the age badge: live, stale (shown with its age), or unknown (nothing to show)."""

    def of(self, kind: type[S]) -> S | None:
        """The snapshot if it is one of `kind`."""
        return self.snapshot if isinstance(self.snapshot, kind) else None


@dataclass(slots=True)
class Memory:
    """What this reader knows of one domain."""

    snapshot: Snapshot | None = None
    born: float = 0.0
    """When it was taken, by this process's monotonic clock."""
    collected_at: float = float("-inf")
    """Start of the last own collection."""
    collecting: asyncio.Task[str | None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SnapshotReader:
    """Reads snapshots; one for each process, used from one event loop.

    Without a `valkey_url` it goes to the database at once; without `postgres` it never does.
    """

    def __init__(
        self,
        valkey_url: str | None,
        postgres: PostgresAddress | None = None,
        *,
        role: Role = Role.CONSOLE,
        application: str = "askpro-console",
    ) -> None:
        self._url = valkey_url
        self._postgres = postgres
        self._role = role
        self._application = application
        self._store: SnapshotStore | None = None
        self._store_quiet_until = float("-inf")
        self._store_error = ""
        self._lane: Lane | None = None
        self._memory = {domain: Memory() for domain in DOMAINS}

    async def read(self, domain: str) -> Reading:
        """The newest snapshot of `domain` that can be had within two seconds. Raises KeyError for an unknown domain."""
        memory = self._memory[domain]
        deadline = time.monotonic() + READ_S
        reasons: list[str] = []
        source: Source = "memory"
        stored = await self._from_store(domain, reasons)
        if stored is not None and self._remember(memory, stored.snapshot, stored.age_s):
            source = "valkey"
        if stored is not None and stored.age_s <= live_s(domain, stored.snapshot.due_s):
            return self._reading(domain, "valkey", None)
        if stored is not None:
            reasons.append(f"no new snapshot for {stored.age_s:.0f} s: is a publisher running?")
        elif self._url is not None and not reasons:
            reasons.append("Valkey holds no snapshot: is a publisher running?")
        if self._postgres is not None:
            before = memory.snapshot
            error = await self._from_database(domain, memory, deadline)
            if error:
                reasons.append(error)
            elif memory.snapshot is not before:
                source = "database"
        return self._reading(domain, source, "; ".join(reasons) or None)

    async def changes(self) -> AsyncGenerator[str, None]:
        """Domains that are worth reading again, each at most once until it was yielded.

        All of them once at the start; then as notices come; and each one after a second or two without a notice,
        so that ages, fallbacks and a publisher's death show without anybody telling.
        """
        due: dict[str, None] = dict.fromkeys(DOMAINS)
        wake = asyncio.Event()
        wake.set()
        pump = asyncio.create_task(self._pump(due, wake), name="snapshot-changes")
        try:
            while True:
                await wake.wait()
                while due:
                    domain = next(iter(due))
                    del due[domain]
                    yield domain
                wake.clear()
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump

    async def aclose(self) -> None:
        """Close the connections; at most two seconds."""
        for memory in self._memory.values():
            if memory.collecting is not None:
                memory.collecting.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(READ_S):
                if self._store is not None:
                    await self._store.aclose()
        if self._lane is not None:
            self._lane.close()

    async def _pump(self, due: dict[str, None], wake: asyncio.Event) -> None:
        told = dict.fromkeys(DOMAINS, time.monotonic())

        def tell(domain: str) -> None:
            told[domain] = time.monotonic()
            due[domain] = None
            wake.set()

        def tell_silent() -> None:
            now = time.monotonic()
            for domain, at in told.items():
                if now - at >= max(TICK_S, 1.5 * INTERVAL_S[domain]):
                    tell(domain)

        while True:
            store = await self._open_store()
            if store is not None:
                try:
                    async with contextlib.aclosing(store.subscribe()) as domains:
                        async for domain in domains:
                            if domain in told:
                                tell(domain)
                            tell_silent()
                except ValkeyUnavailable as error:
                    self._store_failed(error)
            for domain in DOMAINS:
                tell(domain)
            await asyncio.sleep(TICK_S)

    async def _open_store(self) -> SnapshotStore | None:
        if self._url is None:
            return None
        await import_aside("redis.asyncio")
        from backend.valkey.store import SnapshotStore

        if self._store is None:
            self._store = SnapshotStore.open(self._url)
        return self._store

    async def _from_store(self, domain: str, reasons: list[str]) -> Stored | None:
        if self._url is None:
            return None
        if time.monotonic() < self._store_quiet_until:
            reasons.append(self._store_error)
            return None
        store = await self._open_store()
        assert store is not None
        try:
            async with asyncio.timeout(VALKEY_S):
                return await store.get(domain)
        except (ValkeyUnavailable, TimeoutError) as error:
            self._store_failed(error)
            reasons.append(self._store_error)
            return None

    def _store_failed(self, error: BaseException) -> None:
        self._store_error = f"Valkey: {in_few_words(error) if str(error) else 'no answer in time'}"
        self._store_quiet_until = time.monotonic() + TICK_S / 2

    async def _from_database(self, domain: str, memory: Memory, deadline: float) -> str | None:
        """Collect, unless that was done within the last second; the error in words, or None."""
        now = time.monotonic()
        if memory.collecting is None or (memory.collecting.done() and now - memory.collected_at >= THROTTLE_S):
            memory.collected_at = now
            memory.collecting = asyncio.create_task(self._collect(domain, memory), name=f"collect-{domain}")
        # Waited for, not awaited: a cancelled query on a dead link takes its time, and that is not the reader's.
        await asyncio.wait({memory.collecting}, timeout=max(0.0, deadline - now))
        return memory.collecting.result() if memory.collecting.done() else "PostgreSQL: no answer in time"

    async def _collect(self, domain: str, memory: Memory) -> str | None:
        assert self._postgres is not None
        await import_aside("backend.watch.lane")
        from backend.watch.collect import Sources
        from backend.watch.lane import CollectionFailed, Lane

        if self._lane is None:
            self._lane = Lane(self._postgres, self._role, application=self._application)
        valkey = self._store.client if self._store and time.monotonic() >= self._store_quiet_until else None
        try:
            snapshot = await self._lane.collect(domain, Sources(valkey=valkey, previous=memory.snapshot))
        except CollectionFailed as error:
            return f"PostgreSQL: {error}"
        self._remember(memory, snapshot, 0.0)
        return None

    @staticmethod
    def _remember(memory: Memory, snapshot: Snapshot, age_s: float) -> bool:
        """Keep the snapshot unless a newer one is known; whether it was kept."""
        born = time.monotonic() - age_s
        if memory.snapshot is not None and born < memory.born:
            return False
        if memory.snapshot is None or memory.snapshot.taken_at != snapshot.taken_at:
            memory.snapshot, memory.born = snapshot, born
        return True

    def _reading(self, domain: str, source: Source, error: str | None) -> Reading:
        memory = self._memory[domain]
        if memory.snapshot is None:
            return Reading(domain, None, "nowhere", None, error or "nothing was collected yet", "unknown")
        age = time.monotonic() - memory.born
        freshness: Freshness = "live" if age <= live_s(domain, memory.snapshot.due_s) else "stale"
        return Reading(domain, memory.snapshot, source, age, error, freshness)


async def import_aside(module: str) -> None:
    """Import in a thread what takes half a second to import, so that keys are answered meanwhile."""
    if module not in sys.modules:
        await asyncio.to_thread(importlib.import_module, module)
