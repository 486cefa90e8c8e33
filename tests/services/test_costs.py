"""What the two hot jobs cost the database: few round trips, and never a scan of a table that grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from backend.domain.vocabulary import Provider
from backend.postgres.pools import Connection, tenant, tenant_transaction
from backend.services.booking import Booked, book, cancel, reschedule
from backend.services.calls.folding import FoldResult, fold_call_events
from tests.databases import SuperuserConnection
from tests.services.conftest import ASKED_AT, SLOT, Deliveries, Salon

GROWING = (
    "appointments",
    "staff_time",
    "appointment_events",
    "calls",
    "customers",
    "callback_requests",
    "webhook_inbox",
)

HISTORY = """
    insert into customers (company_id, last_name, name_key, phone)
    select $1, 'Gast ' || n, 'gast ' || n, '+4930' || (10000000 + n) from generate_series(1, $2) n;
"""

PAST_APPOINTMENTS = """
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, price_cents, version, idempotency_key)
    select $1, $2, p.id, s.id,
           $3::timestamptz + n * interval '30 minutes', $3::timestamptz + (n + 1) * interval '30 minutes',
           'Europe/Berlin', 'confirmed', 'import', 3500, 1, p.slug || n
    from generate_series(1, $4) n
    cross join (select id, slug from staff where company_id = $1) p
    cross join (select id from services where company_id = $1 and slug = 'schnitt') s
"""


@asynccontextmanager
async def counted(connection: Connection) -> AsyncIterator[list[str]]:
    """The statements that are sent within the block: one round trip each, once they are prepared."""
    sent: list[str] = []

    def note(record: object) -> None:
        sent.append(getattr(record, "query", ""))

    connection.add_query_logger(note)
    try:
        yield sent
        # The logger is called by the loop, after the statement's end.
        await asyncio.sleep(0)
    finally:
        connection.remove_query_logger(note)


async def folded(connection: Connection, salon: Salon, call_id: str) -> FoldResult:
    result = await fold_call_events(connection, salon.company_id, Provider.RETELL, call_id)
    assert result is not None
    return result


async def test_a_fold_is_two_round_trips(salon: Salon, deliver: Deliveries) -> None:
    await deliver.whole_call("call_0")
    await deliver.whole_call("call_1", customer_name="Hans Müller", outcome="enquiry")
    async with tenant(salon.pool, salon.company_id) as connection:
        # The first time on a connection asyncpg also asks what arrays are.
        await folded(connection, salon, "call_0")
        async with counted(connection) as sent:
            await folded(connection, salon, "call_1")
    assert len(sent) == 2


async def test_a_booking_is_one_round_trip_and_at_most_two(salon: Salon, setup: Connection) -> None:
    async with tenant(salon.pool, salon.company_id) as connection:
        await book(connection, salon.request("first"))
        cases: list[tuple[str, int, dict[str, object]]] = [
            ("known rules", 1, {"staff": "ben"}),
            ("refused, with alternatives", 2, {"staff": "ben"}),
            ("refused, nobody waits", 1, {"staff": "ben", "wants_alternatives": False}),
            ("rules to be read", 2, {"service": "farbe", "starts_at": SLOT + timedelta(hours=1)}),
            ("refused, read before", 2, {"service": "unheard of"}),
        ]
        for key, statements, changes in cases:
            async with counted(connection) as sent:
                await book(connection, salon.request(key, **changes))
            assert len(sent) == statements, key


async def test_a_move_is_two_round_trips_and_a_cancellation_one(salon: Salon) -> None:
    async with tenant(salon.pool, salon.company_id) as connection:
        booked = await book(connection, salon.request())
        assert isinstance(booked, Booked)
        company, appointment, later = salon.company_id, booked.appointment_id, SLOT + timedelta(hours=1)
        await reschedule(connection, company, appointment, starts_at=later, actor="test", asked_at=ASKED_AT)
        async with counted(connection) as sent:
            await reschedule(connection, company, appointment, starts_at=SLOT, actor="test", asked_at=ASKED_AT)
        assert len(sent) == 2
        async with counted(connection) as sent:
            await cancel(connection, company, appointment, actor="test")
        assert len(sent) == 1


async def test_a_tenants_transaction_begins_and_ends_in_one_round_trip_each(salon: Salon) -> None:
    async with (
        salon.pool.acquire() as connection,
        counted(connection) as sent,
        tenant_transaction(connection, salon.company_id),
    ):
        pass
    assert len(sent) == 2


@pytest.mark.parametrize("staff", ["anna", None])
async def test_no_growing_table_is_scanned(
    salon: Salon,
    deliver: Deliveries,
    setup: Connection,
    superuser_connection: SuperuserConnection,
    staff: str | None,
) -> None:
    await setup.execute(HISTORY.replace("$1", f"'{salon.company_id}'").replace("$2", "5000"))
    await setup.execute(
        PAST_APPOINTMENTS, salon.company_id, salon.branches["mitte"], SLOT - timedelta(days=60), 60 * 48 - 1
    )
    await setup.execute(
        "insert into calls (company_id, provider, provider_call_id, status, started_at, from_number) "
        "select $1, 'retell', 'old_' || n, 'ended', $2, '+4930' || (10000000 + n) from generate_series(1, 5000) n",
        salon.company_id,
        SLOT,
    )
    for number in range(300):
        await deliver("call_started", f"old_{number}")
    wish = {"service": "schnitt", "staff": staff, "starts_at": SLOT.isoformat(), "branch": "mitte"}
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=wish)
    superuser = await superuser_connection()
    await superuser.execute("analyze")
    async with tenant(salon.pool, salon.company_id) as connection:
        result = await folded(connection, salon, "call_1")
        assert result.booking is not None
        assert isinstance(await book(connection, result.booking), Booked)
        await setup.execute("update services set capacity = 2 where slug = 'schnitt'")
        seat = salon.request("seat", staff=staff, starts_at=SLOT + timedelta(hours=2))
        assert isinstance(await book(connection, seat), Booked)
        await folded(connection, salon, "call_1")
        rows = await connection.fetch(
            "select relname, seq_scan, seq_tup_read from pg_stat_xact_user_tables where relname = any ($1)",
            list(GROWING),
        )
    assert {row["relname"] for row in rows} == set(GROWING)
    assert [row["relname"] for row in rows if row["seq_tup_read"] > 0] == []
