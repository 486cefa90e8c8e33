"""Alternatives to a slot that could not be had: asked for once, however many lose the same race."""

from __future__ import annotations

from datetime import datetime

from backend.domain.availability import Slot
from backend.postgres.pools import Connection
from backend.services.booking.availability import AvailabilityRequest, NotOffered, alternatives
from backend.services.booking.calendar_rules import Place
from backend.services.coalescing import Coalesced

_asked: Coalesced[tuple[Slot, ...]] = Coalesced()


async def alternatives_near(
    connection: Connection, place: Place, staff: str | None, wanted: datetime, asked_at: datetime
) -> tuple[Slot, ...]:
    """At most three slots near `wanted`, best first; none when the service is not offered. Raises asyncpg errors.

    One round trip, or none while somebody else waits for the same answer. They are only named: booking one of them
    asks the database again.
    """
    request = AvailabilityRequest(
        company_id=place.company_id,
        service=place.service,
        now=asked_at,
        branch=place.branch,
        called_branch_id=place.called_branch_id,
        staff=staff,
    )

    async def ask() -> tuple[Slot, ...]:
        try:
            return await alternatives(connection, request, wanted)
        except NotOffered:
            return ()

    found, _ = await _asked.ask((place, staff, wanted), ask)
    return found
