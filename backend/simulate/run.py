"""One run of the simulator against a running system: settle, plan, send, wait until all is in the database, compare."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from uuid import UUID

import msgspec

from backend.domain.vocabulary import AppointmentStatus, RejectReason
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.appointment_history import verify_appointments
from backend.postgres.pools import Connection, connect
from backend.postgres.verify import check_double_bookings, check_staff_time
from backend.simulate.businesses import TRIAL, Business, businesses
from backend.simulate.compare import Difference, broken_differences, differences, reject_differences
from backend.simulate.dice import seeded
from backend.simulate.found import (
    Totals,
    Waiting,
    read_broken,
    read_found,
    read_ground,
    read_rejects,
    read_totals,
    read_waiting,
)
from backend.simulate.front_desk import Fate, FrontDesk, Visit, fate_of
from backend.simulate.http_client import HttpConnection
from backend.simulate.oracle import Expectation, expect
from backend.simulate.patience import APPLICATION, AWAY, PATIENCE_S, PAUSE_S, ask
from backend.simulate.plan import Ground, Plan, RunSpec, make_plan, outcomes
from backend.simulate.presets import Pace
from backend.simulate.sender import Courier, Ledger, Sender
from backend.simulate.settle import settle
from backend.simulate.switchboard import TALK_AFTER_S, Exchange, Talking
from backend.simulate.talk import FUNCTIONS

STALL_S = 90.0
"""A queue that has not moved for so long does not drain: longer than the longest wait before a retry."""
MOST_VISITS = 20
"""Of so many appointments a company's front desk says what became of them; its token may write sixty times a minute."""
VISITS, PATIENT_VISITS = 5, 40
"""So often it says it again when there is no answer, usually and while everything is being killed."""
REJECTS_WITHIN_S = 15.0
"""Refused deliveries are counted so soon."""
LOCK_KEY = 0x617369
"""Advisory lock of the simulator's companies: two checked runs at a time would see each other's rows."""


class SimulationBusy(Exception):
    """Another run uses the simulator's companies right now."""


class NotDrained(Exception):
    """Work is left and does not get less."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(
            f"{waiting.deliveries} deliveries and {waiting.jobs} jobs are left and have not moved for {STALL_S:.0f} s"
        )
        self.waiting = waiting


@dataclass(frozen=True, slots=True)
class Target:
    """The system under traffic."""

    api_url: str
    retell_key: str
    postgres: PostgresAddress


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked to do."""

    calls: int
    seed: int
    run: str
    pace: Pace
    speed: float | None = None
    """Virtual seconds per real second; None is as fast as possible."""
    faults: bool = True
    check: bool = False
    patient: bool = False
    """Deliver again until accepted, however long the system is away."""
    connections: int = 48


class FunctionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one function did, milliseconds."""

    called: int
    done: int
    refused: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and found. Times in seconds."""

    seed: int
    run: str
    calls: int
    outcomes: dict[str, int]
    faults: dict[str, int]
    deliveries: int
    accepted: int
    refused: int
    """Refused as they had to be."""
    undeliverable: int
    """Good deliveries given up after all retries."""
    failures: dict[str, int]
    """Why deliveries were given up."""
    unsent: int
    """Left when the run was stopped."""
    retries: int
    send_s: float
    deliveries_per_s: float
    answer_p50_ms: float | None
    answer_p99_ms: float | None
    functions: dict[str, FunctionFigures] = {}
    """By name, what the voice agents called."""
    refusals: dict[str, int] = {}
    """Functions that were refused, by reason."""
    visits: dict[str, int] = {}
    """What the front desks said of appointments afterwards."""
    repeated: int = 0
    """Tool calls that were sent more than once."""
    checked: bool
    drain_s: float | None = None
    """From the last answer until everything was in the database."""
    check_s: float | None = None
    expected: dict[str, int] = {}
    differences: int = 0
    shown: tuple[str, ...] = ()
    """The first differences, in words."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a run must have left behind, and what was there before."""

    plan: Plan
    expected: Expectation
    before: Totals
    began_at: datetime
    """By the database's clock."""


