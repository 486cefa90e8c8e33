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

STORE = """
    select ord, inbox_id, company_id, state
    from intake_accept($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])
"""

RELEASE = "select inbox_id, provider, subject, company_id from intake_release($1)"

_json = msgspec.json.Encoder().encode


class Stored(StrEnum):
    """What became of a delivery in the inbox."""

    ACCEPTED = InboxState.ACCEPTED.value
    QUARANTINED = InboxState.QUARANTINED.value
    IGNORED = InboxState.IGNORED.value
    DUPLICATE = "duplicate"
    """It was there before: nothing was changed."""


def job_for(provider: str, inbox_id: UUID, subject: str, company_id: UUID) -> NewJob:
    """The job that folds one delivery; its payload is `{"inbox_id", "subject"}`."""
    return NewJob(
        entrypoint=ENTRYPOINTS[provider],
        payload=_json({"inbox_id": str(inbox_id), "subject": subject}),
        company_id=company_id,
    )


async def store(connection: Connection, queue: JobQueue, deliveries: Sequence[Delivery]) -> list[Stored]:
    """Put deliveries and their jobs in, within the caller's transaction; what became of each, in order.

    Of deliveries with one key among them the first counts. Raises asyncpg's errors.
    """
    first: dict[tuple[str, str], int] = {}
    for position, delivery in enumerate(deliveries):
        first.setdefault((delivery.provider, delivery.dedup_key), position)
    fresh = [deliveries[position] for position in first.values()] if len(first) < len(deliveries) else deliveries
    rows = await connection.fetch(
        STORE,
        [delivery.provider for delivery in fresh],
        [delivery.dedup_key for delivery in fresh],
        [delivery.event for delivery in fresh],
        [delivery.subject for delivery in fresh],
        [delivery.dialled for delivery in fresh],
        [delivery.agent for delivery in fresh],
        [delivery.body for delivery in fresh],
        [_json(delivery.headers).decode() for delivery in fresh],
    )
    positions = list(first.values())
    outcomes = [Stored.DUPLICATE] * len(deliveries)
    jobs: list[NewJob] = []
    for ord_, inbox_id, company_id, state in rows:
        delivery = fresh[ord_ - 1]
        outcomes[positions[ord_ - 1]] = Stored(state)
        if state == InboxState.ACCEPTED:
            jobs.append(job_for(delivery.provider, inbox_id, delivery.subject, company_id))
    await queue.enqueue(connection, jobs)
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
