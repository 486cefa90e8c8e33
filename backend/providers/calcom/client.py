"""Cal.com's bookings (API v2): make, move, cancel, mark, look up. Every detail of the provider's interface stands here.

Each endpoint states its version in `cal-api-version`; without it Cal.com answers in an older form. A move makes a new
booking with a new uid and leaves the old one cancelled with `rescheduledToUid`. Nothing here is repeated that might
have been done: see `backend.services.calendars.sync` for how a lost answer is made good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from backend.providers.calcom.bookings import (
    APPOINTMENT_KEY,
    VERSION_KEY,
    RemoteBooking,
    read_booking,
    read_bookings,
)
from backend.providers.calling import ProviderClient, ProviderRefused

__all__ = ["APPOINTMENT_KEY", "DEFAULT_URL", "VERSION_KEY", "Attendee", "CalcomClient", "NewBooking", "RemoteBooking"]

DEFAULT_URL = "https://api.cal.com"

VERSIONS: Mapping[str, str] = {
    "create": "2024-08-13",
    "reschedule": "2024-08-13",
    "cancel": "2024-08-13",
    "mark_absent": "2024-08-13",
    "get": "2024-08-13",
    "list": "2024-08-13",
}
"""`cal-api-version` by endpoint."""

PAGE = 100
"""Bookings asked for at once; Cal.com gives at most 250."""

PAGES = 20
"""No list is read further: what is looked for lies within hours."""

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Attendee:
    """Who comes. Cal.com wants an e-mail address or a phone number."""

    name: str
    time_zone: str
    """IANA name."""
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)
    """E.164."""
    language: str = "de"


@dataclass(frozen=True, slots=True)
class NewBooking:
    """A booking to be made. Its length is the event type's."""

    event_type_id: int
    starts_at: datetime
    """Aware."""
    attendee: Attendee
    metadata: Mapping[str, str]
    """At most 50 keys of up to 40 characters, values up to 500."""
    allow_conflicts: bool = False
    """Also when the host is busy or away at the time; only a host's own key may."""


class CalcomClient:
    """Bookings in the calendars of one API key's holder. Methods raise what `ProviderClient.call` raises."""

    def __init__(self, provider: ProviderClient, api_key: str) -> None:
        self._provider = provider
        self._key = api_key

    async def create(self, booking: NewBooking) -> RemoteBooking:
        """Make a booking. Nothing keeps a second call from making a second one."""
        attendee = booking.attendee
        person: dict[str, str] = {
            "name": attendee.name,
            "timeZone": attendee.time_zone,
            "language": attendee.language,
        }
        if attendee.email is not None:
            person["email"] = attendee.email
        if attendee.phone is not None:
            person["phoneNumber"] = attendee.phone
        wish: dict[str, object] = {
            "start": _stamp(booking.starts_at),
            "eventTypeId": booking.event_type_id,
            "attendee": person,
            "metadata": dict(booking.metadata),
        }
        if booking.allow_conflicts:
            wish |= {"allowConflicts": True, "allowBookingOutOfBounds": True}
        return read_booking(await self._call("POST", "/v2/bookings", "create", json=wish))

    async def reschedule(self, uid: str, starts_at: datetime, reason: str) -> RemoteBooking:
        """Move a booking; the new one that takes its place."""
        wish = {"start": _stamp(starts_at), "reschedulingReason": reason}
        return read_booking(await self._call("POST", f"{_path(uid)}/reschedule", "reschedule", json=wish))

    async def cancel(self, uid: str, reason: str) -> None:
        """Cancel a booking."""
        await self._call("POST", f"{_path(uid)}/cancel", "cancel", json={"cancellationReason": reason})

    async def mark_absent(self, uid: str, marks: Mapping[str, bool]) -> RemoteBooking:
        """Say of attendees, by their address there, whether they did not come; the booking as it is then.

        Said again it changes nothing. Cal.com refuses it before the booking begins, and passes over addresses that
        nobody at the booking has.
        """
        wish = {"attendees": [{"email": email, "absent": is_absent} for email, is_absent in marks.items()]}
        return read_booking(await self._call("POST", f"{_path(uid)}/mark-absent", "mark_absent", json=wish))

    async def get(self, uid: str) -> RemoteBooking | None:
        """A booking by its uid; None when there is none."""
        try:
            return read_booking(await self._call("GET", _path(uid), "get"))
        except ProviderRefused as refused:
            if refused.status == NOT_FOUND:
                return None
            raise

    async def latest(self, uid: str) -> RemoteBooking | None:
        """The booking with this uid, or the last one that replaced it; None when there is none."""
        seen: set[str] = set()
        found = await self.get(uid)
        while found is not None and found.rescheduled_to and found.uid not in seen and not found.takes_place:
            seen.add(found.uid)
            following = await self.get(found.rescheduled_to)
            if following is None:
                break
            found = following
        return found

    async def between(
        self, after: datetime, before: datetime, *, event_type_id: int | None = None, statuses: str | None = None
    ) -> list[RemoteBooking]:
        """Bookings that start after and end before these instants (aware), by start.

        `statuses`: of `upcoming`, `recurring`, `past`, `cancelled`, `unconfirmed`, with commas; None: as Cal.com likes.
        """
        asked = {"afterStart": _stamp(after), "beforeEnd": _stamp(before), "sortStart": "asc", "take": str(PAGE)}
        if event_type_id is not None:
            asked["eventTypeId"] = str(event_type_id)
        if statuses is not None:
            asked["status"] = statuses
        found: dict[str, RemoteBooking] = {}
        for skip in _skips():
            answer = await self._call("GET", "/v2/bookings", "list", params={**asked, "skip": str(skip)})
            page, has_more = read_bookings(answer)
            found |= {booking.uid: booking for booking in page}
            if not has_more or not page:
                break
        return list(found.values())

    async def of_appointment(self, appointment_id: str, event_type_id: int, near: datetime) -> list[RemoteBooking]:
        """Bookings that were made for an appointment of ours and take place, starting at `near` (aware)."""
        around = await self.between(
            near - timedelta(minutes=1),
            near + timedelta(hours=25),
            event_type_id=event_type_id,
            statuses="upcoming,past,unconfirmed",
        )
        return [booking for booking in around if booking.appointment_id == appointment_id and booking.takes_place]

    async def _call(
        self,
        method: str,
        path: str,
        endpoint: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
    ) -> object:
        headers = {"cal-api-version": VERSIONS[endpoint], "accept": "application/json"}
        reply = await self._provider.call(
            method, path, endpoint=endpoint, bearer=self._key, json=json, params=params, headers=headers
        )
        return reply.json()


def _skips() -> Iterator[int]:
    return iter(range(0, PAGE * PAGES, PAGE))


def _path(uid: str) -> str:
    return f"/v2/bookings/{quote(uid, safe='')}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
