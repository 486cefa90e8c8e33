"""Reminders in virtual time: exactly those that are owed, whatever happens to the appointments meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.domain.vocabulary import NotificationKind, NotificationState
from backend.postgres.pools import Connection, tenant, tenant_transaction
from backend.services.companies.applying import NotificationRules, apply_company
from backend.services.notifications.message import Message
from backend.services.notifications.records import decide
from backend.services.notifications.reminders import RULES, companies_to_remind, due_reminder, sweep
from tests.databases import SuperuserConnection
from tests.services.conftest import SALON, Salon

DAY = datetime(2026, 3, 29, tzinfo=UTC)
"""The day on which Berlin's clocks go forward, at 01:00 UTC."""

NOON = DAY + timedelta(hours=12)

INSERT = """
    insert into appointments (id, company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, attendee_name, attendee_email, version, created_at)
    select $1, $2, b.id, p.id, s.id, $3, $3::timestamptz + interval '1 minute', 'Europe/Berlin', $5, 'console',
           'Hans Müller', $6, 1, $4
    from branches b, staff p, services s
    where b.company_id = $2 and b.slug = 'mitte' and p.company_id = $2 and p.slug = 'anna'
      and s.company_id = $2 and s.slug = 'schnitt'
"""

EVENT = """
    insert into appointment_events (company_id, appointment_id, version, kind, actor, data, occurred_at)
    values ($1, $2, 1, 'booked', 'test', '{}', $3)
"""

CHANGE = """
    select append_appointment_event(a, $3, 'test', $4, $5) from appointments a where a.company_id = $1 and a.id = $2
"""


@dataclass
class Clinic:
    """One company whose appointments change at times that a test says."""

    connection: Connection
    company_id: UUID
    sent: list[tuple[UUID, NotificationKind, datetime]] = field(default_factory=list)
    """Appointment, kind, and the start that was told."""

    async def book(self, starts_at: datetime, at: datetime, *, email: str | None = "hans@kunde.test") -> UUID:
        appointment_id = uuid4()
        async with tenant_transaction(self.connection, self.company_id):
            await self.connection.execute(INSERT, appointment_id, self.company_id, starts_at, at, "confirmed", email)
            await self.connection.execute(EVENT, self.company_id, appointment_id, at)
        return appointment_id

    async def change(self, appointment_id: UUID, kind: str, data: dict[str, object], at: datetime) -> None:
        async with tenant_transaction(self.connection, self.company_id):
            told = msgspec.json.encode(data).decode()
            await self.connection.execute(CHANGE, self.company_id, appointment_id, kind, told, at)

    async def move(self, appointment_id: UUID, starts_at: datetime, at: datetime) -> None:
        ends_at = starts_at + timedelta(minutes=1)
        await self.change(appointment_id, "rescheduled", {"starts_at": starts_at, "ends_at": ends_at}, at)

    async def noted(self, now: datetime) -> list[UUID]:
        """What the sweep notes."""
        async with tenant_transaction(self.connection, self.company_id):
            return list((await sweep(self.connection, self.company_id, now)).owed)

    async def read(self, notification_id: UUID, now: datetime) -> Message | None:
        async with tenant_transaction(self.connection, self.company_id):
            return await due_reminder(
                self.connection, self.company_id, notification_id, now, sender="termine@askpro.test"
            )

    async def deliver(self, notification_id: UUID, now: datetime) -> None:
        """As the job does it, with a channel that takes everything."""
        if await self.read(notification_id, now) is None:
            return
        async with tenant_transaction(self.connection, self.company_id):
            await decide(self.connection, self.company_id, notification_id, NotificationState.SENT)
            row = await self.connection.fetchrow(
                "select appointment_id, kind, occasion from notifications where id = $1", notification_id
            )
        assert row is not None
        kind, starts_at = NotificationKind(row["kind"]), datetime.fromtimestamp(row["occasion"], UTC)
        self.sent.append((row["appointment_id"], kind, starts_at))

    async def remind(self, now: datetime) -> None:
        """The sweep and its jobs at one moment."""
        for notification_id in await self.noted(now):
            await self.deliver(notification_id, now)

    async def details(self) -> dict[str, str]:
        async with tenant_transaction(self.connection, self.company_id):
            rows = await self.connection.fetch("select kind, state || ' ' || detail as told from notifications")
        return {row["kind"]: row["told"].strip() for row in rows}


