"""What is known about an appointment's booking at Cal.com, read and written; see migration 0009 for the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import AppointmentStatus, CalendarState
from backend.postgres.pools import Connection
from backend.services.companies.declarations import CalcomRules

NOT_THERE = frozenset({AppointmentStatus.HELD, AppointmentStatus.CANCELLED})
"""Statuses of an appointment that its calendar does not show."""

_READ = """
    select a.id, a.version, a.status, a.starts_at, a.time_zone, a.starts_at <= now() as has_begun,
           coalesce(nullif(a.attendee_name, ''), nullif(concat_ws(' ', c.first_name, c.last_name), ''))
               as attendee_name,
           coalesce(nullif(a.attendee_email, ''), nullif(c.email, '')) as attendee_email,
           coalesce(nullif(a.attendee_phone, ''), c.phone) as attendee_phone,
           company.name as company_name, company.locale, company.settings -> 'calcom' as rules,
           coalesce(o.calcom_event_type_id, s.calcom_event_type_id) as event_type_id,
           k.wanted_version, k.attempts, coalesce(k.uid, a.provider_booking_uid) as uid, k.asked_for, k.asked_of,
           clock_timestamp() - k.asked_at as asked_ago, clock_timestamp() as read_at
    from calendar_sync k
    join appointments a on a.company_id = k.company_id and a.id = k.appointment_id
    join companies company on company.id = a.company_id
    join services s on s.company_id = a.company_id and s.id = a.service_id
    left join staff_services o
         on o.company_id = a.company_id and o.service_id = a.service_id and o.staff_id = a.staff_id
    left join customers c on c.company_id = a.company_id and c.id = a.customer_id
    where k.company_id = $1 and k.appointment_id = $2
"""

_ASK = """
    update calendar_sync
    set asked_at = clock_timestamp(), asked_for = $3, asked_of = $4, uid = coalesce($6, uid),
        earlier_uids = case when $5::text is null or $5 = any (earlier_uids) then earlier_uids
                            else earlier_uids || $5::text end
    where company_id = $1 and appointment_id = $2
"""

_UNLINK = """
    update appointments set provider_booking_uid = null
    where company_id = $1 and id = $2 and provider_booking_uid = $3
"""

_LINK = """
    update appointments set provider_booking_uid = $3
    where company_id = $1 and id = $2 and provider_booking_uid is distinct from $3
"""

_NOTE = """
    update calendar_sync
    set attempts = attempts + $4, last_error = $3, last_at = clock_timestamp(),
        asked_at = case when not $5 then asked_at end, asked_for = case when not $5 then asked_for end,
        asked_of = case when not $5 then asked_of end
    where company_id = $1 and appointment_id = $2
"""

_SETTLE = """
    update calendar_sync
    set state = case when wanted_version > $3 then 'pending' else $4 end,
        synced_version = case when $4 = 'failed' then synced_version else $5 end,
        uid = coalesce($6, uid), event_type_id = coalesce($7, event_type_id),
        earlier_uids = case when uid is null or $6 is null or uid = $6 or uid = any (earlier_uids) then earlier_uids
                            else earlier_uids || uid end,
        asked_at = case when not $9 then asked_at end, asked_for = case when not $9 then asked_for end,
        asked_of = case when not $9 then asked_of end,
        attempts = 0, last_error = $8, last_at = clock_timestamp(),
        synced_at = case when $4 = 'synced' then clock_timestamp() else synced_at end,
        round = round + case when wanted_version > $3 then 0 else 1 end
    where company_id = $1 and appointment_id = $2
    returning wanted_version > $3 as more
