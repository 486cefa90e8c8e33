"""What differs between a provider and us: one row for as long as a difference lasts, however often it is seen.

Nothing personal goes in: times, states and ids only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import DifferenceAction, DifferenceKind, Provider
from backend.postgres.pools import Connection

KEPT = timedelta(days=90)
"""Life of a settled difference, and of a run that later ones have overtaken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference, and what was done about it."""

    provider: Provider
    kind: DifferenceKind
    subject: str
    """The provider's call id or booking uid; our appointment's id when there is nothing over there."""
    company_id: UUID | None
    """None while nobody knows whose it is."""
    action: DifferenceAction
    appointment_id: UUID | None = None
    ours: Mapping[str, object] = field(default_factory=dict)
    theirs: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_repaired(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.action is not DifferenceAction.REPORTED


_NOTE = """
    insert into reconciliation_differences as known (
        company_id, run_id, provider, kind, subject, appointment_id, ours, theirs, action, resolved_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $9 <> 'reported' then now() end)
    on conflict (provider, kind, subject, company_id) where resolved_at is null do update
    set run_id = coalesce(excluded.run_id, known.run_id), appointment_id = excluded.appointment_id,
        ours = excluded.ours, theirs = excluded.theirs, action = excluded.action, seen_at = now(),
        resolved_at = excluded.resolved_at
    returning known.xmax = 0 as is_new
"""

_SETTLE = """
    update reconciliation_differences set resolved_at = now()
    where provider = $1 and subject = any ($2) and kind = any ($3) and resolved_at is null
      and company_id is not distinct from $4
"""


async def note(connection: Connection, difference: Difference, run_id: UUID | None = None) -> bool:
    """Keep a difference; whether it is a new one. In the transaction of its company, if it has one.

    One that nobody has to do anything about counts as settled. Raises asyncpg's errors.
    """
    is_new: bool = await connection.fetchval(
        _NOTE,
        difference.company_id,
        run_id,
        difference.provider.value,
        difference.kind.value,
        difference.subject,
        difference.appointment_id,
        _json(difference.ours),
        _json(difference.theirs),
        difference.action.value,
    )
    return is_new


async def settle(
    connection: Connection,
    provider: Provider,
    company_id: UUID | None,
    subjects: Sequence[str],
    kinds: Sequence[DifferenceKind],
) -> None:
    """These differences are over, if there were any. Raises asyncpg's errors."""
    if subjects:
        await connection.execute(_SETTLE, provider.value, list(subjects), [kind.value for kind in kinds], company_id)


async def prune(connection: Connection) -> int:
    """Delete what has been settled for long enough, a thousand rows at a time; how many. Raises asyncpg's errors."""
    pruned: int = await connection.fetchval("select prune_reconciliation($1, $2)", KEPT, 1_000)
    return pruned


def _json(fields: Mapping[str, object]) -> str | None:
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if value is not None
    }
    return msgspec.json.encode(told).decode() if told else None
