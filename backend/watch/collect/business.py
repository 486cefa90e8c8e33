"""What customers feel and what the business earns: the figures of the report's monitoring section."""

from __future__ import annotations

import time

import msgspec

from backend.valkey.client import ValkeyUnavailable
from backend.watch.collect import Sources
from backend.watch.connection import Connection
from backend.watch.snapshots import BusinessSnapshot, CallbackFigures, Change, CompanyRow, Timing, Trend
from backend.watch.timings import error_ratio, read_reports, timing_rows

CHANGES = 20
"""Most changes in a snapshot."""

CHANGES_S = 24 * 3600.0
"""How far back a change is worth telling."""

STATEMENT = """
with bounds as materialized (
    select date_trunc('day', now() at time zone 'Europe/Berlin') at time zone 'Europe/Berlin' as midnight,
           date_bin('1 minute', now(), 'epoch') - interval '59 minutes' as hour_ago
),
minutes as materialized (
    select generate_series(hour_ago, now(), '1 minute') as minute from bounds
),
called as materialized (
    -- index calls_started alone
    select company_id, count(*) as calls, sum(cost_cents) as cost_cents
    from calls where started_at >= (select midnight from bounds) group by company_id
),
booked as materialized (
    -- index appointments_created alone
    select company_id, count(*) as booked, sum(price_cents) as revenue_cents
    from appointments where created_at >= (select midnight from bounds) group by company_id
),
deliveries as materialized (
    -- index webhook_inbox_received alone
    select received_at, state, processed_at from webhook_inbox where received_at >= (select hour_ago from bounds)
),
restarts as (
    select date_part('epoch', started_at) as at,
           format('worker %s started on %s, version %s', queue, node, version) as what
    from workers where started_at > now() - interval '24 hours'
    union all
    select date_part('epoch', started_at), format('%s %s, version %s', node,
           case when is_joined then 'joined' else 'started' end, version)
    from nodes where started_at > now() - interval '24 hours'
    union all
    -- To whole seconds: a node that comes and goes is told of as often as it does.
    select floor(date_part('epoch', coalesce(left_at, seen_at))),
           format('%s %s', node, case when left_at is null then 'vanished' else 'stopped' end)
    from nodes
    where left_at > now() - interval '24 hours'
       or left_at is null and seen_at between now() - interval '24 hours' and now() - interval '6 s'
    union all
    select date_part('epoch', at), format('%s: %s %s', actor, replace(action, '.', ' '), subject)
    from (select * from audit_log where at > now() - interval '24 hours' order by at desc limit 20) said
    union all
    -- Not all that a new system begins with: they would leave no room for anything else.
    select date_part('epoch', applied_at), format('migration %s', name)
    from (select * from schema_migrations where applied_at > now() - interval '24 hours'
          order by applied_at desc, name desc limit 5) applied
    union all
    select date_part('epoch', pg_postmaster_start_time()),
           format('PostgreSQL %s started', current_setting('server_version'))
    where pg_postmaster_start_time() > now() - interval '24 hours'
    order by 1 desc limit 20
)
select json_build_object(
    'companies', (select coalesce(json_agg(json_build_object(
            'company', co.slug, 'name', left(co.name, 200), 'calls', coalesce(calls, 0), 'booked', coalesce(booked, 0),
            'revenue_cents', coalesce(revenue_cents, 0)) order by calls desc nulls last, co.slug), '[]')
        from (select * from companies where is_active order by slug limit 200) co
        left join called on called.company_id = co.id
        left join booked on booked.company_id = co.id),
    'calls_ongoing', (select count(*) from calls where status in ('registered', 'ongoing')),
    'booked_15_min', (select count(*) from appointments where created_at > now() - interval '15 minutes'),
    'booked_15_min_last_week', case
        when (select min(created_at) from appointments) < now() - interval '7 days 15 minutes'
        then (select count(*) from appointments where created_at > now() - interval '7 days 15 minutes'
                                                  and created_at <= now() - interval '7 days') end,
    'bookings', (select json_agg(coalesce(n, 0) order by minute) from minutes left join (
        select date_bin('1 minute', created_at, 'epoch') as minute, count(*) as n from appointments
        where created_at >= (select hour_ago from bounds) group by 1) each using (minute)),
    'webhooks', (select json_agg(coalesce(n, 0) order by minute) from minutes left join (
        select date_bin('1 minute', received_at, 'epoch') as minute, count(*) as n
        from deliveries group by 1) each using (minute)),
    'accepted_1h', (select count(*) from deliveries),
    'held_1h', (select count(*) from deliveries where state = 'held'),
    'well_signed_rejects_1h', (select coalesce(sum(count), 0) from webhook_rejects
                               where received_at >= (select hour_ago from bounds)
                                 and reason not in ('signature_missing', 'signature_wrong')),
    'effect_p99_s', (select percentile_cont(0.99) within group (order by date_part('epoch', processed_at - received_at))
                     from deliveries
                     where received_at > now() - interval '15 minutes' and state = 'processed'
                       and processed_at is not null),
    'median_call_s', (select percentile_cont(0.5) within group (order by duration_ms / 1000.0::float8) from calls
                      where started_at >= now() - interval '3 hours'
                        and started_at + make_interval(secs => duration_ms / 1000.0::float8)
                            >= now() - interval '1 hour'),
    'revenue_today_cents', (select coalesce(sum(revenue_cents), 0) from booked),
    'call_cost_today_cents', (select coalesce(sum(cost_cents), 0) from called),
    'accepted_today', (select count(*) from webhook_inbox where received_at >= (select midnight from bounds)),
    'callbacks', (select json_build_object(
            'open', count(*), 'overdue', count(*) filter (where due_at < now()),
            'next_at', date_part('epoch', min(due_at) filter (where due_at >= now())))
        from callback_requests where state = 'open'),
    'changes', (select coalesce(json_agg(restarts order by at desc), '[]') from restarts))
"""


