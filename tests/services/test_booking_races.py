"""Many who want the same at once: exactly as many bookings as there is room for, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import RefusalReason
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.postgres.verify import verify
from backend.services.booking import Booked, Refused
from backend.simulate.booking_load import measure, table
from tests.databases import OpenConnection, OpenPool, SuperuserConnection
from tests.services.atelier import TEN, Atelier, open_atelier

RACERS = 50
STEP = timedelta(minutes=30)


@pytest.fixture
async def atelier(setup: Connection, open_role_pool: OpenPool) -> Atelier:
    return await open_atelier(setup, await open_role_pool(Role.WORKER, RACERS))


async def race(atelier: Atelier, name: str, **wish: object) -> tuple[list[Booked], set[RefusalReason]]:
    """Everybody at once; who won, and why the others did not."""
    answers = await asyncio.gather(
        *(atelier.ask(f"{name}:{racer}", **wish, wants_alternatives=racer % 2 == 0) for racer in range(RACERS))
    )
    won = [answer for answer in answers if isinstance(answer, Booked)]
    return won, {answer.reason for answer in answers if isinstance(answer, Refused)}


async def test_fifty_connections_racing_for_one_slot_in_twenty_rounds_make_twenty_bookings(
    atelier: Atelier, open_connection: OpenConnection
) -> None:
    winners: list[UUID] = []
    for number in range(20):
        starts_at = TEN + timedelta(days=number // 10) + number % 10 * STEP
        won, reasons = await race(atelier, f"round {number}", starts_at=starts_at)
        winners += [booked.appointment_id for booked in won]
        assert reasons == {RefusalReason.SLOT_TAKEN}
    assert len(winners) == 20
    assert await atelier.value("select count(*) from appointments") == 20
    assert [check.broken for check in await verify(await open_connection(Role.CONSOLE))] == [0] * 5


async def test_of_fifty_who_take_anybody_three_get_three_different_people(atelier: Atelier) -> None:
    for number in range(2):
        won, _ = await race(atelier, f"round {number}", staff=None, starts_at=TEN + number * STEP)
        assert {atelier.name(booked.staff_id) for booked in won} == {"anna", "ben", "cem"}
        assert len(won) == 3


async def test_as_many_get_into_a_course_as_it_has_seats(atelier: Atelier) -> None:
    won, _ = await race(atelier, "anna's", service="kurs")
    assert len(won) == 3
    won, _ = await race(atelier, "anybody's", service="kurs", staff=None, starts_at=TEN + 2 * STEP)
    assert len(won) == 6


async def test_services_that_need_the_same_two_people_in_opposite_order_do_not_deadlock(atelier: Atelier) -> None:
    for number in range(2):
        starts_at = TEN - 2 * STEP + number * timedelta(hours=4)
        answers = await asyncio.gather(
            *(
                atelier.ask(
                    f"{number}:{racer}",
                    service=("kopf-hand", "hand-kopf")[racer % 2],
                    staff=None,
                    starts_at=starts_at,
                    wants_alternatives=False,
                )
                for racer in range(RACERS)
            )
        )
        assert sum(isinstance(answer, Booked) for answer in answers) == 1, answers[0]


async def test_a_writer_that_takes_no_lock_and_was_faster_makes_anybody_be_the_next_one(
    atelier: Atelier, superuser_connection: SuperuserConnection
) -> None:
    first = await atelier.book("before", starts_at=TEN - STEP)
    superuser = await superuser_connection()
    await superuser.execute("set search_path = askpro, public; begin")
    # Anna is booked past all locks, and not committed yet: nobody can see it, but nobody can have her either.
    await superuser.execute(
        "insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status, "
        "source, version) select company_id, branch_id, staff_id, service_id, ends_at, "
        "ends_at + interval '30 minutes', time_zone, status, 'import', 1 from appointments where id = $1",
        first.appointment_id,
    )
    for staff in ("ben", "cem"):
        for number in (2, 3):
            await atelier.book(f"{staff} {number}", staff=staff, starts_at=TEN + number * STEP)
    booking = asyncio.create_task(atelier.book("anybody", staff=None))
    waiting = "select count(*) from pg_locks where not granted and locktype = 'transactionid'"
    for _ in range(1_000):
        if await superuser.fetchval(waiting):
            break
        assert not booking.done(), "it did not wait for the writer"
    await superuser.execute("commit")
    assert atelier.name((await booking).staff_id) in {"ben", "cem"}


async def test_the_measurement_of_races_finds_them_right(database: PostgresAddress) -> None:
    report = await measure(database, seconds=0.1, rows=640, rounds=1)
    assert report.is_right
    assert (report.rows, report.broken) == (640, 0)
    assert [line.booked for line in report.lines[-3:]] == [1, 3, 1]
    assert "differences and double bookings found afterwards: 0" in table(report)
