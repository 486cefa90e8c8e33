"""How far calendars at Cal.com have got, and pushing again what an operator names; across companies."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from backend.postgres.pools import Connection


class CompanyCalendars(msgspec.Struct, frozen=True):
    """One company's appointments by state of their calendar."""

    company: str
    syncs: bool
    """Whether it declares that it writes to Cal.com."""
    pending: int
    synced: int
    failed: int
    off: int
    oldest_s: float | None
    """How long the oldest of the pending ones has been waiting."""


class OpenAppointment(msgspec.Struct, frozen=True):
    """An appointment that is pending or was refused."""

    appointment: UUID
    company: str
    state: str
    starts_at: float
    since: float
    attempts: int
    error: str
    """Hostile until rendered."""


class ProviderReport(msgspec.Struct, frozen=True):
    """A provider as one worker process sees it."""

    provider: str
    breaker: str
    since: float
    calls: int
    failures: int
    updated_at: float


class CalendarsStatus(msgspec.Struct, frozen=True):
    """Everything about calendars at one instant. Times are Unix seconds."""

    companies: tuple[CompanyCalendars, ...]
    open: tuple[OpenAppointment, ...]
    """Refused ones first, then the oldest."""
    providers: tuple[ProviderReport, ...]


_STATUS = """
select json_build_object(
    'companies', (select coalesce(json_agg(each order by company), '[]') from (
        select c.slug as company, coalesce(c.settings #>> '{calcom,api_key_secret}', '') <> '' as syncs,
               count(*) filter (where k.state = 'pending') as pending,
               count(*) filter (where k.state = 'synced') as synced,
               count(*) filter (where k.state = 'failed') as failed,
               count(*) filter (where k.state = 'off') as off,
               date_part('epoch', now() - min(k.pending_since) filter (where k.state = 'pending')) as oldest_s
        from companies c left join calendar_sync k on k.company_id = c.id
        where $1::text is null or c.slug = $1
        group by c.slug, c.settings
        having count(k.state) > 0 or coalesce(c.settings #>> '{calcom,api_key_secret}', '') <> '') each),
    'open', (select coalesce(json_agg(each), '[]') from (
        select k.appointment_id as appointment, c.slug as company, k.state,
               date_part('epoch', a.starts_at) as starts_at, date_part('epoch', k.pending_since) as since,
               k.attempts, coalesce(k.last_error, '') as error
        from calendar_sync k
        join companies c on c.id = k.company_id
        join appointments a on a.company_id = k.company_id and a.id = k.appointment_id
        where k.state in ('pending', 'failed') and ($1::text is null or c.slug = $1)
        order by k.state, k.pending_since limit $2) each),
    'providers', (select coalesce(json_agg(each order by provider), '[]') from (
        select provider, breaker, date_part('epoch', since) as since, calls, failures,
               date_part('epoch', updated_at) as updated_at
        from provider_state where updated_at > now() - interval '2 minutes') each))
"""

_PUSH = """
with wanted as (
    select k.company_id, k.appointment_id, k.wanted_version as version
    from calendar_sync k join companies c on c.id = k.company_id
    where ($1::text is null or c.slug = $1) and (k.appointment_id = any ($2::uuid[]) or $3 and k.state = 'failed')
    union
    select a.company_id, a.id, a.version
    from appointments a
    join companies c on c.id = a.company_id
    join services s on s.company_id = a.company_id and s.id = a.service_id
    left join staff_services o
         on o.company_id = a.company_id and o.service_id = a.service_id and o.staff_id = a.staff_id
    where $4 and ($1::text is null or c.slug = $1) and c.settings #>> '{calcom,api_key_secret}' <> ''
      and a.starts_at > now() and a.status in ('pending', 'confirmed')
      and coalesce(o.calcom_event_type_id, s.calcom_event_type_id) is not null
      and not exists (select from calendar_sync k where k.company_id = a.company_id and k.appointment_id = a.id)
), gathered as (
    select company_id, array_agg(appointment_id order by appointment_id) as appointments,
           array_agg(version order by appointment_id) as versions
    from wanted group by company_id
)
select coalesce(sum(push_to_calendar(company_id, appointments, versions)), 0)::integer from gathered
"""


async def read_status(connection: Connection, company: str | None = None, *, at_most: int = 20) -> CalendarsStatus:
    """How far calendars have got, in one round trip; needs a role that reads across companies."""
    return msgspec.json.decode(await connection.fetchval(_STATUS, company, at_most), type=CalendarsStatus)


async def push(
    connection: Connection,
    company: str | None = None,
    *,
    appointments: Sequence[UUID] = (),
    failed: bool = False,
    never_written: bool = False,
) -> int:
    """Put jobs in for these appointments, all that were refused, or upcoming ones that were never written; how many.

    The latter were booked before their company wrote to Cal.com. Needs a role that may write across companies.
    """
    pushed: int = await connection.fetchval(_PUSH, company, list(appointments), failed, never_written)
    return pushed