class Answer(msgspec.Struct, frozen=True):
    """The statement's answer."""

    companies: tuple[CompanyRow, ...]
    calls_ongoing: int
    booked_15_min: int
    booked_15_min_last_week: int | None
    bookings: tuple[float, ...]
    webhooks: tuple[float, ...]
    accepted_1h: int
    held_1h: int
    well_signed_rejects_1h: int
    effect_p99_s: float | None
    median_call_s: float | None
    revenue_today_cents: int
    call_cost_today_cents: int
    accepted_today: int
    callbacks: CallbackFigures
    changes: tuple[Change, ...]


_answer = msgspec.json.Decoder(Answer)


async def collect(connection: Connection, sources: Sources) -> BusinessSnapshot:
    """The business figures of all companies; one round trip to each store. Raises what asyncpg raises."""
    began = time.perf_counter()
    answer = _answer.decode(await connection.fetchval(STATEMENT))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    notes = [*sources.notes]
    routes: tuple[Timing, ...] = ()
    failed: float | None = None
    if sources.valkey is None:
        notes.append("Valkey is not reachable: request timings are unknown")
    else:
        try:
            reports = await read_reports(sources.valkey)
            routes, failed = timing_rows(reports), error_ratio(reports)
        except ValkeyUnavailable as error:
            notes.append(f"request timings are unknown: {error}")
    remembered = sources.previous.changes if isinstance(sources.previous, BusinessSnapshot) else ()
    last_week = answer.booked_15_min_last_week
    if last_week is None:
        notes.append("no bookings are known from a week ago to compare with")
    signed = answer.accepted_1h + answer.well_signed_rejects_1h
    return BusinessSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=tuple(notes),
        companies=answer.companies,
        calls_ongoing=answer.calls_ongoing,
        bookings_per_min=answer.booked_15_min / 15.0,
        bookings_per_min_last_week=None if last_week is None else last_week / 15.0,
        bookings=Trend(values=answer.bookings, step_s=60.0, unit="bookings/min"),
        webhooks=Trend(values=answer.webhooks, step_s=60.0, unit="webhooks/min"),
        webhook_success_ratio=(answer.accepted_1h - answer.held_1h) / signed if signed else None,
        webhook_effect_p99_s=answer.effect_p99_s,
        median_call_s=answer.median_call_s,
        revenue_today_cents=answer.revenue_today_cents,
        call_cost_today_cents=answer.call_cost_today_cents,
        revenue_per_request_cents=answer.revenue_today_cents / answer.accepted_today if answer.accepted_today else None,
        routes=routes,
        error_ratio=failed,
        changes=latest_changes((*answer.changes, *sources.changes, *remembered), now),
        watching_ratio=sources.watching_ratio,
        callbacks=answer.callbacks,
    )


def latest_changes(changes: tuple[Change, ...], now: float) -> tuple[Change, ...]:
    """The newest of the last day, each told once."""
    recent = {change for change in changes if now - change.at <= CHANGES_S}
    return tuple(sorted(recent, key=lambda change: (-change.at, change.what))[:CHANGES])
