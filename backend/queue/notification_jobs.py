"""Jobs that tell people something: reminders, follow-ups, callbacks that are overdue.

A message is read and checked in one transaction, sent outside of any, and noted in another. A worker that dies between
sending and noting sends it again, with the same key: better told twice than not at all, and mailboxes fold the two.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import NotificationState
from backend.queue.context import JobContext
from backend.queue.failures import Later, Permanent
from backend.queue.port import JobQueue, NewJob
from backend.services import housekeeping
from backend.services.callbacks import desk as callback_desk
from backend.services.notifications.channel import Busy, Channel, Refused, Unreachable
from backend.services.notifications.follow_ups import due_follow_up
from backend.services.notifications.message import Message
from backend.services.notifications.records import decide, note
from backend.services.notifications.reminders import companies_to_remind, due_reminder, sweep

REMINDERS_DUE = "default.reminders_due"
REMINDER = "notifications.reminder"
FOLLOW_UP = "notifications.follow_up"
CALLBACKS_OVERDUE = "default.callbacks_overdue"
CALLBACK_OVERDUE = "notifications.callback_overdue"

FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
"""Between two tries of a message that the channel cannot take now: half its age, within these."""

queue = JobQueue()


class ReminderDue(msgspec.Struct, frozen=True):
    """Payload of a reminder's job."""

    notification_id: UUID


class Happened(msgspec.Struct, frozen=True):
    """Payload of a follow-up's job, as the trigger on events writes it."""

    appointment_id: UUID
    version: int


class Overdue(msgspec.Struct, frozen=True):
    """Payload of the job that tells a company of its overdue callbacks."""

    callback_ids: list[UUID]


async def reminders_due(context: JobContext) -> None:
    """Put a job in for each reminder whose moment has come."""
    now = datetime.now(UTC)
    async with context.housekeeping() as connection:
        companies = await companies_to_remind(connection, now)
    for company_id in companies:
        is_complete = False
        while not is_complete:
            async with context.tenant(company_id) as connection:
                swept = await sweep(connection, company_id, now)
                await queue.enqueue(
                    connection,
                    [
                        NewJob(
                            REMINDER,
                            msgspec.json.encode(ReminderDue(notification_id)),
                            company_id,
                            dedupe_key=f"reminder:{notification_id}",
                        )
                        for notification_id in swept.owed
                    ],
                )
            is_complete = swept.is_complete


async def remind(context: JobContext) -> None:
    """Send a reminder, unless it is no longer owed."""
    due = context.read(ReminderDue)
    channel = context.channel
    if channel is None:
        return
    now = datetime.now(UTC)
    async with context.tenant() as connection:
        message = await due_reminder(connection, context.company_id, due.notification_id, now, sender=channel.sender)
    if message is not None:
        # When it stops being of use, the next try finds that.
        await _deliver(context, channel, due.notification_id, message, give_up_at=None)


async def follow_up(context: JobContext) -> None:
    """Tell the customer what happened to their appointment, unless something else happened since."""
    happened = context.read(Happened)
    channel = context.channel
    if channel is None:
        return
    now = datetime.now(UTC)
    async with context.tenant() as connection:
        due = await due_follow_up(
            connection, context.company_id, happened.appointment_id, happened.version, now, sender=channel.sender
        )
    if due is not None:
        await _deliver(context, channel, due.notification_id, due.message, give_up_at=due.give_up_at)


async def callbacks_overdue(context: JobContext) -> None:
    """Mark callbacks that are overdue, once; tell the companies that want to know."""
    now = datetime.now(UTC)
    async with context.housekeeping() as connection:
        companies = await housekeeping.companies(connection)
    for company_id in companies:
        async with context.tenant(company_id) as connection:
            escalated = await callback_desk.escalate(connection, company_id, now)
            if escalated.ids and escalated.email:
                payload = msgspec.json.encode(Overdue(list(escalated.ids)))
                await queue.enqueue(connection, [NewJob(CALLBACK_OVERDUE, payload, company_id)])
        if escalated.ids:
            context.changed("appointments")


async def tell_overdue(context: JobContext) -> None:
    """Tell a company which callbacks are overdue; those that were settled meanwhile are left out."""
    overdue = context.read(Overdue)
    if context.channel is None:
        return
    async with context.tenant() as connection:
        message = await callback_desk.overdue_message(connection, context.company_id, overdue.callback_ids)
    if message is not None:
        await _hand_over(context.channel, message, give_up_at=message.day + timedelta(hours=24))


async def _deliver(
    context: JobContext, channel: Channel, notification_id: UUID, message: Message, *, give_up_at: datetime | None
) -> None:
    """Send a message and note what became of it. Raises Later, Permanent."""
    state, detail = NotificationState.SENT, ""
    try:
        detail = await _hand_over(channel, message, give_up_at=give_up_at)
    except Unreachable as failure:
        state, detail = NotificationState.DROPPED, str(failure)
    except (Later, Permanent) as failure:
        async with context.tenant() as connection:
            if isinstance(failure, Permanent):
                await decide(
                    connection,
                    context.company_id,
                    notification_id,
                    NotificationState.REFUSED,
                    channel=channel.name,
                    detail=str(failure),
                )
            else:
                await note(connection, context.company_id, notification_id, channel=channel.name, detail=str(failure))
        raise
    async with context.tenant() as connection:
        await decide(connection, context.company_id, notification_id, state, channel=channel.name, detail=detail)
    context.changed("appointments")


async def _hand_over(channel: Channel, message: Message, *, give_up_at: datetime | None) -> str:
    """The channel's answer. Raises Later while another try is worth it, then Permanent; Unreachable."""
    try:
        return await channel.send(message)
    except Refused as failure:
        raise Permanent(str(failure)) from failure
    except Busy as failure:
        now = datetime.now(UTC)
        if give_up_at is not None and now >= give_up_at:
            raise Permanent(f"given up: {failure}") from failure
        age_s = (now - message.day).total_seconds()
        raise Later(min(max(age_s / 2, FIRST_WAIT_S), LONGEST_WAIT_S), str(failure)) from failure
