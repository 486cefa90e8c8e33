"""Alternatives to a slot that could not be had: asked for once, however many lose the same race."""

from __future__ import annotations

import asyncio
from datetime import datetime

from backend.domain.availability import Slot
from backend.postgres.pools import Connection
from backend.services.availability import AvailabilityRequest, NotOffered, alternatives
from backend.services.calendar_rules import Place

_Key = tuple[Place, str | None, datetime]
_asked: dict[_Key, asyncio.Future[tuple[Slot, ...] | None]] = {}
"""Questions that are on their way, in this process."""


async def alternatives_near(
    connection: Connection, place: Place, staff: str | None, wanted: datetime, asked_at: datetime
) -> tuple[Slot, ...]:
    """At most three slots near `wanted`, best first; none when the service is not offered. Raises asyncpg errors.

    One round trip, or none while somebody else waits for the same answer. They are only named: booking one of them
    asks the database again.
    """
    key = (place, staff, wanted)
    pending = _asked.get(key)
    if pending is not None and pending.get_loop() is asyncio.get_running_loop():
        found = await asyncio.shield(pending)
        if found is not None:
            return found
    mine: asyncio.Future[tuple[Slot, ...] | None] = asyncio.get_running_loop().create_future()
    _asked[key] = mine
    answer: tuple[Slot, ...] | None = None
    try:
        answer = await alternatives(connection, _request(place, staff, asked_at), wanted)
    except NotOffered:
        answer = ()
    finally:
        if _asked.get(key) is mine:
            del _asked[key]
        mine.set_result(answer)
    return answer


def _request(place: Place, staff: str | None, asked_at: datetime) -> AvailabilityRequest:
    return AvailabilityRequest(
        company_id=place.company_id,
        service=place.service,
        now=asked_at,
        branch=place.branch,
        called_branch_id=place.called_branch_id,
        staff=staff,
    )
