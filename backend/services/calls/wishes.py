"""The appointment that a finished call tells of, met once: by what the call holds or has booked already, else booked.

A voice agent may hold a slot during the call and hang up before it books it; the call's analysis then tells of the
booking. And whatever functions have booked in the call is what the analysis tells of, not another wish.
"""

from __future__ import annotations

from backend.domain.vocabulary import AppointmentStatus
from backend.domain.zones import instant
from backend.postgres.pools import Connection
from backend.services.booking import Booked, BookingRequest, ChangeRefused, Refused, book, confirm

_OF_CALL = """
    select a.id, a.staff_id, a.starts_at, a.ends_at, a.version, a.status, a.hold_expires_at, a.time_zone
    from appointments a
    join services s on s.company_id = a.company_id and s.id = a.service_id
    where a.company_id = $1 and a.call_id = $2 and s.slug = $3
      and (a.status in ('pending', 'confirmed') or a.status = 'held' and a.hold_expires_at > clock_timestamp())
    order by a.starts_at, a.id
"""


async def book_wish(connection: Connection, request: BookingRequest) -> Booked | Refused:
    """Confirm what the call holds at the wished time, leave what it has there, else book; as `booking.book` answers.

    In the company's transaction. Raises what `booking.book` raises.
    """
    if request.call_id is not None and request.starts_at is not None:
        await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", request.key)
        for row in await connection.fetch(_OF_CALL, request.company_id, request.call_id, request.service):
            if row["starts_at"] != instant(request.starts_at, row["time_zone"]):
                continue
            status, version = AppointmentStatus(row["status"]), row["version"]
            is_held = status is AppointmentStatus.HELD
            if is_held:
                try:
                    changed = await confirm(connection, request.company_id, row["id"], actor=request.actor)
                except ChangeRefused:
                    continue
                status, version = changed.status, changed.version
            return Booked(row["id"], row["staff_id"], row["starts_at"], row["ends_at"], version, is_held, status)
    return await book(connection, request)
