"""The demo's traffic: calls that begin, go on and end at a believable pace, for as long as the system runs.

The simulated provider outlives the API: while it is away, deliveries wait and are sent again. Calls are shorter than
real ones, so that somebody who watches sees them end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import heapq
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import asyncpg

from backend.postgres.address import PostgresAddress
from backend.postgres.pools import DATABASE_ERRORS, Connection
from backend.simulate.businesses import DEMO, ZONE, Business, businesses
from backend.simulate.calendar import Calendar
from backend.simulate.callers import Callers
from backend.simulate.deliveries import Delivery, deliveries_of
from backend.simulate.dice import seeded
from backend.simulate.found import read_ground
from backend.simulate.http_client import HttpConnection
from backend.simulate.patience import ask
from backend.simulate.people import Person
from backend.simulate.seed import PREFIX, seed_demo
from backend.simulate.sender import Courier, Fate

logger = logging.getLogger(__name__)

CONNECTIONS = 4
LONGEST_S = 90.0
SWELL = 0.35
"""The pace rises and falls by this share, once in `SWELL_S`."""
SWELL_S = 900.0
BURST_EVERY_S, BURST_S, BURST_FACTOR = 700.0, 50.0, 2.5
"""Now and then many call at once."""
EPOCH_S = 3_600.0
"""So often callers and calendars are read anew from the database, so that nothing grows without end."""
KNOWN_CALLERS = 1_500
"""People who may call again."""
MOST_WAITING = 5_000
"""Deliveries kept for an API that is away; then new calls wait."""
RETRY_LATER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """What the demo's traffic needs to know. Secrets stay out of `repr`."""

    api_url: str
    retell_key: str = field(repr=False)
    postgres: PostgresAddress
    calls_per_minute: float = 12.0
    seed: int = 1
    history_days: float = 56.0
    tempo: float = 0.45
    """How long calls last, of a real call's length."""


async def run_demo(config: DemoConfig) -> None:
    """Write the history once, then send traffic until told to stop."""
    from backend.stack.child import announce_ready, stop_event

    await Demo(config).run(stop_event(), announce_ready)


class Demo:
    """One run of the demo's traffic."""

    def __init__(self, config: DemoConfig) -> None:
        self._config = config
        self._companies: tuple[Business, ...] = businesses(DEMO)
        self._courier = Courier(config.api_url, config.retell_key, patient=True)
        self._dice = seeded(config.seed, "demo", time.time_ns())
        self._heap: list[tuple[float, int, Delivery, Fate]] = []
        self._order = count()
        self._due: asyncio.Queue[tuple[Delivery, Fate]] = asyncio.Queue()
        self._next_burst = time.time() + BURST_EVERY_S

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Seed, then send until `stop` is set. Survives outages of everything."""
        stopped = asyncio.create_task(stop.wait(), name="demo-stop")
        work = asyncio.create_task(self._work(ready), name="demo")
        try:
            await asyncio.wait({stopped, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopped, work):
                task.cancel()
            results = await asyncio.gather(stopped, work, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _work(self, ready: Callable[[], None]) -> None:
        await self._seed()
        ready()
        async with asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS):
                tasks.create_task(self._send(), name=f"demo-provider-{number}")
            tasks.create_task(self._release(), name="demo-clock")
            tasks.create_task(self._ring(), name="demo-callers")

    async def _seed(self) -> None:
        while True:
            try:
                written = await seed_demo(
                    self._config.postgres,
                    days=self._config.history_days,
                    calls_per_minute=self._config.calls_per_minute,
                    seed=self._config.seed,
                )
            except DATABASE_ERRORS as away:
                logger.warning("the history cannot be written yet: %s", away)
                await asyncio.sleep(RETRY_LATER_S)
            else:
                give_back_memory()
                if written:
                    logger.info("a history of %d calls is written", written)
                return

    async def _ring(self) -> None:
        """Make calls, one epoch after another."""
        while True:
            callers = await self._callers()
            until = time.time() + EPOCH_S
            while time.time() < until:
                await asyncio.sleep(self._dice.expovariate(self._rate()))
                if len(self._heap) + self._due.qsize() > MOST_WAITING:
                    continue
                call = callers.call(time.time() + 1.0)
                for delivery in deliveries_of(call, self._dice):
                    heapq.heappush(self._heap, (delivery.at, next(self._order), delivery, Fate()))

    def _rate(self) -> float:
        """Calls per second now."""
        now = time.time()
        rate = self._config.calls_per_minute / 60.0 * (1.0 + SWELL * math.sin(now * math.tau / SWELL_S))
        if now > self._next_burst + BURST_S:
            self._next_burst = now + self._dice.uniform(0.5, 1.5) * BURST_EVERY_S
        return rate * BURST_FACTOR if now > self._next_burst else rate

    async def _callers(self) -> Callers:
        """People and calendars as they are in the database now."""
        while True:
            try:
                return await ask(self._config.postgres, self._survey)
            except DATABASE_ERRORS as away:
                logger.warning("callers cannot be read yet: %s", away)
                await asyncio.sleep(RETRY_LATER_S)

    async def _survey(self, connection: Connection) -> Callers:
        slugs = [company.slug for company in self._companies]
        ground = await read_ground(connection, slugs)
        today = datetime.now(UTC).astimezone(ZONE).date()
        calendar = Calendar(today)
        for busy in ground.busy:
            calendar.block(busy.business, busy.staff, busy.start, busy.end)
        stamp = format(time.time_ns() // 1_000_000, "x")
        callers = Callers(
            f"{self._config.seed}:{stamp}",
            f"{PREFIX}_{stamp}",
            self._companies,
            calendar,
            avoid_phones=ground.phones,
            tempo=self._config.tempo,
            longest_s=LONGEST_S,
            day_by_day=True,
        )
        rows = await connection.fetch(KNOWN, slugs, KNOWN_CALLERS)
        for person in people_of(rows):
            callers.remember(person)
        return callers

    async def _release(self) -> None:
        """Hand deliveries to the provider's connections when their time has come."""
        while True:
            now = time.time()
            while self._heap and self._heap[0][0] <= now:
                _, _, delivery, fate = heapq.heappop(self._heap)
                self._due.put_nowait((delivery, fate))
            await asyncio.sleep(0.1)

    async def _send(self) -> None:
        """One connection of the provider."""
        with contextlib.closing(HttpConnection(self._config.api_url)) as connection:
            while True:
                delivery, fate = await self._due.get()
                if not await self._courier.attempt(connection, delivery, fate):
                    again = time.time() + self._courier.wait(fate)
                    heapq.heappush(self._heap, (again, next(self._order), delivery, fate))


def give_back_memory() -> None:
    """Return to the system what the history needed, some 50 MB, where the C library can (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


KNOWN = """
    select company.slug as business, customer.first_name, customer.last_name, customer.phone, customer.email
    from customers customer
    join companies company on company.id = customer.company_id
    where company.slug = any ($1) and customer.phone is not null and customer.erased_at is null
    order by customer.created_at desc
    limit $2
"""


def people_of(rows: Sequence[asyncpg.Record]) -> list[Person]:
    """Customers as callers who spell their names as the database does."""
    return [
        Person(
            business=row["business"],
            number=-number,
            first_name=row["first_name"],
            last_name=row["last_name"],
            spellings=(f"{row['first_name']} {row['last_name']}",),
            phone=row["phone"],
            email=row["email"],
        )
        for number, row in enumerate(rows, 1)
    ]
