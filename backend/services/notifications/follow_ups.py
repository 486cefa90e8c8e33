"""Follow-ups: what a customer is told when something happens to an appointment.

A trigger (migration 0010) puts a job in with each event of which the company wants its customers to be told. Of
several changes in a row only the last is told: the job of an earlier one finds that it was overtaken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.domain.vocabulary import AppointmentEvent, AppointmentStatus, NotificationKind, NotificationState
from backend.postgres.pools import Connection
from backend.services.notifications.message import Message
from backend.services.notifications.records import Told, decide, message_of, read_told

KIND_OF = {
    AppointmentEvent.BOOKED: NotificationKind.CONFIRMED,
    AppointmentEvent.CONFIRMED: NotificationKind.CONFIRMED,
    AppointmentEvent.RESTORED: NotificationKind.CONFIRMED,
    AppointmentEvent.RESCHEDULED: NotificationKind.MOVED,
    AppointmentEvent.CANCELLED: NotificationKind.CANCELLED,
    AppointmentEvent.NO_SHOW: NotificationKind.NO_SHOW,
}
"""Events that are told, and as what."""

GIVEN_UP = timedelta(hours=24)
"""A message that could not be sent for so long is not tried any more by itself."""

# What is told of a hold that was never confirmed: nothing.
_NOTE = """
    with event as (
        select e.kind, e.occurred_at,
               exists (select from appointment_events l
                       where l.company_id = $1 and l.appointment_id = $2 and l.version > $3
                         and l.kind = any ($4)) as is_overtaken,
               exists (select from appointment_events f
                       where f.company_id = $1 and f.appointment_id = $2 and f.version <= $3
                         and f.kind in ('booked', 'confirmed')) as was_promised
        from appointment_events e
        where e.company_id = $1 and e.appointment_id = $2 and e.version = $3
    ), noted as (
        insert into notifications as known (company_id, appointment_id, kind, occasion)
        select $1, $2, ($5::jsonb) ->> event.kind, $3 from event where event.kind = any ($4)
        on conflict (company_id, appointment_id, kind, occasion) do update set kind = known.kind
        returning id, kind, state, created_at
    )
    select noted.*, event.kind as event, event.occurred_at, is_overtaken, was_promised
    from noted, event
"""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A message that is to be sent, and the notification that it belongs to."""

    notification_id: UUID
    message: Message
    give_up_at: datetime


async def due_follow_up(
    connection: Connection, company_id: UUID, appointment_id: UUID, version: int, now: datetime, *, sender: str
) -> FollowUp | None:
    """What is to be told of an appointment's version; None when it is settled, or is dropped by this.

    Two round trips in the company's transaction, which is to be committed before sending; to be asked right before it.
    """
    names = [event.value for event in KIND_OF]
    kinds = "{" + ", ".join(f'"{event}": "{kind}"' for event, kind in KIND_OF.items()) + "}"
    row = await connection.fetchrow(_NOTE, company_id, appointment_id, version, names, kinds)
    if row is None or row["state"] in {NotificationState.SENT, NotificationState.DROPPED}:
        return None
    told = await read_told(connection, company_id, appointment_id)
    assert told is not None  # its event is there
    kind = NotificationKind(row["kind"])
    why_not = ""
    if row["is_overtaken"]:
        why_not = "overtaken by a later change"
    elif not row["was_promised"]:
        why_not = "it was never confirmed"
    elif not told.email and not told.phone:
        why_not = "neither e-mail address nor phone number"
    else:
        why_not = _no_use(kind, told, now)
    if why_not:
        await decide(connection, company_id, row["id"], NotificationState.DROPPED, detail=why_not)
        return None
    message = message_of(kind, version, told, row["created_at"], sender)
    return FollowUp(row["id"], message, row["created_at"] + GIVEN_UP)


def _no_use(kind: NotificationKind, told: Told, now: datetime) -> str:
    """Why the message is of no use; empty when it is."""
    if kind is NotificationKind.NO_SHOW:
        return "" if told.status is AppointmentStatus.NO_SHOW else f"the appointment is {told.status}"
    return "the appointment is over" if told.facts.ends_at <= now else ""
