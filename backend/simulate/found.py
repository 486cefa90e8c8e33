"""What a run left in the database: plain rows, read across companies with the console's role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from backend.domain.vocabulary import RejectReason
from backend.postgres.pools import Connection
from backend.simulate.plan import Busy, Ground

Row: TypeAlias = asyncpg.Record


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of rows of the simulated companies, this run's and all others'."""

    calls: int
    customers: int
    appointments: int
    callbacks: int


@dataclass(slots=True)
class Found:
    """Rows of one run."""

    totals: Totals
    calls: list[Row] = field(default_factory=list)
    customers: list[Row] = field(default_factory=list)
    """Every customer of the companies on one of the run's lines."""
    appointments: list[Row] = field(default_factory=list)
    callbacks: list[Row] = field(default_factory=list)
    inbox: list[Row] = field(default_factory=list)
    answers: list[Row] = field(default_factory=list)
    """What functions answered, as it is kept."""


async def read_totals(connection: Connection, companies: Sequence[str]) -> Totals:
    """Count the rows of the companies (slugs). Raises asyncpg's errors."""
    row = await connection.fetchrow(TOTALS, list(companies))
    assert row is not None
    return Totals(row["calls"], row["customers"], row["appointments"], row["callbacks"])


async def read_found(
    connection: Connection, prefix: str, calls: int, companies: Sequence[str], phones: Sequence[str]
) -> Found:
    """Read what the `calls` calls whose ids begin with `prefix` left behind, a thousand calls at a time.

    Raises asyncpg's errors.
    """
    found = Found(totals=await read_totals(connection, companies))
    found.customers += await connection.fetch(CUSTOMERS, list(companies), list(phones))
    for block in range(calls // 1000 + 1):
        some = f"{prefix}n{block:03d}"
        found.calls += await connection.fetch(CALLS, some)
        found.appointments += await connection.fetch(APPOINTMENTS, f"call:{some}")
        found.callbacks += await connection.fetch(CALLBACKS, some)
        found.inbox += await connection.fetch(INBOX, some)
        found.answers += await connection.fetch(ANSWERS, some)
    return found


async def read_ground(connection: Connection, companies: Sequence[str]) -> Ground:
    """What a new run must keep clear of: known phones, and staff time that is taken from now on."""
    phones = await connection.fetch(PHONES, list(companies))
    busy = await connection.fetch(BUSY, list(companies))
    return Ground(
        phones=frozenset(row["phone"] for row in phones),
        busy=tuple(Busy(row["business"], row["staff"], row["starts"], row["ends"]) for row in busy),
    )


async def read_rejects(connection: Connection, since: datetime) -> Counter[RejectReason]:
    """Refused deliveries by reason since a moment (database clock)."""
    rows = await connection.fetch(REJECTS, since)
    return Counter({RejectReason(row["reason"]): row["refused"] for row in rows})


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a run is not in the database yet."""

    deliveries: int
    """Inbox rows of the run whose effect is not there."""
    jobs: int
    """Jobs of the run's companies that have to run before everything is there."""
    held: int
    """Inbox rows of the run whose job was held; they don't move by themselves."""

    @property
    def left(self) -> int:
        """How much has to happen still."""
        return self.deliveries + self.jobs


async def read_waiting(connection: Connection, prefix: str, companies: Sequence[str]) -> Waiting:
    """Count what is under way. Raises asyncpg's errors."""
    row = await connection.fetchrow(WAITING, prefix, list(companies))
    assert row is not None
    return Waiting(deliveries=row["deliveries"], jobs=row["jobs"], held=row["held"])


@dataclass(frozen=True, slots=True)
class Broken:
    """Rows that break an invariant, whatever was sent."""

    overlaps: Sequence[UUID]
    """Appointments of the run whose staff member is busy with another one (I2)."""
    without_job: Sequence[UUID]
    """Accepted deliveries, anybody's, for which no job waits or runs and none was held (I1)."""
    jobs_in_two_places: Sequence[int]
    """Jobs that are in the queue and among the held ones (I3)."""
    across_companies: Sequence[UUID]
    """Calls of the run whose deliveries belong to another company (I5)."""


async def read_broken(connection: Connection, prefix: str, companies: Sequence[str]) -> Broken:
    """Look for broken invariants, at most 20 of each. Raises asyncpg's errors."""
    return Broken(
        overlaps=[row["id"] for row in await connection.fetch(OVERLAPS, list(companies), f"call:{prefix}")],
        without_job=[row["id"] for row in await connection.fetch(WITHOUT_JOB)],
        jobs_in_two_places=[row["job_id"] for row in await connection.fetch(JOBS_IN_TWO_PLACES)],
        across_companies=[row["id"] for row in await connection.fetch(ACROSS_COMPANIES, prefix)],
    )


TOTALS = """
    with ours as (select id from companies where slug = any($1))
    select (select count(*) from calls where company_id in (select id from ours)) as calls,
           (select count(*) from customers where company_id in (select id from ours)) as customers,
           (select count(*) from appointments where company_id in (select id from ours)) as appointments,
           (select count(*) from callback_requests where company_id in (select id from ours)) as callbacks
"""

CALLS = """
    select call.id, call.provider_call_id, company.slug as company, branch.slug as branch, call.agent_id,
           call.call_type, call.direction, call.from_number, call.to_number, call.status, call.started_at,
           call.ended_at, call.duration_ms, call.disconnection_reason, call.transcript, call.summary, call.sentiment,
           call.recording_url, call.cost_cents, call.outcome, call.caller_name, call.customer_id, call.events,
           call.latency -> 'e2e' ->> 'p50' is not null as has_latency
    from calls call
    join companies company on company.id = call.company_id
    left join branches branch on branch.id = call.branch_id
    where call.provider_call_id ^@ $1
"""

CUSTOMERS = """
    select customer.id, company.slug as company, customer.first_name, customer.last_name, customer.name_key,
           customer.phone, customer.email, customer.no_show_count
    from customers customer
    join companies company on company.id = customer.company_id
    where company.slug = any($1) and customer.phone = any($2)
"""

APPOINTMENTS = """
    select appointment.id, appointment.idempotency_key, company.slug as company, branch.slug as branch,
           staff.slug as staff, service.slug as service, appointment.starts_at, appointment.ends_at,
           appointment.time_zone, appointment.status, appointment.source, appointment.price_cents,
           appointment.buffer_before_min, appointment.buffer_after_min, appointment.attendee_name,
           appointment.customer_id, call.provider_call_id as call,
           (select array_agg(event.kind order by event.version) from appointment_events event
            where event.appointment_id = appointment.id) as events
    from appointments appointment
    join companies company on company.id = appointment.company_id
    join branches branch on branch.id = appointment.branch_id
    join staff on staff.id = appointment.staff_id
    join services service on service.id = appointment.service_id
    left join calls call on call.id = appointment.call_id
    where appointment.idempotency_key ^@ $1
"""

CALLBACKS = """
    select request.id, call.provider_call_id as call, company.slug as company, request.reason, request.state,
           request.customer_id, request.phone, request.name
    from callback_requests request
    join calls call on call.id = request.call_id
    join companies company on company.id = request.company_id
    where call.provider_call_id ^@ $1
"""

INBOX = """
    select inbox.id, inbox.subject, inbox.event, sha256(inbox.body) as digest, company.slug as company, inbox.state,
           inbox.error
    from webhook_inbox inbox
    left join companies company on company.id = inbox.company_id
    where inbox.provider = 'retell' and inbox.subject ^@ $1
"""

ANSWERS = """
    select provider_call_id as call, tool_key, name, answer
    from function_calls
    where provider_call_id ^@ $1
"""

PHONES = """
    select distinct customer.phone
    from customers customer
    where customer.company_id in (select id from companies where slug = any($1)) and customer.phone is not null
"""

BUSY = """
    select company.slug as business, staff.slug as staff,
           floor(extract(epoch from taken.busy_from) / 60)::integer as starts,
           ceil(extract(epoch from taken.busy_until) / 60)::integer as ends
    from staff_time taken
    join companies company on company.id = taken.company_id
    join staff on staff.id = taken.staff_id
    where company.slug = any($1) and taken.busy_until > now()
"""

REJECTS = """
    select reason, sum(count)::integer as refused
    from webhook_rejects
    where provider = 'retell' and received_at >= $1
    group by reason
"""

WAITING = """
    select (select count(*) from webhook_inbox where state = 'accepted' and subject ^@ $1) as deliveries,
           (select count(*) from webhook_inbox where state = 'held' and subject ^@ $1) as held,
           (select count(*)
            from pgqueuer job
            where (job.entrypoint like 'webhooks.%' or job.entrypoint like 'appointments.%')
              and job.status in ('queued', 'picked') and job.execute_after < now() + interval '5 minutes'
              and job.headers ->> 'company' in (select id::text from companies where slug = any($2))) as jobs
"""

# From what stands in the appointments' own rows: what guards them in the database is what is judged here.
OVERLAPS = """
    with taken as (
        select one.id, one.idempotency_key, one.staff_id, one.seat,
               tstzrange(one.starts_at - make_interval(mins => one.buffer_before_min),
                         one.ends_at + make_interval(mins => one.buffer_after_min)) as busy
        from appointments one
        where one.company_id in (select id from companies where slug = any($1))
          and one.status in ('held', 'pending', 'confirmed', 'in_progress')
    )
    select one.id
    from taken one
    join taken other on other.staff_id = one.staff_id and other.seat = one.seat and other.busy && one.busy
                     and other.id <> one.id
    where one.idempotency_key ^@ $2
    limit 20
"""

# Deliveries of the last seconds are left out: a statement sees one instant, their jobs may be taken up right then.
WITHOUT_JOB = """
    with waiting as (
        select convert_from(payload, 'UTF8')::jsonb ->> 'inbox_id' as inbox_id
        from pgqueuer
        where entrypoint like 'webhooks.%' and payload is not null
        union all
        select convert_from(payload, 'UTF8')::jsonb ->> 'inbox_id'
        from held_jobs
        where state = 'held' and entrypoint like 'webhooks.%' and payload is not null
    )
    select inbox.id
    from webhook_inbox inbox
    where inbox.state = 'accepted' and inbox.received_at < now() - interval '5 seconds'
      and inbox.id::text not in (select waiting.inbox_id from waiting where waiting.inbox_id is not null)
    limit 20
"""

JOBS_IN_TWO_PLACES = """
    select held.job_id
    from held_jobs held
    join pgqueuer job on job.id = held.job_id
    where held.state = 'held' and job.status in ('queued', 'picked')
    limit 20
"""

ACROSS_COMPANIES = """
    select call.id
    from calls call
    join webhook_inbox inbox on inbox.provider = call.provider and inbox.subject = call.provider_call_id
    where call.provider_call_id ^@ $1 and inbox.company_id <> call.company_id
    limit 20
"""
