"""The record of what was done by hand: rows are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec

from backend.postgres.pools import Connection

LONGEST_REASON = 500
"""Characters of a reason that are kept."""

_RECORD = """
insert into audit_log (actor, node, action, subject, company_id, reason, detail)
values ($1, $2, $3, $4, $5, $6, $7::jsonb) returning id
"""


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and where."""

    actor: str
    """The person, as the machine they sit at knows them; or the part of the system."""
    node: str


def kept_reason(reason: str) -> str:
    """A reason as it is kept: one line, not too long."""
    return " ".join(reason.replace("\0", " ").split())[:LONGEST_REASON]


async def record(
    connection: Connection,
    by: By,
    action: str,
    subject: str,
    *,
    reason: str,
    company_id: UUID | None = None,
    detail: Mapping[str, object] | None = None,
) -> int:
    """Write down that `by` did `action` (such as `queue.pause`) to `subject`; the entry's number.

    `detail` is what msgspec can write as JSON. Raises asyncpg's errors.
    """
    number: int = await connection.fetchval(
        _RECORD,
        by.actor or "somebody",
        by.node,
        action,
        subject,
        company_id,
        kept_reason(reason),
        msgspec.json.encode(detail or {}).decode().replace("\\u0000", " "),
    )
    return number
