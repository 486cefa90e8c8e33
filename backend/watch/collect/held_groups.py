"""Held jobs by cause: how many within an hour, a day, a week and in all, whose, and how they came within the last hour.

Nothing here reads the jobs themselves but the latest of each cause: the edges of a cause are probes into an index, and
the rest is counted in that index alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backend.watch.snapshots import HeldGroup

if TYPE_CHECKING:
    from backend.postgres.pools import Connection

SHOWN = 100
"""Causes that are told, those with most jobs of the last hour first (the statement's limit)."""

CAUSES = 1_000
"""Causes that are looked at; of more, those of the latest jobs are (the statement's limit)."""

LOOKED_AT = 2_000
"""Latest jobs of a cause among which its companies are counted (the statement's limit)."""

MANY = 50_000
"""With more held jobs than this they are counted anew every half minute only."""

MANY_S = 30.0

HELD_TABLES = """
edge as materialized (
    select now() - interval '1 hour' as hour, now() - interval '24 hours' as day, now() - interval '7 days' as week
),
step(fingerprint, place) as (
    -- index held_jobs_undecided, one probe for each cause
    (select fingerprint, 1 from held_jobs where state = 'held' and {wanted} order by fingerprint limit 1)
    union all
    select (select h.fingerprint from held_jobs h where h.state = 'held' and h.fingerprint > step.fingerprint
            order by h.fingerprint limit 1), place + 1
    from step where step.fingerprint is not null and place < 1000
),
cause as (
    select fingerprint from step where fingerprint is not null
    union
    select fingerprint from (select fingerprint from held_jobs where state = 'held' order by held_at desc limit 1000)
        latest where (select max(place) = 1000 from step)
),
sized as materialized (
    -- index held_jobs_undecided alone
    select fingerprint,
           (select count(*) from held_jobs h where h.state = 'held' and h.fingerprint = cause.fingerprint) as jobs,
           (select count(*) from held_jobs h where h.state = 'held' and h.fingerprint = cause.fingerprint
                and h.held_at <= (select week from edge)) as older
    from cause
),
counted as materialized (
    select fingerprint, jobs as held_total, jobs - older as held_7d,
           (select count(*) from held_jobs h where h.state = 'held' and h.fingerprint = sized.fingerprint
                and h.held_at > (select day from edge)) as held_24h,
           (select count(*) from held_jobs h where h.state = 'held' and h.fingerprint = sized.fingerprint
                and h.held_at > (select hour from edge)) as held_1h,
           (select h.held_at from held_jobs h where h.state = 'held' and h.fingerprint = sized.fingerprint
                order by h.held_at limit 1) as first_at,
           (select h.held_at from held_jobs h where h.state = 'held' and h.fingerprint = sized.fingerprint
                order by h.held_at desc limit 1) as last_at
    from sized where jobs > 0
),
latest as materialized (
    select counted.*, h.queue, h.entrypoint, left(h.error_type, 200) as error_type, left(h.message, 500) as message
    from counted, lateral (
        select queue, entrypoint, error_type, message from held_jobs h
        where h.state = 'held' and h.fingerprint = counted.fingerprint order by h.held_at desc limit 1) h
),
groups as (
    select g.*, whose.companies, whose.top_companies, came.trend
    from (select * from latest order by held_1h desc, held_total desc, fingerprint limit 100) g,
    lateral (
        select count(*) filter (where company_id is not null) as companies,
               (select coalesce(json_agg(json_build_array(c.slug, top.jobs) order by top.jobs desc, c.slug), '[]')
                from (select * from unnest(array_agg(company_id), array_agg(jobs)) as t (company_id, jobs)
                      order by jobs desc limit 3) top join companies c on c.id = top.company_id) as top_companies
        from (select company_id, count(*) as jobs
              from (select company_id from held_jobs h where h.state = 'held' and h.fingerprint = g.fingerprint
                    order by h.held_at desc limit 2000) looked_at
              group by company_id) each) whose,
    lateral (
        select json_agg(coalesce(jobs, 0) order by place) as trend
        from generate_series(0, 11) place left join (
            select least(11, floor(date_part('epoch', h.held_at - (select hour from edge)) / 300))::int as place,
                   count(*) as jobs
            from held_jobs h where h.state = 'held' and h.fingerprint = g.fingerprint
                and h.held_at > (select hour from edge) group by 1) counts using (place)) came
)
"""
"""Tables of a statement `with recursive`; `{wanted}` says whether they are to be filled at all."""

HELD = """json_build_object(
        'groups', (select coalesce(json_agg(json_build_object(
                'fingerprint', fingerprint, 'queue', queue, 'entrypoint', entrypoint, 'error_type', error_type,
                'message', message, 'companies', companies, 'held_1h', held_1h, 'held_24h', held_24h,
                'held_7d', held_7d, 'held_total', held_total, 'first_at', date_part('epoch', first_at),
                'last_at', date_part('epoch', last_at), 'trend', trend, 'top_companies', top_companies)
            order by held_1h desc, held_total desc, fingerprint), '[]') from groups),
        'causes', (select coalesce(json_object_agg(queue, causes), '{}') from (
            select queue, count(*) as causes from latest group by queue) each),
        'jobs', case when (select count(*) from cause) < 1000 then (
            select coalesce(json_object_agg(queue || ' ' || entrypoint, jobs), '{}') from (
                select queue, entrypoint, sum(held_total) as jobs from latest group by 1, 2) each)
        else (
            select coalesce(json_object_agg(queue || ' ' || entrypoint, jobs), '{}') from (
                select queue, entrypoint, count(*) as jobs from held_jobs where state = 'held' group by 1, 2) each)
        end)"""


class HeldFigures(msgspec.Struct, frozen=True):
    """All held jobs."""

    groups: tuple[HeldGroup, ...]
    causes: dict[str, int]
    """Causes by queue, of the 1,000 that are looked at."""
    jobs: dict[str, int]
    """By queue and entrypoint, with a blank between."""


async def held_groups(connection: Connection) -> tuple[HeldGroup, ...]:
    """The causes for which jobs are held, at most 100, those with most of the last hour first.

    Companies are counted among the latest 2,000 jobs of each. Raises what asyncpg raises.
    """
    statement = f"with recursive {HELD_TABLES.format(wanted='true')} select {HELD}"
    return msgspec.json.decode(await connection.fetchval(statement), type=HeldFigures).groups
