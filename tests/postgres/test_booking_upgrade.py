"""A system that has been running before staff's time was kept by itself: nothing of it is lost or doubled."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.appointment_history import verify_appointments
from backend.postgres.migrate import discover, migrate
from backend.postgres.pools import connect
from backend.postgres.verify import check_double_bookings, check_staff_time
from backend.stack.postgres_server import PostgresServer
from tests.databases import connect_superuser

BEFORE = 6
"""The last migration without it."""

OLD = """
    set search_path = askpro, public;
    with c as (insert into companies (slug, name) values ('c', 'C') returning id),
         b as (insert into branches (company_id, slug, name) select id, 'b', 'B' from c returning id),
         s as (insert into staff (company_id, slug, name) select id, 's', 'S' from c returning id),
         v as (insert into services (company_id, slug, name, duration_min) select id, 'v', 'V', 30 from c returning id)
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, buffer_before_min, buffer_after_min, hold_expires_at, version)
    select c.id, b.id, s.id, v.id, t, t + interval '30 minutes', 'Europe/Berlin', status, 'import', 5, 10,
           case status when 'held' then timestamptz '2026-03-02T08:05Z' end, 1
    from c, b, s, v, (values (timestamptz '2026-03-02T08:00Z', 'held'), ('2026-03-02T09:00Z', 'confirmed'),
                             ('2026-03-02T09:00Z', 'cancelled'), ('2026-03-02T07:00Z', 'completed')) old (t, status);
    insert into appointment_events (company_id, appointment_id, version, kind, actor, data)
    select company_id, id, 1, case status when 'held' then 'held' else 'booked' end, 'old', jsonb_build_object(
        'branch_id', branch_id, 'staff_id', staff_id, 'service_id', service_id, 'customer_id', null, 'call_id', null,
        'starts_at', starts_at, 'ends_at', ends_at, 'time_zone', time_zone, 'buffer_before_min', 5,
        'buffer_after_min', 10, 'seat', 1, 'status', status, 'source', source, 'price_cents', 0, 'offered', null,
        'hold_expires_at', hold_expires_at)
    from appointments where status in ('held', 'confirmed');
"""


async def test_what_was_booked_before_keeps_its_time(
    bare_database: PostgresAddress, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    for migration in discover():
        if migration.number <= BEFORE:
            shutil.copy(migration.path, tmp_path)
    await migrate(bare_database, directory=tmp_path)
    superuser = await connect_superuser(postgres_server.superuser, bare_database.database)
    console = None
    try:
        await superuser.execute(OLD)
        await migrate(bare_database)
        taken = await superuser.fetch("select busy_from, busy_until, hold_expires_at from staff_time order by 1")
        assert [(f"{row[0]:%H:%M}", f"{row[1]:%H:%M}", row[2] is not None) for row in taken] == [
            ("07:55", "08:40", True),
            ("08:55", "09:40", False),
        ]
        with pytest.raises(asyncpg.ExclusionViolationError):
            await superuser.execute("update appointments set status = 'confirmed' where status = 'cancelled'")
        console = await connect(bare_database, Role.CONSOLE, application="test")
        assert (await check_staff_time(console)).broken == 0
        assert (await check_double_bookings(console)).broken == 0
        # Their events say nothing of what there was not then.
        verified = await verify_appointments(console)
        assert {one.what for one in verified.differences} == {"its history is broken: it has no event"}
        assert len(verified.differences) == 2
    finally:
        if console is not None:
            await console.close()
        await superuser.close()