@pytest.fixture
async def clinic(salon: Salon) -> AsyncIterator[Clinic]:
    async with salon.pool.acquire() as connection:
        yield Clinic(connection, salon.company_id)


async def through(clinic: Clinic, starts_at: datetime) -> list[tuple[str, timedelta]]:
    """What is sent and how long before the start, looking every 30 seconds around the moments."""
    found: list[tuple[str, timedelta]] = []
    for rule in RULES:
        for look in range(-2, 3):
            now = starts_at - rule.lead + timedelta(seconds=30 * look + 7)
            before = len(clinic.sent)
            await clinic.remind(now)
            found += [(kind.value, starts_at - now) for _, kind, _ in clinic.sent[before:]]
    return found


async def test_each_reminder_comes_once_within_the_sweep_after_its_moment(clinic: Clinic) -> None:
    await clinic.book(NOON, NOON - timedelta(days=3))
    told = await through(clinic, NOON)
    assert [kind for kind, _ in told] == ["reminder_24h", "reminder_2h", "reminder_30min"]
    for (_, ahead), rule in zip(told, RULES, strict=True):
        assert timedelta() <= rule.lead - ahead < timedelta(seconds=30)


async def test_a_day_before_is_24_elapsed_hours_also_when_the_clocks_change(clinic: Clinic) -> None:
    # Sunday 14:00 in Berlin; the day before, at the same wall time, is only 23 hours away.
    await clinic.book(NOON, NOON - timedelta(days=3))
    (notification_id,) = await clinic.noted(NOON - timedelta(hours=24))
    assert await clinic.noted(NOON - timedelta(hours=23)) == []
    message = await clinic.read(notification_id, NOON - timedelta(hours=24))
    assert message is not None
    assert "Sonntag, 29. März 2026, 14:00 Uhr" in message.subject


@pytest.mark.parametrize(
    ("ahead", "kinds"),
    [
        (timedelta(hours=24), ["reminder_24h", "reminder_2h", "reminder_30min"]),
        (timedelta(hours=23, minutes=59), ["reminder_2h", "reminder_30min"]),
        (timedelta(hours=1), ["reminder_30min"]),
        (timedelta(minutes=29), []),
    ],
)
async def test_who_books_after_the_moment_is_not_reminded_of_what_they_just_said(
    clinic: Clinic, ahead: timedelta, kinds: list[str]
) -> None:
    await clinic.book(NOON, NOON - ahead)
    assert [kind for kind, _ in await through(clinic, NOON)] == kinds


@pytest.mark.parametrize("late", [timedelta(hours=5), timedelta(hours=7)])
async def test_after_an_outage_a_reminder_comes_late_while_it_is_of_use(clinic: Clinic, late: timedelta) -> None:
    await clinic.book(NOON, NOON - timedelta(days=3))
    await clinic.remind(NOON - timedelta(hours=24) + late)
    assert len(clinic.sent) == (late < timedelta(hours=6))


async def test_a_reminder_whose_job_waited_too_long_is_dropped(clinic: Clinic) -> None:
    await clinic.book(NOON, NOON - timedelta(days=3))
    (notification_id,) = await clinic.noted(NOON - timedelta(minutes=30))
    await clinic.deliver(notification_id, NOON - timedelta(minutes=15))
    assert clinic.sent == []
    assert (await clinic.details())["reminder_30min"] == "dropped too late to be of use"


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [
        ("cancelled", "cancelled", "dropped the appointment is cancelled"),
        ("no_show", "no_show", "dropped the appointment is no_show"),
        ("completed", "completed", "dropped the appointment is completed"),
        ("started", "in_progress", "dropped the appointment is in_progress"),
    ],
)
async def test_what_happens_between_the_sweep_and_the_sending_is_seen(
    clinic: Clinic, kind: str, status: str, told: str
) -> None:
    appointment_id = await clinic.book(NOON, NOON - timedelta(days=3))
    now = NOON - timedelta(hours=2)
    (notification_id,) = await clinic.noted(now)
    await clinic.change(appointment_id, kind, {"status": status}, now)
    await clinic.deliver(notification_id, now)
    assert clinic.sent == []
    assert (await clinic.details())["reminder_2h"] == told