@asynccontextmanager
async def alone(address: PostgresAddress, *, patience_s: float = 0.0) -> AsyncIterator[None]:
    """Keep other runs away from the simulator's companies. Raises SimulationBusy.

    Raises OSError and asyncpg's errors when the database is away for longer than `patience_s`.

    The lock goes with its connection, so a database that restarts under a run lets go of it.
    """
    connection, free = await _take_lock(address, patience_s)
    try:
        if not free:
            raise SimulationBusy("another run is under way in this database; two would see each other's rows")
        yield
    finally:
        connection.terminate()


async def _take_lock(address: PostgresAddress, patience_s: float) -> tuple[Connection, bool]:
    """The connection that holds the lock, and whether it really does: another one may."""
    until = time.monotonic() + patience_s
    while True:
        connection: Connection | None = None
        try:
            connection = await connect(address, Role.CONSOLE, application=APPLICATION)
            return connection, await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY)
        except AWAY:
            if connection is not None:
                connection.terminate()
            if time.monotonic() > until:
                raise
            await asyncio.sleep(PAUSE_S)


class Simulation:
    """One run; `await run()` once."""

    def __init__(
        self,
        target: Target,
        order: Order,
        *,
        stop: asyncio.Event | None = None,
        say: Callable[[str], None] = lambda _text: None,
        shown: int = 40,
    ) -> None:
        self._target = target
        self._order = order
        self._stop = stop or asyncio.Event()
        self._say = say
        self._shown = shown
        self._companies: tuple[Business, ...] = businesses(TRIAL)
        self._slugs = [company.slug for company in self._companies]
        self._said_at = 0.0
        self._done: _Done | None = None

    async def run(self) -> Report:
        """Do everything. Raises SimulationBusy, CalendarFull, NotDrained, OSError and asyncpg's errors."""
        patience_s = PATIENCE_S if self._order.patient else 0.0
        async with alone(self._target.postgres, patience_s=patience_s):
            await settle(self._target.postgres, self._companies, patience_s=patience_s)
            return await self._run()

    async def check(self) -> list[Difference]:
        """Compare what the run must have left with what is in the database now; only after `run`."""
        done = self._done
        assert done is not None
        phones = sorted({call.person.phone for call in done.plan.calls if call.person})
        prefix = done.plan.spec.prefix

        async def everything(connection: Connection) -> list[Difference]:
            found = await read_found(connection, prefix, len(done.plan.calls), self._slugs, phones)
            verified = await verify_appointments(connection)
            overlapping = await check_double_bookings(connection)
            return [
                *differences(done.expected, found, done.before),
                *broken_differences(await read_broken(connection, prefix, self._slugs)),
                *(Difference("I4 events", f"{one.appointment_id}: {one.what}") for one in verified.differences),
                *(Difference("I4 staff_time", text) for text in (await check_staff_time(connection)).differences),
                *(Difference("I2 double booking", text) for text in overlapping.differences),
            ]

        return await ask(self._target.postgres, everything) + await self._check_rejects(done)

    async def _run(self) -> Report:
        order = self._order
        ground, before, began_at = await ask(self._target.postgres, self._survey)
        spec = RunSpec(
            calls=order.calls,
            seed=order.seed,
            run=order.run,
            pace=order.pace,
            now=time.time(),
            faults=order.faults,
            live=order.speed == 1.0,
        )
        plan = make_plan(spec, self._companies, ground)
        ledgers = [await self._send(plan, 0)]
        drain_s = check_s = None
        if order.check and not self._stop.is_set():
            drain_s = await self._drain(plan)
            ledgers.append(await self._send(plan, 1))
            drain_s += await self._drain(plan)
        visits = await self._visit(expect(plan, ledgers)) if order.check else []
        self._done = _Done(plan, expect(plan, ledgers, visits), before, began_at)
        found: list[Difference] = []
        checked = order.check and not self._stop.is_set()
        if checked:
            checking = time.monotonic()
            found = await self.check()
            check_s = time.monotonic() - checking
        return self._report(
            plan, ledgers, self._done.expected, found, visits=visits, times=(drain_s, check_s), checked=checked
        )

    async def _visit(self, expected: Expectation) -> list[Visit]:
        """As if the time of some appointments had come: the front desks say what became of them."""
        due: dict[str, list[tuple[UUID, Fate]]] = defaultdict(list)
        for one in expected.promises.appointments:
            fate = fate_of(seeded(one.call.call_id, "fate"))
            settled = one.status is AppointmentStatus.CONFIRMED and not one.is_open
            if fate and settled and one.call.business and len(due[one.call.business.slug]) < MOST_VISITS:
                due[one.call.business.slug].append((one.id, fate))
        if not due or self._stop.is_set():
            return []
        patience_s = PATIENCE_S if self._order.patient else 0.0
        retries = PATIENT_VISITS if self._order.patient else VISITS
        desk = FrontDesk(self._target.api_url, self._target.postgres, list(due))
        await desk.open(patience_s=patience_s)

        async def at(company: str) -> list[Visit]:
            with contextlib.closing(HttpConnection(self._target.api_url)) as connection:
                return [await desk.say(connection, company, *each, retries=retries) for each in due[company]]

        visits = [visit for some in await asyncio.gather(*map(at, due)) for visit in some]
        await desk.close(patience_s=patience_s)
        return visits

    async def _survey(self, connection: Connection) -> tuple[Ground, Totals, datetime]:
        ground = await read_ground(connection, self._slugs)
        now: datetime = await connection.fetchval("select now()")
        return ground, await read_totals(connection, self._slugs), now

    async def _send(self, plan: Plan, wave: int) -> Ledger:
        sender = Sender(
            self._target.api_url,
            Courier(self._target.api_url, self._target.retell_key, patient=self._order.patient),
            connections=self._order.connections,
            stop=self._stop,
            progress=lambda done, of: self._progress(f"sent {done} of {of} deliveries", last=done == of),
        )
        talks = [] if wave else self._talks(plan)
        return await sender.send(plan.waves[wave], talks, speed=None if wave else self._order.speed)

    def _talks(self, plan: Plan) -> list[Talking]:
        """The conversations with the voice agents that have functions."""
        order = count(1)
        return [
            Talking(
                call,
                at=call.started_ms / 1000 + TALK_AFTER_S,
                order=order,
                patient=self._order.patient,
                faults=self._order.faults,
            )
            for call in plan.talks
        ]

    async def _drain(self, plan: Plan) -> float:
        """Wait until nothing of the run is under way; how long that took."""
        began = moved = time.monotonic()
        left = -1
        while not self._stop.is_set():
            waiting = await ask(
                self._target.postgres, lambda connection: read_waiting(connection, plan.spec.prefix, self._slugs)
            )
            self._progress(f"{waiting.left} jobs and deliveries left", last=waiting.left == 0)
            if waiting.left == 0:
                break
            if waiting.left != left:
                left, moved = waiting.left, time.monotonic()
            elif time.monotonic() - moved > STALL_S:
                raise NotDrained(waiting)
            await asyncio.sleep(0.25)
        return time.monotonic() - began

    async def _check_rejects(self, done: _Done) -> list[Difference]:
        if self._order.patient:
            # Refusals are noted within seconds, not before the answer: a killed system may forget the last ones.
            return []
        until = time.monotonic() + REJECTS_WITHIN_S
        while True:
            counted: Counter[RejectReason] = await ask(
                self._target.postgres, lambda connection: read_rejects(connection, done.began_at)
            )
            found = reject_differences(done.expected, counted)
            if not found or time.monotonic() > until:
                return found
            await asyncio.sleep(0.25)

    def _progress(self, text: str, *, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._said_at > 0.5:
            self._said_at = now
            self._say(text)

    def _report(
        self,
        plan: Plan,
        ledgers: Sequence[Ledger],
        expected: Expectation,
        found: Sequence[Difference],
        *,
        visits: Sequence[Visit],
        times: tuple[float | None, float | None],
        checked: bool,
    ) -> Report:
        fates = [fate for ledger in ledgers for fate in ledger.fates]
        waits = sorted(wait for ledger in ledgers for wait in ledger.waits_s)
        seconds = sum(ledger.seconds for ledger in ledgers)
        sent = [delivery for wave, _ in zip(plan.waves, ledgers, strict=False) for delivery in wave]
        exchanges = [one for ledger in ledgers for one in ledger.exchanges]
        given_up = [one for one in exchanges if one.answer is None] if not self._stop.is_set() else []
        faults = Counter(d.fault.value for d in sent if d.fault)
        faults += Counter(f"function_{fault.value}" for one in exchanges for fault in one.faults)
        return Report(
            seed=plan.spec.seed,
            run=plan.spec.run,
            calls=len({delivery.call.number for delivery in sent}),
            outcomes={outcome.value: count for outcome, count in sorted(outcomes(plan).items())},
            faults=dict(sorted(faults.items())),
            deliveries=len(fates),
            accepted=sum(fate.accepted for fate in fates),
            refused=sum(expected.rejects.values()),
            undeliverable=expected.undeliverable + len(given_up),
            failures=dict(
                Counter(fate.why for fate in fates if fate.attempts and fate.why and not fate.accepted)
                + Counter(one.why for one in given_up)
            ),
            unsent=sum(not fate.attempts for fate in fates)
            + sum(not talk.is_over for ledger in ledgers for talk in ledger.talks),
            retries=sum(ledger.retries for ledger in ledgers),
            send_s=round(seconds, 3),
            deliveries_per_s=round(len(waits) / seconds, 1) if seconds else 0.0,
            answer_p50_ms=_percentile_ms(waits, 0.50),
            answer_p99_ms=_percentile_ms(waits, 0.99),
            functions=_by_function(exchanges),
            refusals=dict(sorted(expected.promises.refusals.items())),
            visits=dict(sorted(Counter(visit.fate.status.value for visit in visits if visit.is_done).items())),
            repeated=sum(one.attempts > 1 or bool(one.others) for one in exchanges),
            checked=checked,
            drain_s=_rounded(times[0]),
            check_s=_rounded(times[1]),
            expected={
                "calls": len(expected.calls),
                "customers": len(expected.customers),
                "appointments": sum(contest.winners for contest in expected.contests)
                + len(expected.promises.appointments),
                "callbacks": len(expected.callbacks)
                + sum(len(contest.contenders) - contest.winners for contest in expected.contests),
                "inbox": len(expected.inbox),
                "quarantined": sum(row.company is None for row in expected.inbox),
                "contested": sum(len(contest.contenders) > 1 for contest in expected.contests),
            },
            differences=len(found),
            shown=tuple(map(str, found[: self._shown])),
        )


def _by_function(exchanges: Sequence[Exchange]) -> dict[str, FunctionFigures]:
    found: dict[str, FunctionFigures] = {}
    for name in FUNCTIONS:
        mine = [one for one in exchanges if one.ask.function == name]
        if not mine:
            continue
        waits = sorted(one.seconds for one in mine if one.answer is not None)
        found[name] = FunctionFigures(
            called=len(mine),
            done=sum(one.is_done for one in mine),
            refused=sum(one.answer is not None and not one.is_done for one in mine),
            p50_ms=_percentile_ms(waits, 0.50),
            p95_ms=_percentile_ms(waits, 0.95),
            p99_ms=_percentile_ms(waits, 0.99),
        )
    return found


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _percentile_ms(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) if ordered else None
