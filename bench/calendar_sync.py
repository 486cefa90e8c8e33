"""Are the calendars equal at the end? Bookings, moves and cancellations, written behind to a Cal.com that misbehaves.

`python -m bench.calendar_sync [--bookings 2000] [--speed 20] [--outage-s 300]` starts a durable PostgreSQL of its
own, a worker, and the tests' Cal.com (real HTTP), which answers 5 % of the requests with 500 (half of them after doing
what was asked), does 5 % without ever answering, 1 % long after nobody waits for the answer, refuses 3 % with 429, and
is down for five minutes in the middle. Time is compressed: all waits of the client, the breaker, the jobs and the
outage run `--speed` times as fast; work does not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Pool, connect, open_pool, tenant
from backend.providers.calling import Retries, SystemClock, Timeouts
from backend.providers.clients import ProviderConfig
from backend.queue.jobs import handlers_of
from backend.queue.worker import Worker, WorkerConfig
from backend.services.booking import Booked, BookingRequest, SlotTaken, book, cancel, reschedule, restore
from backend.services.companies.applying import (
    BranchDeclaration,
    CalcomRules,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from bench.intake import RESULTS
from bench.server import durable_server
from tests.fakes.calcom import KEY, WELL, FakeCalcom, Misbehaviour
from tests.fakes.serving import serving

STAFF = 25
BOOKERS = 4
FIRST_DAY = (datetime.now(UTC) + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
SLOTS_A_DAY = 40
"""Of half an hour with a quarter in between, so that a moved one never meets another."""

BAD = Misbehaviour(fails=0.05, hangs=0.05, late=0.01, late_s=0.7, busy=0.03, retry_after_s=10)
"""By the machine's time where it says seconds, but for Retry-After, which the client reads by its own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried."""

    bookings: int = 2000
    moved: float = 0.25
    """This part of the bookings is moved, some of them twice, a fifth of these to somebody else;"""
    cancelled: float = 0.15
    """this part is cancelled, a third of these restored."""
    changed_later: float = 0.15
    """This part is moved or cancelled when it stands in the calendar already."""
    outage_s: float = 300.0
    """How long the provider is down, by its own time."""
    speed: float = 20.0
    """How many of the provider's seconds pass in one of the machine's."""
    seed: int = 1
    misbehaviour: Misbehaviour = BAD
    limit_s: float = 600.0
    """Longest wait for the end, by the machine's time."""


class Report(msgspec.Struct, kw_only=True):
    """What came of it."""

    bookings: int = 0
    changes: int = 0
    equal: bool = False
    missing: list[str] = []
    """Appointments that the calendar does not show, or at another time or with somebody else."""
    doubled: list[str] = []
    """Appointments that it shows more than once."""
    strange: list[str] = []
    """Bookings that belong to no appointment, or to one that does not take place."""
    unsettled: dict[str, int] = {}
    """Appointments by state, but for those that are synced."""
    requests: dict[str, int] = {}
    """At the provider, by endpoint."""
    answers: dict[str, int] = {}
    """At the provider, by what became of them."""
    surplus_cancelled: int = 0
    """Bookings that were made twice for a while and found."""
    breaker_opened: int = 0
    held: int = 0
    postponed: int = 0
    runs: int = 0
    took_s: float = 0.0
    outage_real_s: float = 0.0
    speed: float = 1.0


def company() -> CompanyDeclaration:
    """A company whose people have a calendar each."""
    return CompanyDeclaration(
        slug="calendars",
        name="Calendars",
        calcom=CalcomRules(api_key_secret="calcom_api_key"),
        branches=(BranchDeclaration(slug="mitte", name="Mitte"),),
        services=(ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=30, horizon_days=365),),
        staff=tuple(
            StaffDeclaration(
                slug=f"p{number:02}",
                name=f"P {number}",
                branches=("mitte",),
                services=("schnitt",),
                calcom_event_types={"schnitt": 100 + number},
            )
            for number in range(STAFF)
        ),
    )