async def test_a_reminder_that_was_noted_for_another_time_is_dropped_and_the_new_one_comes(clinic: Clinic) -> None:
    appointment_id = await clinic.book(NOON, NOON - timedelta(days=3))
    now = NOON - timedelta(hours=24)
    (notification_id,) = await clinic.noted(now)
    later = NOON + timedelta(days=2)
    await clinic.move(appointment_id, later, now)
    await clinic.deliver(notification_id, now)
    assert clinic.sent == []
    await clinic.remind(later - timedelta(hours=24))
    assert clinic.sent == [(appointment_id, NotificationKind.REMINDER_24H, later)]


async def test_who_left_no_address_is_not_reminded_and_it_is_said_why(clinic: Clinic) -> None:
    await clinic.book(NOON, NOON - timedelta(days=3), email="kein Briefkasten")
    await clinic.remind(NOON - timedelta(hours=2))
    assert (await clinic.details())["reminder_2h"] == "dropped neither e-mail address nor phone number"


async def test_a_company_reminds_as_it_declared(clinic: Clinic, setup: Connection) -> None:
    await apply_company(setup, msgspec.structs.replace(SALON, notifications=NotificationRules(reminders=("2h",))))
    await clinic.book(NOON, NOON - timedelta(days=3))
    assert [kind for kind, _ in await through(clinic, NOON)] == ["reminder_2h"]


async def test_companies_with_nothing_to_settle_are_not_visited(clinic: Clinic, salon: Salon) -> None:
    async with salon.pool.acquire() as outside:
        await clinic.book(NOON, NOON - timedelta(days=3))
        assert await companies_to_remind(outside, NOON - timedelta(hours=25)) == []
        now = NOON - timedelta(hours=24)
        assert await companies_to_remind(outside, now) == [salon.company_id]
        await clinic.remind(now)
        assert await companies_to_remind(outside, now) == []


async def test_two_sweeps_at_once_note_each_reminder_once(clinic: Clinic, salon: Salon) -> None:
    for hour in range(20):
        await clinic.book(NOON + timedelta(minutes=hour), NOON - timedelta(days=3))
    now = NOON - timedelta(hours=2) + timedelta(minutes=30)

    async def one() -> int:
        async with tenant(salon.pool, salon.company_id) as connection:
            return len((await sweep(connection, salon.company_id, now)).owed)

    assert sum(await asyncio.gather(*(one() for _ in range(4)))) == 20


async def test_reminders_are_found_by_index_among_many_appointments(
    clinic: Clinic, salon: Salon, superuser_connection: SuperuserConnection
) -> None:
    superuser = await superuser_connection()
    await superuser.execute("set search_path = askpro, public")
    await superuser.execute("alter table appointments disable trigger all")
    await superuser.execute(
        """
        insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                  source, version, created_at)
        select b.company_id, b.id, p.id, s.id, $1::timestamptz + n * interval '40 minutes',
               $1::timestamptz + n * interval '40 minutes' + interval '30 minutes', 'Europe/Berlin',
               case when n < 0 then 'completed' else 'confirmed' end, 'import', 1, $1::timestamptz - interval '9 days'
        from generate_series(-20000, 2000) n, branches b, staff p, services s
        where b.slug = 'mitte' and p.slug = 'anna' and s.slug = 'schnitt'
        """,
        NOON,
    )
    await superuser.execute("analyze")
    now = NOON + timedelta(days=1)
    async with tenant_transaction(clinic.connection, salon.company_id):
        owed = await sweep(clinic.connection, salon.company_id, now)
        assert len(owed.owed) > 8
        assert list(await companies_to_remind(clinic.connection, now + timedelta(hours=1))) == [salon.company_id]
        read = await clinic.connection.fetch(
            "select relname from pg_stat_xact_user_tables where seq_tup_read > 0 and relname = any ($1)",
            ["appointments", "appointment_events", "notifications"],
        )
    assert [row["relname"] for row in read] == []


