"""Verification finds what no constraint can: a row that is not what its events add up to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import AppointmentEvent
from backend.postgres.address import Role
from backend.postgres.verify import check_double_bookings, check_schema, verify
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection

STARTS = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def superuser(superuser_connection: SuperuserConnection) -> OwnConnection:
    connection = await superuser_connection()
    await connection.execute("set search_path = askpro, public")
    return connection


async def appointment(superuser: OwnConnection, *, starts: datetime = STARTS, kind: str = "booked") -> UUID:
    """One confirmed appointment with the event that made it."""
    suffix = starts.strftime("%d%H%M")
    ids = await superuser.fetchrow(
        """
        with c as (insert into companies (slug, name) values ('c' || $1, 'C') returning id),
             b as (insert into branches (company_id, slug, name) select id, 'b', 'B' from c returning id),
             s as (insert into staff (company_id, slug, name) select id, 's', 'S' from c returning id),
             v as (insert into services (company_id, slug, name, duration_min)
                   select id, 'v', 'V', 30 from c returning id)
        select c.id as company, b.id as branch, s.id as staff, v.id as service from c, b, s, v
        """,
        suffix,
    )
    assert ids is not None
    data = {
        "branch_id": str(ids["branch"]),
        "staff_id": str(ids["staff"]),
        "service_id": str(ids["service"]),
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(minutes=30)).isoformat(),
        "time_zone": "Europe/Berlin",
        "buffer_before_min": 0,
        "buffer_after_min": 0,
        "seat": 1,
        "status": "confirmed",
        "source": "console",
        "price_cents": 4500,
    }
    identifier: UUID = await superuser.fetchval(
        """
        insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                  source, price_cents, version)
        values ($1, $2, $3, $4, $5, $6, 'Europe/Berlin', 'confirmed', 'console', 4500, 1) returning id
        """,
        ids["company"],
        ids["branch"],
        ids["staff"],
        ids["service"],
        starts,
        starts + timedelta(minutes=30),
    )
    await superuser.execute(
        "insert into appointment_events (company_id, appointment_id, version, kind, actor, data)"
        " values ($1, $2, 1, $3, 'test', $4)",
        ids["company"],
        identifier,
        kind,
        json.dumps(data),
    )
    return identifier


async def test_a_migrated_database_is_at_its_head(open_connection: OpenConnection) -> None:
    check = await check_schema(await open_connection(Role.CONSOLE))

    assert (check.broken, check.differences) == (0, ())


async def test_a_missing_and_a_changed_migration_are_found(
    open_connection: OpenConnection, superuser: OwnConnection
) -> None:
    console = await open_connection(Role.CONSOLE)
    await superuser.execute("update schema_migrations set checksum = 'x' where number = 1")
    [check] = await verify(console)
    assert "0001_foundation.sql has changed" in check.differences[0]

    await superuser.execute("delete from schema_migrations")
    [check] = await verify(console)
    assert "0001_foundation.sql is not applied" in check.differences


async def test_appointments_that_equal_their_events_pass(
    open_connection: OpenConnection, superuser: OwnConnection
) -> None:
    for hour in range(3):
        await appointment(superuser, starts=STARTS + timedelta(hours=hour))

    checks = await verify(await open_connection(Role.CONSOLE))

    assert [check.broken for check in checks] == [0, 0, 0, 0, 0]
    assert {check.name: check.looked_at for check in checks}["appointments equal their events"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("price_cents = 1", "price_cents is 1, its events say 4500"),
        ("status = 'cancelled'", "status is cancelled, its events say confirmed"),
        ("version = 2", "version is 2, its events say 1"),
        ("starts_at = starts_at - interval '1 minute'", "starts_at is "),
    ],
)
async def test_a_row_that_was_changed_behind_its_events_is_named(
    open_connection: OpenConnection, superuser: OwnConnection, change: str, said: str
) -> None:
    identifier = await appointment(superuser)
    await superuser.execute(f"update appointments set {change}")

    checks = await verify(await open_connection(Role.CONSOLE))

    broken = [check for check in checks if check.broken]
    assert [check.name for check in broken] == ["appointments equal their events"]
    assert broken[0].differences[0].startswith(f"appointment {identifier}: {said}")


async def test_a_history_that_cannot_be_is_named(open_connection: OpenConnection, superuser: OwnConnection) -> None:
    await appointment(superuser, kind=AppointmentEvent.RESTORED)

    checks = await verify(await open_connection(Role.CONSOLE))

    assert "it begins with restored" in checks[1].differences[0]


async def test_a_double_booking_past_the_constraint_is_found(
    open_connection: OpenConnection, superuser: OwnConnection
) -> None:
    first = await appointment(superuser)
    second = await appointment(superuser, starts=STARTS + timedelta(minutes=15))
    await superuser.execute(
        "set session_replication_role = replica;"
        "update appointments set staff_id = (select staff_id from appointments limit 1)"
    )

    checks = {check.name: check for check in await verify(await open_connection(Role.CONSOLE))}

    assert checks["no double booking"].differences == (f"appointments {first} and {second} overlap",)
    assert checks["staff are busy as their appointments say"].differences == (
        f"appointment {second}: part 1 is missing in staff_time",
        f"appointment {second}: part 1 is wrong in staff_time",
    )


async def test_a_course_that_is_shared_is_no_double_booking_and_another_service_beside_it_is_one(
    open_connection: OpenConnection, superuser: OwnConnection
) -> None:
    shared = "set session_replication_role = replica; update appointments set capacity = 2"
    first = await appointment(superuser)
    second = await appointment(superuser, starts=STARTS + timedelta(minutes=15))
    await superuser.execute(f"{shared}, staff_id = (select staff_id from appointments limit 1)")
    await superuser.execute("update appointments set service_id = (select service_id from appointments limit 1)")
    await superuser.execute("update appointments set seat = 2 where id = $1", second)
    connection = await open_connection(Role.CONSOLE)

    assert (await check_double_bookings(connection)).broken == 0
    await superuser.execute("update appointments set seat = 1")
    assert (await check_double_bookings(connection)).differences == (f"appointments {first} and {second} overlap",)


async def test_a_processed_event_without_its_call_is_found(
    open_connection: OpenConnection, superuser: OwnConnection
) -> None:
    await superuser.execute(
        "with c as (insert into companies (slug, name) values ('c', 'C') returning id)"
        "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state, processed_at)"
        " select 'retell', 'k', 'call_ended', 'call_lost', id, '', 'processed', now() from c"
    )

    checks = {check.name: check for check in await verify(await open_connection(Role.CONSOLE))}

    assert checks["processed events have their call"].differences == ("call call_lost is not there",)
