"""What is known of a notification: its row, and everything that its message tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.domain.email_addresses import usable_address
from backend.domain.vocabulary import AppointmentStatus, NotificationKind, NotificationState
from backend.postgres.pools import Connection
from backend.services.notifications.calendar_file import CalendarEvent, Method, calendar_object
from backend.services.notifications.message import Mailbox, Message, fit
from backend.services.notifications.wording import Facts, language_of, place, subject, text

LONGEST = 200
"""Characters of any name in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An appointment as it is now, with all that a message about it may tell."""

    appointment_id: UUID
    version: int
    status: AppointmentStatus
    changed_at: datetime
    """When the newest version came about."""
    set_at: datetime
    """When it was last booked, confirmed, moved or restored: since then its time is what it is."""
    locale: str
    facts: Facts
    email: str
    phone: str
    sender_name: str
    reply_to: str


# When the time was set: the newest of the events that set it; for an appointment without any (imported), its creation.
_TOLD = """
    select a.id, a.version, a.status, a.updated_at, a.starts_at, a.ends_at, a.time_zone, a.attendee_name,
           a.attendee_email, a.attendee_phone, c.name as company, c.locale,
           c.settings #>> '{notifications,sender_name}' as sender_name,
           c.settings #>> '{notifications,reply_to}' as reply_to,
           b.name as branch, b.address, s.name as service, s.cancel_hours, s.cancel_fee_cents, p.name as staff,
           (select min(number) from phone_numbers n where n.company_id = $1 and n.branch_id = a.branch_id) as number,
           coalesce((
               select max(e.occurred_at) from appointment_events e
               where e.company_id = $1 and e.appointment_id = a.id
                 and e.kind in ('booked', 'confirmed', 'rescheduled', 'restored')), a.created_at) as set_at
    from appointments a
    join companies c on c.id = a.company_id
    join branches b on b.company_id = a.company_id and b.id = a.branch_id
    join services s on s.company_id = a.company_id and s.id = a.service_id
    join staff p on p.company_id = a.company_id and p.id = a.staff_id
    where a.company_id = $1 and a.id = $2
"""

_DECIDE = """
    update notifications set state = $3, channel = $4, detail = left($5, 500), decided_at = clock_timestamp()
    where company_id = $1 and id = $2 and state in ('waiting', 'refused')
"""


_NOTE = """
    update notifications set channel = $3, detail = left($4, 500)
    where company_id = $1 and id = $2 and state = 'waiting'
"""


async def read_told(connection: Connection, company_id: UUID, appointment_id: UUID) -> Told | None:
    """The appointment; None when there is none. One round trip in the company's transaction."""
    row = await connection.fetchrow(_TOLD, company_id, appointment_id)
    if row is None:
        return None
    facts = Facts(
        customer=fit(row["attendee_name"], LONGEST),
        company=fit(row["company"], LONGEST),
        branch=fit(row["branch"], LONGEST),
        address=fit(row["address"], LONGEST),
        phone=row["number"] or "",
        service=fit(row["service"], LONGEST),
        staff=fit(row["staff"], LONGEST),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        time_zone=row["time_zone"],
        cancel_hours=row["cancel_hours"],
        cancel_fee_cents=row["cancel_fee_cents"],
    )
    return Told(
        appointment_id=row["id"],
        version=row["version"],
        status=AppointmentStatus(row["status"]),
        changed_at=row["updated_at"],
        set_at=row["set_at"],
        locale=row["locale"],
        facts=facts,
        email=usable_address(row["attendee_email"] or "") or "",
        phone=row["attendee_phone"] or "",
        sender_name=row["sender_name"] or facts.company,
        reply_to=row["reply_to"] or "",
    )


_METHODS: dict[NotificationKind, Method] = {
    NotificationKind.CONFIRMED: "REQUEST",
    NotificationKind.MOVED: "REQUEST",
    NotificationKind.CANCELLED: "CANCEL",
}
"""Kinds after which the customer's calendar has to change."""


def message_of(kind: NotificationKind, occasion: int, told: Told, came_about: datetime, sender: str) -> Message:
    """The message. `came_about` is when its notification was made, `sender` the address that e-mails come from."""
    language = language_of(told.locale)
    method = _METHODS.get(kind)
    calendar = ""
    if method is not None:
        event = CalendarEvent(
            appointment_id=told.appointment_id,
            version=told.version,
            changed_at=told.changed_at,
            starts_at=told.facts.starts_at,
            ends_at=told.facts.ends_at,
            summary=f"{told.facts.service}, {told.facts.company}",
            description=told.facts.staff,
            location=place(told.facts),
            organizer_name=told.sender_name,
            organizer=told.reply_to or sender,
            attendee_name=told.facts.customer,
            attendee=told.email,
        )
        calendar = calendar_object(event, method)
    return Message(
        key=f"{kind}-{told.appointment_id}-{occasion}",
        day=came_about,
        sender_name=told.sender_name,
        reply_to=told.reply_to,
        to=Mailbox(told.facts.customer, told.email),
        phone=told.phone,
        language=language,
        subject=subject(kind, told.facts, language),
        text=text(kind, told.facts, language),
        calendar=calendar,
        method=method or "",
    )


async def decide(
    connection: Connection,
    company_id: UUID,
    notification_id: UUID,
    state: NotificationState,
    *,
    channel: str = "",
    detail: str = "",
) -> None:
    """Note what became of a notification; one that was sent or dropped stays so."""
    clean = detail.replace("\0", " ")
    await connection.execute(_DECIDE, company_id, notification_id, state.value, channel, clean)


async def note(connection: Connection, company_id: UUID, notification_id: UUID, *, channel: str, detail: str) -> None:
    """Note why a notification still waits."""
    await connection.execute(_NOTE, company_id, notification_id, channel, detail.replace("\0", " "))
