"""Reminders: 24 hours, 2 hours and 30 minutes before an appointment, as elapsed time whatever the clocks do.

Nothing is planned ahead. A sweep looks for pending and confirmed appointments whose moment has come, so a reminder
moves with its appointment and a cancelled one gets none by construction. A reminder is owed when its time was set
before its moment: whoever books, or moves, later than that knows it by heart. It is of use for a while only; after an
outage that was longer it is dropped. Before it is sent the appointment is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.domain.vocabulary import AppointmentStatus, NotificationKind, NotificationState
from backend.postgres.pools import Connection
from backend.services.notifications.message import Message
from backend.services.notifications.records import decide, message_of, read_told


@dataclass(frozen=True, slots=True)
class ReminderRule:
    """One kind of reminder."""

    kind: NotificationKind
    word: str
    """As companies write it."""
    lead: timedelta
    """How long before the start it is due."""
    useful: timedelta
    """It is not sent any more when the start is so near."""


RULES: tuple[ReminderRule, ...] = (
    ReminderRule(NotificationKind.REMINDER_24H, "24h", timedelta(hours=24), timedelta(hours=18)),
    ReminderRule(NotificationKind.REMINDER_2H, "2h", timedelta(hours=2), timedelta(hours=1)),
    ReminderRule(NotificationKind.REMINDER_30MIN, "30min", timedelta(minutes=30), timedelta(minutes=15)),
)

RULE_OF = {rule.kind: rule for rule in RULES}

AT_MOST = 500
"""Reminders of each kind that one transaction settles."""

LATE = "its time was set after the reminder's moment"

TO_REMIND = "select * from companies_to_remind($1, $2, $3, $4)"

# Those of each kind whose moment has come and that were not settled: by (company, status, starts_at), a few hours of
# them. What is not owed is noted as well, so that the next sweep passes over it.
SETTLE = """
    with kinds as materialized (
        select k.* from unnest($2::text[], $3::integer[], $4::integer[]) as k (word, lead_s, useful_s)
        where company_reminds((select settings from companies where id = $1)) ? k.word
    ), reached as materialized (
        select k.word, k.lead_s, a.*
        from kinds k
        cross join lateral (
            select a.id, a.starts_at, a.created_at from appointments a
            where a.company_id = $1 and a.status in ('pending', 'confirmed')
              and a.starts_at > $5::timestamptz + make_interval(secs => k.useful_s)
              and a.starts_at <= $5::timestamptz + make_interval(secs => k.lead_s)
              and not exists (
                  select from notifications n
                  where n.company_id = $1 and n.appointment_id = a.id and n.kind = 'reminder_' || k.word
                    and n.occasion = extract(epoch from a.starts_at)::bigint)
            order by a.starts_at
            limit $6
        ) a
    ), judged as (
        select r.*, coalesce((
                   select max(e.occurred_at) from appointment_events e
                   where e.company_id = $1 and e.appointment_id = r.id
                     and e.kind in ('booked', 'confirmed', 'rescheduled', 'restored')), r.created_at)
               <= r.starts_at - make_interval(secs => r.lead_s) as is_owed
        from reached r
    ), settled as (
        insert into notifications (company_id, appointment_id, kind, occasion, state, detail, created_at, decided_at)
        select $1, j.id, 'reminder_' || j.word, extract(epoch from j.starts_at)::bigint,
               case when j.is_owed then 'waiting' else 'dropped' end, case when j.is_owed then '' else $7 end,
               $5, case when j.is_owed then null else $5 end
        from judged j
        order by j.id, j.word
        on conflict (company_id, appointment_id, kind, occasion) do nothing
        returning id, state
    )
    select (select count(*) from reached) as reached,
           array(select id from settled where state = 'waiting' order by id) as owed
"""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one look at a company's appointments led to."""

    owed: tuple[UUID, ...]
    """Notifications that are to be sent, noted in the transaction."""
    is_complete: bool
    """False: there is more; look again."""


def _figures() -> tuple[list[str], list[int], list[int]]:
    return (
        [rule.word for rule in RULES],
        [int(rule.lead.total_seconds()) for rule in RULES],
        [int(rule.useful.total_seconds()) for rule in RULES],
    )


async def companies_to_remind(connection: Connection, now: datetime) -> Sequence[UUID]:
    """The companies with something to settle: one round trip for all of them, however many there are."""
    return [row[0] for row in await connection.fetch(TO_REMIND, *_figures(), now)]


async def sweep(connection: Connection, company_id: UUID, now: datetime) -> Sweep:
    """Note the reminders whose moment has come by `now` (aware): one round trip in the company's transaction."""
    row = await connection.fetchrow(SETTLE, company_id, *_figures(), now, AT_MOST, LATE)
    assert row is not None
    return Sweep(tuple(row["owed"]), row["reached"] < AT_MOST)


_NOTED = """
    select appointment_id, kind, occasion, state, created_at from notifications
    where company_id = $1 and id = $2
    for no key update
"""


async def due_reminder(
    connection: Connection, company_id: UUID, notification_id: UUID, now: datetime, *, sender: str
) -> Message | None:
    """The message of a reminder that is still owed at `now`; None when it is settled, or is dropped by this.

    Two round trips in the company's transaction; to be asked right before sending.
    """
    row = await connection.fetchrow(_NOTED, company_id, notification_id)
    if row is None or row["state"] in {NotificationState.SENT, NotificationState.DROPPED}:
        return None
    rule = RULE_OF[NotificationKind(row["kind"])]
    told = await read_told(connection, company_id, row["appointment_id"])
    why_not = ""
    if told is None or told.status not in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}:
        why_not = f"the appointment is {told.status if told else 'gone'}"
    elif int(told.facts.starts_at.timestamp()) != row["occasion"]:
        why_not = "the appointment was moved"
    elif told.set_at > told.facts.starts_at - rule.lead:
        why_not = LATE
    elif now >= told.facts.starts_at - rule.useful:
        why_not = "too late to be of use"
    elif not told.email and not told.phone:
        why_not = "neither e-mail address nor phone number"
    if told is None or why_not:
        await decide(connection, company_id, notification_id, NotificationState.DROPPED, detail=why_not)
        return None
    return message_of(rule.kind, row["occasion"], told, row["created_at"], sender)