@dataclass
class Trial:
    """One run against one database."""

    plan: Plan
    pool: Pool
    company_id: UUID
    fake: FakeCalcom
    dice: random.Random
    changes: int = 0
    booked: dict[UUID, int] = field(default_factory=dict)
    third: asyncio.Event = field(default_factory=asyncio.Event)
    """A third of all is booked."""

    def slot(self, number: int, shift: int = 0) -> datetime:
        """The time of a booking, or of one of its moves: nobody else's."""
        day, slot = divmod(number // STAFF, SLOTS_A_DAY // 4)
        return FIRST_DAY + timedelta(days=day, minutes=30 * (slot * 4 + shift))

    async def live(self, number: int) -> None:
        """Book one, and let happen to it what the dice say."""
        dice = random.Random(f"{self.plan.seed}:{number}")
        wish = BookingRequest(
            key=f"k{number}",
            company_id=self.company_id,
            service="schnitt",
            staff=f"p{number % STAFF:02}",
            branch="mitte",
            starts_at=self.slot(number),
            asked_at=datetime.now(UTC),
            any_time=True,
            attendee_name=f"Kunde {number}",
            attendee_email=f"kunde{number}@example.org",
        )
        async with tenant(self.pool, self.company_id, timeout=30) as connection:
            made = await book(connection, wish)
        if not isinstance(made, Booked):
            raise SystemExit(f"booking {number} was refused: {made}")
        self.booked[made.appointment_id] = number
        if len(self.booked) * 3 >= self.plan.bookings:
            self.third.set()
        if dice.random() < self.plan.moved:
            for shift in range(1, dice.choice((2, 2, 3))):
                await asyncio.sleep(dice.random() * 2)
                await self.move(made.appointment_id, self.slot(number, shift), dice)
        if dice.random() < self.plan.cancelled:
            await asyncio.sleep(dice.random() * 2)
            await self.change(made.appointment_id, "cancel")
            if dice.random() < 1 / 3:
                await asyncio.sleep(dice.random())
                await self.change(made.appointment_id, "restore")

    async def move(self, appointment: UUID, starts_at: datetime, dice: random.Random) -> None:
        """To another time, sometimes also to whoever can."""
        async with tenant(self.pool, self.company_id, timeout=30) as connection:
            staff: UUID | None = None
            if dice.random() < 0.2:
                staff = await connection.fetchval(
                    """select p.id from staff p where p.company_id = $1 and not exists (
                           select from appointments a
                           where a.company_id = $1 and a.staff_id = p.id and a.starts_at = $2)
                       order by p.id limit 1""",
                    self.company_id,
                    starts_at,
                )
            with suppress(SlotTaken):  # Two may want the same person at the same time.
                await reschedule(
                    connection,
                    self.company_id,
                    appointment,
                    starts_at=starts_at,
                    staff_id=staff,
                    actor="bench",
                    any_time=True,
                    waive_policy=True,
                )
                self.changes += 1

    async def change(self, appointment: UUID, kind: str) -> None:
        """Cancel or restore."""
        async with tenant(self.pool, self.company_id, timeout=30) as connection:
            with suppress(SlotTaken):
                if kind == "cancel":
                    await cancel(connection, self.company_id, appointment, actor="bench", waive_policy=True)
                else:
                    await restore(connection, self.company_id, appointment, actor="bench")
                self.changes += 1

    async def change_later(self) -> None:
        """Move and cancel what stands in the calendar already, while the rest is still being written."""
        wanted = int(len(self.booked) * self.plan.changed_later)
        done: set[UUID] = set()
        end = time.monotonic() + self.plan.limit_s
        while len(done) < wanted and time.monotonic() < end:
            async with tenant(self.pool, self.company_id, timeout=30) as connection:
                rows = await connection.fetch(
                    """select k.appointment_id as id from calendar_sync k join appointments a on a.id = k.appointment_id
                       where k.state = 'synced' and a.status = 'confirmed' and k.appointment_id <> all ($1::uuid[])
                       order by k.appointment_id limit 10""",
                    list(done),
                )
            for row in rows:
                if self.dice.random() < 0.75:
                    await self.move(row["id"], self.slot(self.booked[row["id"]], 3), self.dice)
                else:
                    await self.change(row["id"], "cancel")
                done.add(row["id"])
            await asyncio.sleep(0.1)

    async def trouble(self) -> float:
        """Let the provider be down once a third is booked; how long, by the machine's time."""
        await self.third.wait()
        began = time.perf_counter()
        self.fake.is_down = True
        await asyncio.sleep(self.plan.outage_s / self.plan.speed)
        self.fake.is_down = False
        return time.perf_counter() - began


async def prove(address: PostgresAddress, plan: Plan) -> Report:
    """Run the plan in an empty, migrated database; the report."""
    setup = await connect(address, Role.SETUP, application="calendar bench")
    applied = await apply_company(setup, company())
    await setup.close()
    fake = FakeCalcom(plan.misbehaviour, seed=plan.seed)
    pool = await open_pool(address, Role.API, application="calendar bench", size=BOOKERS)
    began = time.perf_counter()
    with serving(fake.app) as url:
        trial = Trial(plan, pool, applied.company_id, fake, random.Random(plan.seed))
        async with _worker(address, url, plan) as worker:
            gate = asyncio.Semaphore(BOOKERS * 8)

            async def one(number: int) -> None:
                async with gate:
                    await trial.live(number)

            outage = asyncio.create_task(trial.trouble())
            await asyncio.gather(*(one(number) for number in range(plan.bookings)))
            outage_s = await outage
            await trial.change_later()
            await _settled(pool, trial, plan.limit_s)
            opened = worker.breakers_opened
        fake.misbehaviour = WELL
        report = await compare(address, trial)
    await pool.close()
    report.took_s, report.outage_real_s, report.speed = time.perf_counter() - began, outage_s, plan.speed
    report.breaker_opened = opened
    return report


@asynccontextmanager
async def _worker(address: PostgresAddress, url: str, plan: Plan) -> AsyncIterator[_Watched]:
    config = WorkerConfig(
        queue=QueueName.DEFAULT,
        postgres=address,
        valkey_url=None,
        node="bench",
        version="0",
        look_s=0.2,
        drain_s=5.0,
        providers=ProviderConfig(
            calcom_url=url,
            secret={"calcom_api_key": KEY}.get,
            timeouts=Timeouts(total_s=max(0.25, 10.0 / plan.speed)),
            retries=Retries(),
            clock=SystemClock(plan.speed),
            # Longer than any answer is late.
            settle_s=30.0 if plan.speed <= 25 else 1.2 * plan.speed,
        ),
    )
    worker = Worker(config, handlers_of(QueueName.DEFAULT))
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(worker.run(stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield _Watched(worker)
    finally:
        stop.set()
        waiting.cancel()
        await running


@dataclass(frozen=True, slots=True)
class _Watched:
    worker: Worker

    @property
    def breakers_opened(self) -> int:
        """How often a breaker of the worker's has opened."""
        providers = self.worker.providers
        return sum(client.breaker.opened for client in providers.used.values()) if providers is not None else 0


async def _settled(pool: Pool, trial: Trial, limit_s: float) -> None:
    """Wait until nothing is pending; after the limit the report tells what is."""
    end = time.monotonic() + limit_s
    pending = 1
    while pending and time.monotonic() < end:
        async with tenant(pool, trial.company_id) as connection:
            pending = await connection.fetchval("select count(*) from calendar_sync where state = 'pending'")
        await asyncio.sleep(0.1)


async def compare(address: PostgresAddress, trial: Trial) -> Report:
    """The provider's calendar beside ours."""
    watch = await connect(address, Role.WATCH, application="calendar bench")
    rows = await watch.fetch(
        """select a.id, a.starts_at, o.calcom_event_type_id as event_type, k.state, k.uid
           from appointments a join calendar_sync k on k.company_id = a.company_id and k.appointment_id = a.id
           join staff_services o on o.staff_id = a.staff_id and o.service_id = a.service_id
           where a.status <> 'cancelled'"""
    )
    states = await watch.fetch("select state, count(*) as n from calendar_sync where state <> 'synced' group by state")
    ran = await watch.fetch("select outcome, count(*) as n from job_runs where outcome is not null group by outcome")
    runs: dict[str, int] = {row["outcome"]: row["n"] for row in ran}
    held = await watch.fetchval("select count(*) from held_jobs")
    await watch.close()
    ours = {str(row["id"]): (row["event_type"], row["starts_at"], row["uid"]) for row in rows}
    standing = trial.fake.standing()
    counted = Counter(booking.metadata.get("appointment_id", "") for booking in standing)
    theirs = {
        booking.metadata.get("appointment_id", ""): (booking.event_type_id, booking.starts_at, booking.uid)
        for booking in standing
    }
    report = Report(
        bookings=len(trial.booked),
        changes=trial.changes,
        missing=[key for key, value in ours.items() if theirs.get(key) != value],
        doubled=[key for key, count in counted.items() if count > 1],
        strange=[key for key in counted if key not in ours],
        unsettled={row["state"]: row["n"] for row in states},
        requests=dict(trial.fake.asked),
        answers=dict(trial.fake.answers),
        surplus_cancelled=sum(b.reason == "made twice by mistake" for b in trial.fake.bookings.values()),
        held=held,
        postponed=runs.get("postponed", 0),
        runs=sum(runs.values()),
    )
    report.equal = not (report.missing or report.doubled or report.strange or report.unsettled or report.held)
    return report


def table(report: Report) -> str:
    """The report for people."""
    return "\n".join(
        (
            f"{report.bookings:,} bookings and {report.changes:,} changes in {report.took_s:.0f} s"
            f" (time {report.speed:g} times as fast, down for {report.outage_real_s:.1f} s of it)",
            f"at the provider: {sum(report.requests.values()):,} requests {report.requests}",
            f"                 answered {report.answers}",
            f"jobs: {report.runs:,} runs, {report.postponed:,} of them postponed, {report.held} held;"
            f" breaker opened {report.breaker_opened} times",
            f"made twice for a while: {report.surplus_cancelled}",
            f"missing or different {len(report.missing)}, doubled {len(report.doubled)}, strange {len(report.strange)},"
            f" not synced {report.unsettled or 0}",
            "the calendars are equal, each booking once" if report.equal else "THE CALENDARS DIFFER",
        )
    )


def main() -> int:
    """Run, print, keep; 1 when the calendars differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bookings", type=int, default=2000)
    parser.add_argument("--outage-s", type=float, default=300.0)
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=600.0)
    args = parser.parse_args()
    plan = replace(
        Plan(), bookings=args.bookings, outage_s=args.outage_s, speed=args.speed, seed=args.seed, limit_s=args.limit_s
    )
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        report = asyncio.run(prove(address, plan))
    print(table(report))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "calendar_sync.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 0 if report.equal else 1


if __name__ == "__main__":
    sys.exit(main())
