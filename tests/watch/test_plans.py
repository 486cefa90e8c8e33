"""Each statement uses the indexes that it was written for, and costs the same however much history there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from backend.watch.collect import appointments, business, calls, database, fleet, queues
from backend.watch.connection import Connection
from tests.databases import OwnConnection, SuperuserConnection
from tests.watch.scenery import Scenery

STATEMENTS = {
    "calls": (calls.STATEMENT, "(text, boolean)", "(null, true)"),
    "calls, changes only": (calls.STATEMENT, "(text, boolean)", "('1000000', false)"),
    "appointments": (appointments.STATEMENT, "(text, boolean)", "(null, true)"),
    "queues": (queues.STATEMENT, "(boolean, boolean)", "(true, true)"),
    "database": (database.STATEMENT, "", ""),
    "fleet": (fleet.STATEMENT, "", ""),
    "business": (business.STATEMENT, "", ""),
}

USED = {
    "calls": {"calls_started", "calls_ongoing", "appointments_call"},
    "calls, changes only": {"calls_started", "calls_ongoing", "appointments_created"},
    "appointments": {"appointments_starts", "appointments_created"},
    "queues": {"pgqueuer_ep_ea_idx", "job_runs_entrypoint", "pgqueuer_log_created", "webhook_inbox_received"},
    "business": {"calls_started", "appointments_created", "webhook_inbox_received"},
}

GROWING = {"calls", "appointments", "webhook_inbox", "job_runs", "pgqueuer_log", "customers", "appointment_events"}
"""Tables that grow with history: none of them is ever read from end to end."""

HISTORY = """
with person as (
    insert into customers (company_id, first_name, last_name, name_key, phone)
    select $1, 'Anna', 'Schmidt ' || i, 'anna schmidt ' || i, '+49151' || (1000000 + i)
    from generate_series($2::int, $3::int) i
), talk as (
    insert into calls (company_id, branch_id, provider, provider_call_id, status, started_at, ended_at, duration_ms,
                       outcome, cost_cents, summary, transcript)
    select $1, $4, 'retell', 'call_' || i, 'ended', now() - make_interval(mins => i),
           now() - make_interval(mins => i - 2), 120000, 'booked', 21, 'short', repeat('text ', 50)
    from generate_series($2::int, $3::int) i
), visit as (
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, price_cents, version, created_at)
    select $1, $4, $5, $6, now() - make_interval(mins => 31 * i), now() - make_interval(mins => 31 * i - 30),
           'Europe/Berlin', 'completed', 'call', 4500, 1, now() - make_interval(mins => i)
    from generate_series($2::int, $3::int) i
)
insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body, received_at, state,
                           processed_at)
select 'retell', 'key_' || i, 'call_ended', 'call_' || i, $1, $4, repeat('x', 200)::bytea,
       now() - make_interval(mins => i), 'processed', now() - make_interval(mins => i)
from generate_series($2::int, $3::int) i
"""

RUNS = """
with noted as (
    insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
    select now() - make_interval(mins => i), i, 'successful', 0, 'webhooks.retell_call'
    from generate_series($1::int, $2::int) i
)
insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, outcome)
select i, 1, 'webhooks.retell_call', gen_random_uuid(), now() - make_interval(mins => i),
       now() - make_interval(mins => i), 'done'
from generate_series($1::int, $2::int) i
"""

SHORT, LONG = 3_000, 30_000
"""Minutes of history, with one of everything in each: two days, three weeks."""


@dataclass(frozen=True)
class Node:
    """One node of a plan."""

    kind: str
    relation: str
    index: str
    rows: float
    """Rows read from the index or table, whatever became of them."""


def nodes(plan: dict[str, object]) -> Iterator[Node]:
    """All nodes of a plan that were executed."""
    loops = float(str(plan.get("Actual Loops", 0)))
    if loops:
        read = float(str(plan["Actual Rows"])) + float(str(plan.get("Rows Removed by Filter", 0)))
        yield Node(
            str(plan["Node Type"]), str(plan.get("Relation Name", "")), str(plan.get("Index Name", "")), read * loops
        )
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    for each in below:
        yield from nodes(each)


@dataclass(slots=True)
class History:
    """A database with one of everything in each minute, and a connection that explains the collectors' statements."""

    watch: Connection
    scenery: Scenery
    superuser: OwnConnection

    async def fill(self, first: int, last: int) -> None:
        """Fill the minutes from `first` to `last`, counted backwards from now."""
        place = self.scenery
        await place.setup.execute(HISTORY, place.company, first, last, place.branch, place.staff, place.service)
        await place.worker.execute(RUNS, first, last)
        # What autovacuum does within a minute of a real day.
        await self.superuser.execute("vacuum (analyze)")

    async def plan(self, what: str) -> tuple[list[Node], int]:
        """The nodes of the plan that ran, and how many blocks it touched."""
        statement, types, arguments = STATEMENTS[what]
        await self.watch.execute(f"prepare watched {types} as {statement}")
        explained = await self.watch.fetchval(f"explain (analyze, buffers, format json) execute watched {arguments}")
        await self.watch.execute("deallocate watched")
        plan = json.loads(explained)[0]["Plan"]
        return list(nodes(plan)), int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


@pytest.fixture
async def history(watch: Connection, scenery: Scenery, superuser_connection: SuperuserConnection) -> History:
    """Two days of history."""
    history = History(watch, scenery, await superuser_connection())
    await history.superuser.execute("set search_path = askpro, public")
    await scenery.worker.execute(
        "insert into pgqueuer (priority, entrypoint, status)"
        " select 0, 'webhooks.retell_call', 'queued' from generate_series(1, 2000)"
    )
    await history.fill(5, SHORT)
    return history


async def test_statements_use_the_indexes_that_they_were_written_for(history: History) -> None:
    for what, indexes in USED.items():
        plan, _ = await history.plan(what)
        assert indexes <= {node.index for node in plan}, what


async def test_no_statement_reads_a_growing_table_from_end_to_end(history: History) -> None:
    for what in STATEMENTS:
        plan, _ = await history.plan(what)
        read = [node for node in plan if "Seq Scan" in node.kind and node.relation in GROWING]
        assert read == [], what


async def test_ten_times_the_history_costs_no_more(history: History) -> None:
    before = {what: (await history.plan(what))[1] for what in STATEMENTS}
    await history.fill(SHORT + 1, LONG)
    after = {what: (await history.plan(what))[1] for what in STATEMENTS}
    grown = {what: (before[what], after[what]) for what in STATEMENTS if after[what] > 1.3 * before[what]}
    assert grown == {}


async def test_the_figures_of_the_day_are_read_from_indexes_alone(history: History) -> None:
    for what in ("calls", "appointments", "business"):
        plan, _ = await history.plan(what)
        wide = [node for node in plan if node.kind in {"Index Scan", "Bitmap Heap Scan"} and node.rows > 300]
        assert wide == [], what
