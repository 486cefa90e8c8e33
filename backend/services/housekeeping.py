"""What nobody asks for and somebody must do: calls that never ended, holds that ran out, deliveries kept long enough.

Each function is one round trip in the caller's transaction and does at most so much that a transaction stays short;
call it until it says 0. Raises asyncpg's errors only.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from backend.postgres.pools import Connection

STALE_CALL = timedelta(hours=2)
"""A call that has been going on for so long has ended without telling us."""

INBOX_KEPT = timedelta(days=90)
"""Life of a processed delivery. Longer than any provider goes on delivering, since the row is also what recognises a
duplicate; unprocessed deliveries stay."""

NOTIFICATIONS_KEPT = timedelta(days=90)
"""Life of what is known about a message to a customer."""

FUNCTION_CALLS_KEPT = timedelta(days=1)
"""Life of an answer to a tool call. No call lasts so long, and answers name people."""

AT_MOST = 1_000
"""Rows in one transaction."""

STALE_REASON = "closed_as_stale"
"""`disconnection_reason` of a call whose end nobody reported; a late report replaces it."""

_COMPANIES = "select * from housekeeping_companies()"

_CLOSE_CALLS = """
    with stale as (
        select id from calls
        where status in ('registered', 'ongoing') and started_at < now() - $2::interval and company_id = $1
        order by started_at
        limit $3
        for update skip locked
    )
    update calls set
        status = 'ended', outcome = coalesce(outcome, 'unknown'), updated_at = now(),
        disconnection_reason = coalesce(disconnection_reason, $4)
    from stale where calls.id = stale.id
"""

_RELEASE_HOLDS = """
    with expired as materialized (
        select id, version from appointments
        where status = 'held' and hold_expires_at <= clock_timestamp() and company_id = $1
        order by id
        limit $2
        for update skip locked
    )
    select count(*) filter (where change.result = 'done')
    from expired,
         lateral change_appointment($1, expired.id, expired.version, 'hold_expired', 'system', 'waive', null) change
"""

_PURGE_REJECTS = """
    with expired as (
        select id from webhook_rejects where expires_at <= now() order by expires_at limit $1
    )
    delete from webhook_rejects using expired where webhook_rejects.id = expired.id
"""


async def companies(connection: Connection) -> list[UUID]:
    """Every active company."""
    return [row[0] for row in await connection.fetch(_COMPANIES)]


async def close_stale_calls(connection: Connection, company_id: UUID) -> int:
    """End a company's calls that have been going on for two hours; how many. Needs the company's transaction.

    When a call's end is reported later after all, its fold says what really was.
    """
    return _rows(await connection.execute(_CLOSE_CALLS, company_id, STALE_CALL, AT_MOST, STALE_REASON))


async def release_expired_holds(connection: Connection, company_id: UUID) -> int:
    """Free the slots of a company's holds that ran out; how many. Needs the company's transaction."""
    released: int = await connection.fetchval(_RELEASE_HOLDS, company_id, AT_MOST)
    return released


async def purge_rejects(connection: Connection) -> int:
    """Delete refused deliveries whose time is over; how many."""
    return _rows(await connection.execute(_PURGE_REJECTS, AT_MOST))


async def prune_inbox(connection: Connection) -> int:
    """Delete deliveries whose effect has been in the database for long enough; how many."""
    pruned: int = await connection.fetchval("select prune_webhook_inbox($1, $2)", INBOX_KEPT, AT_MOST)
    return pruned


async def prune_notifications(connection: Connection) -> int:
    """Delete what is known about messages that were sent, or not, long ago; how many."""
    pruned: int = await connection.fetchval("select prune_notifications($1, $2)", NOTIFICATIONS_KEPT, AT_MOST)
    return pruned


async def prune_function_calls(connection: Connection) -> int:
    """Delete answers to tool calls that nobody will repeat any more; how many."""
    pruned: int = await connection.fetchval("select prune_function_calls($1, $2)", FUNCTION_CALLS_KEPT, AT_MOST)
    return pruned


def _rows(status: str) -> int:
    """The number of rows in a command's completion, for example `UPDATE 3`."""
    return int(status.rsplit(" ", 1)[-1])