"""

_RETRY = """
    select k.company_id, array_agg(k.appointment_id) as appointments, array_agg(k.wanted_version) as versions
    from calendar_sync k
    where k.company_id = $1 and (k.appointment_id = any ($2::uuid[]) or $3 and k.state = 'failed')
    group by k.company_id
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An appointment as its calendar has to show it, and what is known of that calendar."""

    appointment_id: UUID
    version: int
    wanted_version: int
    status: AppointmentStatus
    starts_at: datetime
    time_zone: str
    has_begun: bool
    attendee_name: str | None
    attendee_email: str | None
    attendee_phone: str | None
    company_name: str
    locale: str
    rules: CalcomRules
    event_type_id: int | None
    uid: str | None
    """The booking, as far as is known."""
    asked_for: datetime | None
    """Something was asked for, and what became of it is not known: the start of the booking that it would make."""
    asked_of: int | None
    """Its event type."""
    asked_ago: timedelta | None
    attempts: int
    read_at: datetime
    """By the database's clock."""

    @property
    def takes_place(self) -> bool:
        """Whether the calendar shows it."""
        return self.status not in NOT_THERE

    @property
    def has_ended(self) -> bool:
        """Whether somebody said how it ended; then nothing moves it any more."""
        return self.status in {AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW}


async def read_wanted(connection: Connection, company_id: UUID, appointment_id: UUID) -> Wanted | None:
    """What has to be pushed, in the company's transaction; None when this appointment is not synced at all."""
    row = await connection.fetchrow(_READ, company_id, appointment_id)
    if row is None:
        return None
    rules = msgspec.json.decode(row["rules"], type=CalcomRules) if row["rules"] else CalcomRules()
    found = {name: row[name] for name in Wanted.__slots__ if name not in {"appointment_id", "rules", "status"}}
    return Wanted(appointment_id=row["id"], rules=rules, status=AppointmentStatus(row["status"]), **found)


async def note_asking(
    connection: Connection,
    company_id: UUID,
    appointment_id: UUID,
    *,
    starts_at: datetime,
    event_type_id: int,
    uid: str | None = None,
    gives_up: str | None = None,
) -> None:
    """Note, before it is asked for, that a change is: whoever comes after a crash then looks what became of it.

    `uid`: the booking that the appointment has, also when it was only just found: it must be found again whatever
    happens. `gives_up`: the one that is cancelled; what the provider tells about it from now on is no news. Here as in
    `settle` the appointment is locked before its sync row, as by those who change appointments.
    """
    if gives_up is not None:
        await connection.execute(_UNLINK, company_id, appointment_id, gives_up)
    await connection.execute(_ASK, company_id, appointment_id, starts_at, event_type_id, gives_up, uid)


async def note_failure(
    connection: Connection, company_id: UUID, appointment_id: UUID, error: str, *, counts: bool, forgets: bool
) -> None:
    """Note why it was not pushed. `forgets`: what was asked for was certainly not done."""
    await connection.execute(_NOTE, company_id, appointment_id, error[:1000], 1 if counts else 0, forgets)


async def settle(
    connection: Connection,
    company_id: UUID,
    wanted: Wanted,
    state: CalendarState,
    *,
    uid: str | None = None,
    event_type_id: int | None = None,
    error: str | None = None,
    forgets: bool = True,
) -> bool:
    """Note how pushing ended; True when the appointment has changed meanwhile, so that there is more to push.

    `forgets`: nothing that was asked for can still happen.
    Locks the appointment before its sync row, as those do who change appointments.
    """
    if uid is not None:
        await connection.execute(_LINK, company_id, wanted.appointment_id, uid if wanted.takes_place else None)
    more: bool | None = await connection.fetchval(
        _SETTLE,
        company_id,
        wanted.appointment_id,
        wanted.wanted_version,
        state.value,
        wanted.version,
        uid,
        event_type_id,
        None if error is None else error[:1000],
        forgets,
    )
    return bool(more)


async def push_again(
    connection: Connection, company_id: UUID, appointments: Sequence[UUID] = (), *, all_failed: bool = False
) -> int:
    """Push these appointments again, or all that failed, in the company's transaction; how many are."""
    row = await connection.fetchrow(_RETRY, company_id, list(appointments), all_failed)
    if row is None:
        return 0
    pushed: int = await connection.fetchval(
        "select push_to_calendar($1, $2, $3)", company_id, row["appointments"], row["versions"]
    )
    return pushed
