"""History for benchmarks: calls with their customers, appointments, deliveries and job runs, 1,200 calls a day."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from backend.postgres.address import PostgresAddress, Superuser

MINUTES = 1.2
"""Between two calls."""

COMPANIES = """
with made as (
    insert into companies (slug, name) select 'company-' || i, 'Praxis ' || i from generate_series(1, 12) i returning id
), places as (
    insert into branches (company_id, slug, name) select id, 'mitte', 'Mitte' from made
), offers as (
    insert into services (company_id, slug, name, duration_min, price_cents)
    select id, 'prophylaxe', 'Prophylaxe', 30, 4500 from made
)
insert into staff (company_id, slug, name) select id, 'weiss', 'Dr. Weiß' from made
"""

MANY = """
create temporary table many on commit preserve rows as
with house as (
    select row_number() over (order by c.slug) - 1 as number, c.id as company, b.id as branch, s.id as staff,
           v.id as service
    from companies c join branches b on b.company_id = c.id join staff s on s.company_id = c.id
    join services v on v.company_id = c.id
)
select i, now() - make_interval(secs => (i + 5) * $3 * 60) as at, company, branch, staff, service,
       md5('person' || i)::uuid as person, md5('call' || i)::uuid as call
from generate_series($1::int, $2::int - 1) i join house on house.number = i % 12
"""
"""Keys are made of the number, so that what belongs together needs no join to find each other."""

ROWS = (
    """
insert into customers (id, company_id, first_name, last_name, name_key, phone)
select person, company, 'Anna', 'Schmidt ' || i, 'anna schmidt ' || i, '+49151' || (10000000 + i) from many
""",
    """
insert into calls (id, company_id, branch_id, provider, provider_call_id, direction, from_number, to_number, status,
                   started_at, ended_at, duration_ms, outcome, cost_cents, summary, transcript, sentiment, customer_id)
select call, company, branch, 'retell', 'call_' || i, 'inbound', '+49151' || (10000000 + i), '+493012345', 'ended', at,
       at + interval '2 minutes', 120000, (array['booked', 'enquiry', 'callback', 'hangup'])[1 + i % 4], 21,
       repeat('möchte einen Termin ', 8), repeat('Agent: Guten Tag. ', 120), 'neutral', person
from many
""",
    """
insert into appointments (company_id, branch_id, staff_id, service_id, customer_id, call_id, starts_at, ends_at,
                          time_zone, status, source, price_cents, version, created_at)
-- one hour for each of a company's own, from 40 days ahead backwards: none overlaps another
select company, branch, staff, service, person, call, starts, starts + interval '30 minutes', 'Europe/Berlin',
       case when starts < now() then 'completed' else 'confirmed' end, 'call', 4500, 2, at + interval '2 minutes'
from many,
     lateral (select date_trunc('hour', now()) + interval '40 days' - make_interval(hours => i / 12) as starts) slot
where i % 2 = 0
""",
    """
insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body, received_at, state,
                           processed_at)
select 'retell', 'key_' || i || '_' || event, event, 'call_' || i, company, branch,
       convert_to(repeat('x', 1500), 'UTF8'), at, 'processed', at + interval '0.3 s'
from many, unnest(array['call_started', 'call_ended', 'call_analyzed']) event
where at > now() - interval '14 days'
""",
    "drop table many",
)

RUNS = """
with many as (
    select i, now() - make_interval(secs => (i + 5) * $3 * 60) as at from generate_series($1::int, $2::int - 1) i
    where (i + 5) * $3 < 7 * 1440
), noted as (
    insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
    select at, i, status::pgqueuer_status, 0, 'webhooks.retell_call'
    from many, unnest(array['queued', 'picked', 'successful']) status
)
insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, waited_ms, outcome)
select i, 1, (array['webhooks.retell_call', 'appointments.book'])[1 + i % 2], gen_random_uuid(), at,
       at + interval '12 ms', 4, 'done'
from many
"""

STEP = 20_000


async def fill(address: PostgresAddress, superuser: Superuser, first: int, last: int) -> UUID:
    """Put in the calls from number `first` to `last` and what belongs to them; a company's id."""
    server = await asyncpg.connect(
        host=superuser.host,
        port=superuser.port,
        user=superuser.user,
        password=superuser.password,
        database=address.database,
        server_settings={"search_path": "askpro, public"},
    )
    if not await server.fetchval("select count(*) from companies"):
        await server.execute(COMPANIES)
    for begin in range(first, last, STEP):
        await server.execute(MANY, begin, min(begin + STEP, last), MINUTES)
        for statement in ROWS:
            await server.execute(statement)
        await server.execute(RUNS, begin, min(begin + STEP, last), MINUTES)
    company: UUID = await server.fetchval("select id from companies order by slug limit 1")
    await server.execute("vacuum (analyze)")
    await server.close()
    return UUID(str(company))
