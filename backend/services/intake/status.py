"""The intake at a glance, for `askpro intake status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from backend.postgres.pools import Connection

STATUS = """
    select (select count(*) from webhook_inbox where received_at > now() - interval '1 hour') as accepted_1h,
           count(*) filter (where state = 'accepted') as waiting,
           count(*) filter (where state = 'held') as held,
           count(*) filter (where state = 'quarantined') as quarantined,
           min(received_at) filter (where state = 'accepted') as oldest_waiting_at,
           (select coalesce(json_object_agg(reason, refused), '{}')
            from (select reason, sum(count) as refused from webhook_rejects
                  where received_at > now() - interval '1 hour' group by reason) each) as rejected_1h,
           (select count(*) from webhook_rejects where sealed is not null) as kept,
           (select coalesce(sum(sealed_bytes), 0)::bigint from webhook_rejects where sealed is not null) as kept_bytes
    from webhook_inbox
    where state in ('accepted', 'held', 'quarantined')
"""


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """Deliveries by where they stand."""

    accepted_1h: int
    """Came in within the last hour, whatever became of them."""
    waiting: int
    """Their effect is not in the database yet."""
    held: int
    quarantined: int
    oldest_waiting_at: datetime | None
    rejected_1h: dict[str, int]
    """Refused within the last hour, by reason."""
    kept: int
    """Refused deliveries that are kept for replay."""
    kept_bytes: int


async def intake_status(connection: Connection) -> IntakeStatus:
    """The figures of now, in one round trip. Any role that reads across tenants."""
    row = await connection.fetchrow(STATUS)
    assert row is not None
    return IntakeStatus(**{**row, "rejected_1h": json.loads(row["rejected_1h"])})