# Whatever happens -----------------------------------------------------------------------------------------------------

TICK = timedelta(minutes=10)
"""Between two sweeps here; the moments themselves lie in between."""

STATUS = {"cancelled": "cancelled", "no_show": "no_show", "completed": "completed", "restored": "confirmed"}
POSSIBLE = {
    "confirmed": ("moved", "cancelled", "completed", "no_show"),
    "cancelled": ("restored",),
    "no_show": ("restored",),
    "completed": (),
}


@dataclass(frozen=True)
class Happening:
    """What happens to an appointment, in minutes from the beginning."""

    at: int
    what: str
    starts: int
    """The start from then on."""

    @property
    def is_live(self) -> bool:
        return self.what in {"booked", "moved", "restored"}


@st.composite
def lives(draw: st.DrawFn) -> list[list[Happening]]:
    """Some appointments, each with what happens to it; no two of them ever start in the same minute."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        starts = st.sampled_from(range(number, 2500, 5))
        life = [Happening(draw(st.integers(0, 2400)), "booked", draw(starts))]
        status = "confirmed"
        for gap in draw(st.lists(st.integers(1, 600), max_size=5)):
            if not POSSIBLE[status]:
                break
            what = draw(st.sampled_from(POSSIBLE[status]))
            start = draw(starts) if what == "moved" else life[-1].starts
            life.append(Happening(life[-1].at + gap, what, start))
            status = STATUS.get(what, status)
        found.append(life)
    return found


def after(life: list[Happening], minute: float) -> Happening | None:
    """The newest happening at a moment."""
    return next((one for one in reversed(life) if one.at <= minute), None)


def owed(life: list[Happening]) -> Counter[tuple[NotificationKind, int]]:
    """What has to be sent: of each time that held at a reminder's moment and still held when the next sweep came."""
    tick = TICK.total_seconds() / 60
    found: Counter[tuple[NotificationKind, int]] = Counter()
    for start in {one.starts for one in life}:
        for rule in RULES:
            moment = start - rule.lead.total_seconds() / 60
            then = after(life, moment)
            if then is None or not then.is_live or then.starts != start:
                continue
            looked = -(-moment // tick) * tick
            if after(life, looked) is then:
                found[rule.kind, start] = 1
    return found


_beginnings = (NOON + timedelta(days=30 * number) for number in count())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(appointments=lives())
async def test_exactly_the_owed_reminders_are_sent_whatever_happens(
    clinic: Clinic, appointments: list[list[Happening]]
) -> None:
    zero = next(_beginnings)
    tick = int(TICK.total_seconds() / 60)
    clinic.sent.clear()
    ids: list[UUID | None] = [None] * len(appointments)
    steps: list[tuple[int, int, int, Happening | None]] = [
        (one.at, 0, number, one) for number, life in enumerate(appointments) for one in life
    ]
    moments = {
        int(one.starts - rule.lead.total_seconds() / 60) for life in appointments for one in life for rule in RULES
    }
    # Sweeps with nothing to find would change nothing: only those around the moments are made.
    looks = {-(-moment // tick) * tick + more * tick for moment in moments for more in (0, 1, 3)}
    steps += [(look, 1, -1, None) for look in looks]
    for at, _, number, happening in sorted(steps, key=lambda step: step[:3]):
        now = zero + timedelta(minutes=at)
        if happening is None:
            await clinic.remind(now)
            continue
        starts_at = zero + timedelta(minutes=happening.starts)
        appointment_id = ids[number]
        if appointment_id is None:
            ids[number] = await clinic.book(starts_at, now)
        elif happening.what == "moved":
            await clinic.move(appointment_id, starts_at, now)
        else:
            await clinic.change(appointment_id, happening.what, {"status": STATUS[happening.what]}, now)
    sent = Counter(clinic.sent)
    expected: Counter[tuple[UUID, NotificationKind, datetime]] = Counter()
    for appointment_id, life in zip(ids, appointments, strict=True):
        assert appointment_id is not None
        for (kind, start), number in owed(life).items():
            expected[appointment_id, kind, zero + timedelta(minutes=start)] = number
    assert sent == expected
