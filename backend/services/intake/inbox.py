"""The webhook inbox: verified deliveries go in together with the jobs that will fold them, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

import msgspec

from backend.domain.vocabulary import InboxState, Provider
from backend.postgres.pools import Connection
from backend.providers.delivery import Delivery
from backend.queue.port import JobQueue, NewJob

ENTRYPOINTS: dict[str, str] = {
    Provider.RETELL: "webhooks.retell_call",
    Provider.CALCOM: "webhooks.calcom_booking",
}
"""The job type that takes up a provider's deliveries."""

STORE = "select ord, state from intake_accept($1, $2)"

RELEASE = "select inbox_id, provider, subject, company_id from intake_release($1)"

_json = msgspec.json.Encoder().encode


class Stored(StrEnum):
    """What became of a delivery in the inbox."""

    ACCEPTED = InboxState.ACCEPTED.value
    QUARANTINED = InboxState.QUARANTINED.value
    IGNORED = InboxState.IGNORED.value
    DUPLICATE = "duplicate"
    """It was there before: nothing was changed."""


class Item(msgspec.Struct, frozen=True):
    """One delivery as `intake_accept` takes it."""

    ord: int
    provider: str
    key: str
    event: str
    subject: str
    dialled: str | None
    agent: str | None
    headers: dict[str, str]
    job: str
    start: int
    size: int


def job_for(provider: str, inbox_id: UUID, subject: str, company_id: UUID) -> NewJob:
    """The job that folds one delivery; its payload is `{"inbox_id", "subject"}`."""
    return NewJob(
        entrypoint=ENTRYPOINTS[provider],
        payload=_json({"inbox_id": str(inbox_id), "subject": subject}),
        company_id=company_id,
    )


async def store(connection: Connection, deliveries: Sequence[Delivery]) -> list[Stored]:
    """Put deliveries and their jobs in, all or none, with one statement; what became of each, in order.

    Outside a transaction the deliveries are committed on return. Of deliveries with one key among them the first
    counts. Raises asyncpg's errors.
    """
    items: list[Item] = []
    bodies: list[bytes] = []
    keys: set[tuple[str, str]] = set()
    start = 1
    for position, delivery in enumerate(deliveries):
        key = (delivery.provider, delivery.dedup_key)
        if key in keys:
            continue
        keys.add(key)
        size = len(delivery.body)
        items.append(
            Item(
                ord=position,
                provider=delivery.provider,
                key=delivery.dedup_key,
                event=delivery.event,
                subject=delivery.subject,
                dialled=delivery.dialled,
                agent=delivery.agent,
                headers=delivery.headers,
                job=ENTRYPOINTS[delivery.provider],
                start=start,
                size=size,
            )
        )
        bodies.append(delivery.body)
        start += size
    rows = await connection.fetch(STORE, _json(items).decode(), b"".join(bodies))
    outcomes = [Stored.DUPLICATE] * len(deliveries)
    for position, state in rows:
        outcomes[position] = Stored(state)
    return outcomes


async def release(connection: Connection, queue: JobQueue, *, at_most: int = 500) -> int:
    """Give quarantined deliveries whose number or agent is known by now to their tenants, with their jobs.

    Works in the caller's transaction, oldest first; returns how many were released. Raises asyncpg's errors.
    """
    rows = await connection.fetch(RELEASE, at_most)
    await queue.enqueue(
        connection, [job_for(row["provider"], row["inbox_id"], row["subject"], row["company_id"]) for row in rows]
    )
    return len(rows)
