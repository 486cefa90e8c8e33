"""What the latest reconciliations came to, and which differences somebody has to decide about."""

from __future__ import annotations

from datetime import datetime

import msgspec

from backend.postgres.pools import Connection

OPEN_AT_MOST = 200
"""Open differences that are listed."""

_RUNS = """
    select distinct on (r.provider, r.account)
           r.provider, r.account, c.slug as company, r.cause, r.state, r.started_at, r.ended_at, r.covered_until,
           r.listed, r.found, r.unrepaired, r.error, r.retry_at
    from reconciliation_runs r
    left join companies c on c.id::text = r.account
    order by r.provider, r.account, r.started_at desc
"""

_OPEN = """
    select d.provider, d.kind, d.subject, c.slug as company, d.appointment_id::text as appointment_id, d.found_at,
           d.seen_at
    from reconciliation_differences d
    left join companies c on c.id = d.company_id
    where d.resolved_at is null
    order by d.found_at desc
    limit $1
"""


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """The latest run of one account."""

    provider: str
    account: str
    """`system`, or a company's id."""
    company: str | None
    cause: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    covered_until: datetime | None
    listed: int
    found: int
    unrepaired: int
    error: str | None
    retry_at: datetime | None


class OpenLine(msgspec.Struct, frozen=True, kw_only=True):
    """One difference that somebody has to decide about."""

    provider: str
    kind: str
    subject: str
    company: str | None
    appointment_id: str | None
    found_at: datetime
    seen_at: datetime


class ReconciliationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How both providers and we stand to each other."""

    runs: tuple[RunLine, ...]
    open: tuple[OpenLine, ...]


async def reconciliation_status(connection: Connection) -> ReconciliationStatus:
    """Across all companies. Needs a role that may read them. Raises asyncpg's errors."""
    return ReconciliationStatus(
        runs=tuple(RunLine(**row) for row in await connection.fetch(_RUNS)),
        open=tuple(OpenLine(**row) for row in await connection.fetch(_OPEN, OPEN_AT_MOST)),
    )
