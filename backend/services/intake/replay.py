"""Replaying refused deliveries: verified again with the keys of today, and accepted if they are good now.

A signature's time is judged by when the delivery arrived, not by when it is replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backend.domain.vocabulary import Provider, RejectReason
from backend.postgres.pools import Connection
from backend.providers.calcom import payloads as calcom
from backend.providers.calcom import signature as calcom_signature
from backend.providers.delivery import Delivery, Malformed
from backend.providers.retell import payloads as retell
from backend.providers.retell import signature as retell_signature
from backend.services.intake.inbox import Stored, store
from backend.services.intake.seal import Seal, SealBroken, SealedDelivery

GROUPS = """
    select provider, reason, sum(count)::bigint as refused, count(sealed_bytes) as kept,
           count(sealed_bytes) filter (where replayed_at is null) as open,
           coalesce(sum(sealed_bytes), 0)::bigint as kept_bytes, count(distinct remote) as senders,
           (array_agg(remote order by received_at desc))[1] as last_sender,
           min(received_at) as first_at, max(received_at) as last_at
    from webhook_rejects
    group by provider, reason
    order by last_at desc
"""

OPEN = """
    select id, sealed, received_at
    from webhook_rejects
    where provider = $1 and sealed is not null and replayed_at is null and id > $2
      and received_at > now() - $3::interval
    order by id
    limit $4
"""

MARK = "update webhook_rejects set replayed_at = now() where id = any($1::uuid[])"

STEP = 200
"""Deliveries in one transaction."""

FIRST = UUID(int=0)

UNREADABLE = "unreadable"
"""Sealed with another key: cannot be verified any more."""


@dataclass(frozen=True, slots=True)
class RejectGroup:
    """Refused deliveries of one provider for one reason, as long as they are remembered."""

    provider: str
    reason: str
    refused: int
    kept: int
    """Of these, kept for replay."""
    open: int
    """Kept and not replayed yet."""
    kept_bytes: int
    senders: int
    last_sender: str
    first_at: datetime
    last_at: datetime


@dataclass(slots=True)
class Replay:
    """What replaying did, or would do."""

    looked_at: int = 0
    accepted: dict[str, int] = field(default_factory=dict)
    """Good ones, by what became of them in the inbox; `good` in a dry run."""
    refused: dict[str, int] = field(default_factory=dict)
    """Those that are still not good, by reason."""

    def count_accepted(self, outcome: str) -> None:
        """Count one good delivery."""
        self.accepted[outcome] = self.accepted.get(outcome, 0) + 1

    def count_refused(self, reason: str) -> None:
        """Count one that stays refused."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


async def reject_groups(connection: Connection) -> list[RejectGroup]:
    """Refused deliveries by provider and reason, latest first. Any role that may read them."""
    return [RejectGroup(**row) for row in await connection.fetch(GROUPS)]


async def replay(
    connection: Connection,
    seal: Seal,
    provider: Provider,
    keys: Sequence[str],
    *,
    since: timedelta,
    dry_run: bool = False,
) -> Replay:
    """Verify kept deliveries of the last `since` again and accept the good ones. Needs the setup role.

    Each step is committed by itself: a replay that dies has lost nothing and can be run again. Raises asyncpg's errors.
    """
    result = Replay()
    after = FIRST
    while rows := await connection.fetch(OPEN, provider.value, after, since, STEP):
        after = rows[-1]["id"]
        good: list[tuple[UUID, Delivery]] = []
        for row in rows:
            result.looked_at += 1
            judged = judge(seal, provider, keys, row["sealed"], row["received_at"])
            if isinstance(judged, Delivery):
                good.append((row["id"], judged))
            else:
                result.count_refused(judged)
        if dry_run:
            for _ in good:
                result.count_accepted("good")
        elif good:
            async with connection.transaction():
                outcomes: list[Stored] = await store(connection, [delivery for _, delivery in good])
                await connection.execute(MARK, [reject_id for reject_id, _ in good])
            for outcome in outcomes:
                result.count_accepted(outcome)
    return result


def judge(seal: Seal, provider: Provider, keys: Sequence[str], sealed: bytes, received_at: datetime) -> Delivery | str:
    """The delivery if it is good with these keys, else why not."""
    try:
        opened = seal.open(provider, sealed)
    except SealBroken:
        return UNREADABLE
    headers = wire_headers(opened)
    reason: RejectReason | None
    if provider is Provider.RETELL:
        received_ms = round(received_at.timestamp() * 1000)
        reason = retell_signature.verify(opened.body, headers, keys, received_ms)
    else:
        reason = calcom_signature.verify(opened.body, headers, keys)
    if reason is not None:
        return reason
    try:
        read = retell.read_delivery if provider is Provider.RETELL else calcom.read_delivery
        return read(opened.body, headers)
    except Malformed:
        return RejectReason.MALFORMED


def wire_headers(opened: SealedDelivery) -> list[tuple[bytes, bytes]]:
    """The kept headers as they came over the wire."""
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in opened.headers.items()]
