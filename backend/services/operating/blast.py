"""Blast radius: what a pause, or slots taken away, would touch just now. Needs no more than to read."""

from __future__ import annotations

from uuid import UUID

import msgspec

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection
from backend.queue.policies import Policies, in_force
from backend.queue.roster import LIVE_S
from backend.services.operating.subjects import Subject

COUNTED = 50_000
"""Jobs are counted no further than this (the statement's limit)."""

# A job type that was moved stands in another queue as `<queue>.<type>`.
_BLAST = """
with touched as materialized (
    select entrypoint, headers ->> 'company' as company,
           case when status::text = 'picked' then 'running' when execute_after <= now() then 'ready' else 'later' end
               as state
    from pgqueuer
    where status::text in ('queued', 'picked')
      and ($1::text is null or split_part(entrypoint, '.', 1) = $1)
      and ($2::text[] is null or entrypoint = any($2) or substring(entrypoint from '^[^.]+[.](.+[.].+)$') = any($2))
      and ($3::text is null or headers ->> 'company' = $3)
      and ($4::text is null or status::text = 'picked' and queue_manager_id in (select id from workers where node = $4))
    limit 50000
), companies_touched as (
    select c.slug, count(*) as jobs
    from touched t join companies c on c.id = t.company::uuid
    group by c.slug
), lately as (
    select count(*) as jobs
    from (select from pgqueuer_log l
          where created > now() - interval '1 minute' and status = 'queued' and traceback is null
            and ($1::text is null or split_part(entrypoint, '.', 1) = $1)
            and ($2::text[] is null or entrypoint = any($2))
          limit 50000) new
)
select json_build_object(
    'ready', (select count(*) from touched where state = 'ready'),
    'later', (select count(*) from touched where state = 'later'),
    'running', (select count(*) from touched where state = 'running'),
    'by_type', (select coalesce(json_agg(json_build_array(entrypoint, jobs) order by jobs desc, entrypoint), '[]')
                from (select entrypoint, count(*) as jobs from touched group by 1 order by 2 desc, 1 limit 10) each),
    'companies', (select count(*) from companies_touched),
    'top_companies', (select coalesce(json_agg(json_build_array(slug, jobs) order by jobs desc, slug), '[]')
                      from (select * from companies_touched order by jobs desc, slug limit 3) each),
    'in_per_min', case when $3::text is null and $4::text is null then (select jobs from lately) end,
    'workers', (select count(*) from workers
                where ($1::text is null or queue = $1) and ($4::text is null or node = $4)
                  and state <> 'stopped' and heartbeat_at > now() - make_interval(secs => $5)))
"""


class Blast(msgspec.Struct, frozen=True, kw_only=True):
    """What it would touch; jobs are counted no further than 50,000."""

    ready: int
    """Jobs that might start now."""
    later: int
    """Jobs that wait for their time."""
    running: int
    """Jobs at work: a pause lets them end."""
    by_type: tuple[tuple[str, int], ...]
    """Job types and how many jobs of them, at most ten."""
    companies: int
    """Whose jobs they are."""
    top_companies: tuple[tuple[str, int], ...]
    """Slug and jobs of those that have most, at most three."""
    in_per_min: int | None
    """Put in within the last minute; None where that is not known."""
    workers: int
    """Live workers of the queue or node, or all."""


_decoder = msgspec.json.Decoder(Blast)


async def blast_radius(connection: Connection, named: Subject, policies: Policies | None = None) -> Blast:
    """What pausing this would touch: one round trip that sees all companies. Raises asyncpg's errors."""
    queue: str | None = None
    types: list[str] | None = None
    company: UUID | None = None
    node: str | None = None
    match named.kind:
        case PauseKind.QUEUE:
            queue = named.name
        case PauseKind.JOB_TYPE | PauseKind.SCHEDULE:
            types = [named.name]
        case PauseKind.PROVIDER:
            known = policies or in_force()
            types = [kind for kind in known.job_types() if known.job(kind).provider == named.name]
        case PauseKind.COMPANY:
            company = named.company_id
        case PauseKind.NODE:
            node = named.name
    asked = (queue, types, company and str(company), node, LIVE_S)
    return _decoder.decode(await connection.fetchval(_BLAST, *asked))


def in_words(blast: Blast) -> str:
    """One sentence."""
    waiting = blast.ready + blast.later
    parts = [
        f"{'at least ' if waiting >= COUNTED else ''}{waiting:,} job{'s' * (waiting != 1)} wait{'s' * (waiting == 1)}"
    ]
    if blast.companies:
        named = ", ".join(f"{slug} {jobs:,}" for slug, jobs in blast.top_companies)
        more = blast.companies - len(blast.top_companies)
        noun = "company" if blast.companies == 1 else "companies"
        parts.append(f"of {blast.companies:,} {noun} ({named}{f', {more:,} more' if more > 0 else ''})")
    sentence = " ".join(parts)
    if blast.running:
        sentence += f"; {blast.running:,} run{'s' * (blast.running == 1)} and will end"
    if blast.in_per_min:
        sentence += f"; {blast.in_per_min:,} came within the last minute"
    return f"{sentence}."
