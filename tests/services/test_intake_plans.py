"""The intake's statements use the indexes that they were written for, whatever else is in the tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.services.calendars.bookings import _MARK as MARK
from backend.services.calls.folding import _SAVE as SAVE
from backend.services.intake.quarantine import WAITING
from backend.services.intake.replay import FIRST, OPEN
from tests.databases import OwnConnection, SuperuserConnection


@pytest.fixture
async def full(superuser_connection: SuperuserConnection) -> OwnConnection:
    """20,000 deliveries of which few are quarantined, 5,000 refused ones, 500 numbers, 20,000 customers."""
    connection = await superuser_connection()
    await connection.execute("set search_path = askpro, public")
    await connection.execute(
        """
        insert into companies (slug, name) select 'c' || n, 'C' from generate_series(1, 50) n;
        insert into branches (company_id, slug, name) select id, 'b', 'B' from companies;
        insert into phone_numbers select '+4930' || (100000 + n), b.company_id, b.id
            from generate_series(1, 500) n
            join (select *, row_number() over () as r from branches) b on b.r = 1 + n % 50;
        insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state, dialled)
            select 'retell', n::text, 'call_started', 'call_' || n, case when n % 400 = 0 then null else c.id end, '',
                   case when n % 400 = 0 then 'quarantined' else 'processed' end,
                   case when n % 400 = 0 then '+4930' || (99000 + n) end
            from generate_series(1, 20000) n
            join (select id, row_number() over () as r from companies) c on c.r = 1 + n % 50;
        insert into webhook_rejects (provider, reason, remote, sealed, expires_at)
            select 'retell', 'stale', 'x', case when n % 10 = 0 then '\\x00'::bytea end, now()
            from generate_series(1, 5000) n;
        insert into customers (company_id, name_key, phone)
            select c.id, n::text, '+49151' || n from generate_series(1, 20000) n
            join (select id, row_number() over () as r from companies) c on c.r = 1 + n % 50;
        analyze;
        """
    )
    return connection


async def plan(connection: OwnConnection, statement: str, *arguments: object) -> str:
    """The plan of a statement."""
    rows = await connection.fetch(f"explain {statement}", *arguments)
    return "\n".join(row[0] for row in rows)


async def source(connection: OwnConnection, function: str, **parameters: str) -> str:
    """The statement inside a SQL function, with its parameters' names replaced."""
    text: str = await connection.fetchval("select prosrc from pg_proc where proname = $1", function)
    for name, value in parameters.items():
        text = text.replace(name, value)
    return text


async def test_releasing_reads_quarantined_deliveries_only(full: OwnConnection) -> None:
    found = await plan(full, await source(full, "intake_release", at_most="500"))
    assert "Seq Scan on webhook_inbox" not in found
    assert "webhook_inbox_unfinished" in found or "webhook_inbox_quarantined" in found


async def test_what_waits_for_a_number_is_found_by_number_and_agent(full: OwnConnection) -> None:
    found = await plan(full, WAITING, "+4930105000")
    assert "webhook_inbox_quarantined_dialled" in found
    assert "webhook_inbox_quarantined_agent" in found


async def test_a_tenant_is_found_by_the_primary_keys(full: OwnConnection) -> None:
    text = await source(full, "intake_tenant", **{"= dialled": "= '+4930100001'", "= agent": "= 'agent_1'"})
    found = await plan(full, text)
    assert "phone_numbers_pkey" in found
    assert "Seq Scan on phone_numbers" not in found


async def test_what_is_kept_is_measured_in_the_index_alone(full: OwnConnection) -> None:
    await full.execute("vacuum webhook_rejects")
    found = await plan(full, await source(full, "intake_kept_bytes"))
    assert "Index Only Scan using webhook_rejects_kept" in found


async def test_replay_walks_by_key(full: OwnConnection) -> None:
    found = await plan(full, OPEN, "retell", FIRST, timedelta(hours=1), 200)
    assert "Seq Scan" not in found


async def test_deliveries_are_marked_by_their_id_however_few_were_waiting_when_that_was_planned(
    full: OwnConnection,
) -> None:
    await full.execute("set plan_cache_mode = force_generic_plan")
    for name, statement in (("call", SAVE), ("booking", MARK)):
        await full.execute(f"prepare {name} as {statement}")
        parameters = "select cardinality(parameter_types) from pg_prepared_statements where name = $1"
        arguments = ", ".join(["null"] * await full.fetchval(parameters, name))
        found = await plan(full, f"execute {name} ({arguments})")
        assert "webhook_inbox_pkey" in found
        assert "webhook_inbox_unfinished" not in found
