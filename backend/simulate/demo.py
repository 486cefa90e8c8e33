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
from backend.simulate.calls import PlannedCall
from backend.simulate.deliveries import Delivery, deliveries_of
from backend.simulate.dice import seeded
from backend.simulate.found import read_ground
from backend.simulate.front_desk import LIFE, FrontDesk, fate_of_past
from backend.simulate.http_client import HttpConnection
from backend.simulate.patience import ask
from backend.simulate.payloads import Told
from backend.simulate.people import Person
from backend.simulate.seed import PREFIX, seed_demo
from backend.simulate.sender import Courier, Fate
from backend.simulate.switchboard import TALK_AFTER_S, Talking

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
LOOK_EVERY_S = 20.0
"""So often the front desks look whose appointment is over."""
MOST_OVER = 20
"""Appointments of which they say at a time what became of them."""


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
        self._heap: list[tuple[float, int, _Errand]] = []
        self._order = count()
        self._due: asyncio.Queue[_Errand] = asyncio.Queue()
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
            tasks.create_task(self._keep_book(), name="demo-front-desks")

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
                self._plan(callers.call(time.time() + 1.0))

    def _plan(self, call: PlannedCall) -> None:
        """Set down all requests of a call; those that tell of its functions come when these are over."""
        deliveries = [_Sent(delivery) for delivery in deliveries_of(call, self._dice)]
        if call.errand is None:
            for sent in deliveries:
                self._push(sent.delivery.at, sent)
            return
        talk = Talking(call, at=call.started_ms / 1000 + TALK_AFTER_S, order=self._order)
        later = [sent for sent in deliveries if sent.delivery.is_after_functions]
        for sent in deliveries:
            if not sent.delivery.is_after_functions:
                self._push(sent.delivery.at, sent)
        self._push(talk.at, _Said(talk, later))

    def _push(self, at: float, errand: _Errand) -> None:
        heapq.heappush(self._heap, (at, next(self._order), errand))

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
                self._due.put_nowait(heapq.heappop(self._heap)[2])
            await asyncio.sleep(0.1)

    async def _send(self) -> None:
        """One connection of the provider."""
        with contextlib.closing(HttpConnection(self._config.api_url)) as connection:
            while True:
                errand = await self._due.get()
                if isinstance(errand, _Said):
                    await self._go_on(connection, errand)
                elif not await self._courier.attempt(connection, errand.delivery, errand.fate, errand.told):
                    self._push(time.time() + self._courier.wait(errand.fate), errand)

    async def _go_on(self, connection: HttpConnection, said: _Said) -> None:
        """The next step of a conversation; after the last one follows what tells of it."""
        talk = said.talk
        wait = await talk.step(connection, self._config.api_url, self._courier.signed)
        if not talk.is_over:
            self._push(time.time() + (talk.breath_s if wait < 0.0 else wait), said)
            return
        for sent in said.later:
            sent.told = talk.told
            self._push(sent.delivery.at, sent)

    async def _keep_book(self) -> None:
        """Say at the front desks what became of appointments that are over."""
        slugs = [company.slug for company in self._companies]
        while True:
            desk = FrontDesk(self._config.api_url, self._config.postgres, slugs)
            try:
                await desk.open()
                with contextlib.closing(HttpConnection(self._config.api_url)) as connection:
                    until = time.time() + LIFE.total_seconds() / 2
                    while time.time() < until and await self._say_who_came(desk, connection, slugs):  # noqa: ASYNC110
                        await asyncio.sleep(LOOK_EVERY_S)
            except DATABASE_ERRORS as away:
                logger.warning("the front desks cannot be opened yet: %s", away)
                await asyncio.sleep(RETRY_LATER_S)

    async def _say_who_came(self, desk: FrontDesk, connection: HttpConnection, slugs: Sequence[str]) -> bool:
        """Once for the latest that are over; false when a token is good no longer."""
        for row in await ask(self._config.postgres, lambda link: link.fetch(OVER, slugs, MOST_OVER)):
            fate = fate_of_past(seeded(row["id"], "fate"))
            if fate is not None and (await desk.say(connection, row["company"], row["id"], fate)).status == 401:
                return False
        return True


@dataclass(slots=True)
class _Sent:
    """A delivery under way."""

    delivery: Delivery
    fate: Fate = field(default_factory=Fate)
    told: Told | None = None
    """What its call's functions led to."""


@dataclass(slots=True)
class _Said:
    """A conversation under way, and what is to be delivered when it is over."""

    talk: Talking
    later: list[_Sent]


_Errand = _Sent | _Said


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


OVER = """
    select appointment.id, company.slug as company
    from appointments appointment
    join companies company on company.id = appointment.company_id
    where company.slug = any ($1) and appointment.status = 'confirmed'
      and appointment.ends_at between now() - interval '30 days' and now()
      -- Of those that nobody says anything of, the oldest would be in the way of all others.
    order by appointment.ends_at desc
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
