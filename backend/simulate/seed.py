"""Puts the demo's history into the database, once: all of it in one transaction, or nothing; then its jobs' counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

import msgspec

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, connect
from backend.simulate.businesses import DEMO, Business, businesses
from backend.simulate.history import History, Ids, JsonRow, write_history
from backend.simulate.job_history import seed_jobs
from backend.simulate.settle import settle

PREFIX = "call_demo"
"""How the provider's ids of all demo calls begin."""
HISTORY_PREFIX = f"{PREFIX}_h"

BATCH = 1_000

LOCK = "select pg_advisory_xact_lock(hashtextextended('simulate:history', 0))"

RUNG = "select started_at from calls where started_at > now() - interval '8 days' and provider_call_id ^@ $1"

SEEDED = "select exists (select from calls where provider_call_id ^@ $1)"


async def seed_demo(
    address: PostgresAddress,
    *,
    days: float = 56.0,
    calls_per_minute: float = 12.0,
    seed: int = 1,
    now: float | None = None,
) -> int:
    """Declare the demo's companies and write their history; the number of calls written, 0 when it was there.

    `now` is Unix seconds. Raises OSError and asyncpg's errors.
    """
    companies = businesses(DEMO)
    await settle(address, companies)
    connection = await connect(address, Role.SETUP, application="askpro-simulate")
    try:
        async with connection.transaction():
            await connection.execute(LOCK)
            if days <= 0:
                return 0
            if await connection.fetchval(SEEDED, PREFIX):
                history = History()
            else:
                history = write_history(
                    companies,
                    await read_ids(connection, companies),
                    now=time.time() if now is None else now,
                    days=days,
                    calls_per_minute=calls_per_minute,
                    seed=seed,
                    prefix=HISTORY_PREFIX,
                )
                await insert(connection, history)
        rung = await connection.fetch(RUNG, HISTORY_PREFIX)
        worker = await connect(address, Role.WORKER, application="askpro-simulate")
        try:
            await seed_jobs(worker, [row["started_at"] for row in rung])
        finally:
            await worker.close()
        return len(history.calls)
    finally:
        await connection.close()


async def read_ids(connection: Connection, companies: Sequence[Business]) -> Ids:
    """The keys of the companies and their parts."""
    slugs = [company.slug for company in companies]
    rows = await connection.fetch("select id, slug from companies where slug = any ($1)", slugs)
    names = {row["id"]: row["slug"] for row in rows}
    parts: dict[str, dict[tuple[str, str], UUID]] = {}
    for table in ("branches", "services", "staff"):
        found = await connection.fetch(
            f"select id, company_id, slug from {table} where company_id = any ($1)",  # noqa: S608 (names above)
            list(names),
        )
        parts[table] = {(names[row["company_id"]], row["slug"]): row["id"] for row in found}
    return Ids(
        companies={slug: company_id for company_id, slug in names.items()},
        branches=parts["branches"],
        services=parts["services"],
        staff=parts["staff"],
    )


async def insert(connection: Connection, history: History) -> None:
    """Write all rows, in the caller's transaction.

    COPY is refused where row-level security applies, so each batch travels as one JSON document.
    """
    for table in ("customers", "calls", "appointments", "appointment_events", "callback_requests", "webhook_inbox"):
        rows: list[JsonRow] = getattr(history, table)
        if not rows:
            continue
        columns = ", ".join(rows[0])
        statement = f"""
            insert into {table} ({columns})
            select {columns} from json_populate_recordset(null::{table}, $1::json)
        """  # noqa: S608 (names of our own)
        for begin in range(0, len(rows), BATCH):
            await connection.execute(statement, msgspec.json.encode(rows[begin : begin + BATCH]).decode())
