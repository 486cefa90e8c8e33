"""The queue engine (pgqueuer) as this project uses it: names of its tables, its installer, its statements.

The names stand here in full, so that nothing in a process's environment can change them (the engine reads
`PGQUEUER_…` and even bare `CHANNEL` or `TRIGGER` otherwise).
"""

from __future__ import annotations

from typing import cast

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from backend.postgres.pools import Connection

SETTINGS = DBSettings(
    prefix="",
    db_schema="askpro",
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
    widen_id=True,
)

BUILDER = QueryQueueBuilder(SETTINGS)
"""Shared, because it remembers the statements it has put together."""


def queries(connection: Connection) -> Queries:
    """The engine's statements, run on this connection and within its transaction."""
    return Queries(
        driver=AsyncpgDriver(cast("asyncpg.Connection[asyncpg.Record]", connection)),
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=BUILDER,
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


def channel_of(queue: str) -> str:
    """The notification channel that rings when a job of this queue was put in and may start."""
    return f"askpro_queue_{queue}"


async def install(connection: Connection) -> None:
    """Create the engine's tables, tuned for a queue's churn, in the connection's transaction.

    Needs a role that may create tables in schema `askpro`.
    """
    engine = queries(connection)
    await engine.install(create_schema=False)
    await engine.optimize_autovacuum()
