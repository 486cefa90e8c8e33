"""The record of what is done with many held jobs: read it, end what fell silent, ask for an end from anywhere."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.postgres.pools import Connection
from backend.services.operating.audit import By, record

SILENT_S = 30.0
"""An action that runs and has not been heard of for so long was given up by whoever worked on it."""

FELL_SILENT = "whoever worked on it fell silent; what is left can be done again"

_ASK = "update bulk_actions set is_cancel_asked = true where id = $1 and state = 'running' returning action"

_GIVE_UP = """
update bulk_actions
set state = 'failed', ended_at = seen_at, error = $2
where state = 'running' and seen_at < now() - make_interval(secs => $1)
returning id
"""

_LATEST = """
select id as bulk_id, action, case when is_silent then 'failed' else state end as state, started_by, node, started_at,
       ended_at, matched, done, skipped, per_s, reason, case when is_silent then $2::text else error end as error
from (select *, state = 'running' and seen_at < now() - make_interval(secs => $1) as is_silent from bulk_actions) b
order by started_at desc limit $3
"""


class BulkLine(msgspec.Struct, frozen=True, kw_only=True):
    """One action as its record tells it now."""

    bulk_id: UUID
    action: str
    state: str
    """A word of `BulkState`; one that fell silent counts as failed."""
    started_by: str
    node: str
    started_at: datetime
    ended_at: datetime | None
    matched: int
    done: int
    skipped: int
    per_s: float | None
    reason: str
    error: str


async def ask_cancel(connection: Connection, by: By, bulk_id: UUID, *, reason: str = "") -> bool:
    """Ask whoever works on it to stop, wherever they are; False when it does not run any more.

    It ends after the batch that is under way. Needs the worker's role and an open transaction.
    """
    action = await connection.fetchval(_ASK, bulk_id)
    if action is not None:
        await record(connection, by, "held.cancel", f"bulk {bulk_id}", reason=reason, detail={"action": action})
    return action is not None


async def latest_actions(connection: Connection, *, limit: int = 50) -> list[BulkLine]:
    """The latest actions, newest first. Needs no more than to read."""
    rows = await connection.fetch(_LATEST, SILENT_S, FELL_SILENT, limit)
    return [BulkLine(**dict(row)) for row in rows]


async def give_up_silent(connection: Connection) -> int:
    """End the records of actions whose worker died; how many there were. Needs the worker's role."""
    return len(await connection.fetch(_GIVE_UP, SILENT_S, FELL_SILENT))
