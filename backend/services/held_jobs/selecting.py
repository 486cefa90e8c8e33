"""Which held jobs are meant, and what a decision about them would touch before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from backend.domain.redaction import without_contacts
from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Connection
from backend.queue.failures import storable
from backend.queue.policies import BUILT_IN
from backend.queue.search import literal, words_of
from backend.services.operating.subjects import known_company

SAMPLE = 10
"""Held jobs that a preview shows by themselves."""

LINES = 20
"""Job types, companies and causes that a preview tells apart, those with most jobs first."""

COMPARED = 20_000
"""Of more jobs than this it is not looked up which would be skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFilter:
    """Which held jobs are meant: all that is given must hold; with nothing given, all of them."""

    queue: QueueName | None = None
    entrypoint: str | None = None
    """Job type."""
    fingerprint: str | None = None
    """Cause."""
    causes: tuple[str, ...] | None = None
    """Any of these causes; an empty tuple means none."""
    company: str | None = None
    """Slug."""
    text: str = ""
    """Words; each stands somewhere in type, error or payload, in any case."""
    since: datetime | None = None
    """Held from then on; aware."""
    until: datetime | None = None
    """Held before then; aware."""
    job_ids: tuple[int, ...] | None = None
    """These; an empty tuple means none."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == HeldFilter()

    def told(self) -> str:
        """The filter in a few words, for a record and a question."""
        parts = []
        if self.job_ids is not None:
            few = ", ".join(str(job_id) for job_id in self.job_ids[:3])
            many = len(self.job_ids)
            parts.append(f"job {few}" if many == 1 else f"jobs {few}" if many <= 3 else f"{many:,} jobs from {few} on")
        for name, value in (
            ("queue", self.queue and self.queue.value),
            ("type", self.entrypoint),
            ("cause", self.fingerprint),
            ("causes", self.causes and ", ".join(self.causes[:3]) + (" …" if len(self.causes) > 3 else "")),
            ("company", self.company),
        ):
            if value:
                parts.append(f"{name} {value}")
        if self.text.strip():
            parts.append(f"with {without_contacts(storable(self.text).strip()[:100])!r}")
        if self.since is not None:
            parts.append(f"held since {self.since:%Y-%m-%d %H:%M %Z}")
        if self.until is not None:
            parts.append(f"held before {self.until:%Y-%m-%d %H:%M %Z}")
        return ", ".join(parts) or "all held jobs"

    def as_record(self) -> dict[str, object]:
        """What is given of it, as JSON takes it; of many ids the first thousand, of words no address and no number.

        A record is kept for good, and people look for what callers left.
        """
        fields: dict[str, object] = {
            "queue": self.queue and self.queue.value,
            "entrypoint": self.entrypoint,
            "fingerprint": self.fingerprint,
            "causes": None if self.causes is None else list(self.causes),
            "company": self.company,
            "text": without_contacts(storable(self.text).strip()) or None,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "job_ids": None if self.job_ids is None else list(self.job_ids[:1_000]),
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Conditions:
    """A filter as SQL over `held_jobs h`, with its arguments."""

    sql: str
    arguments: tuple[object, ...]


def conditions(held: HeldFilter, company_id: UUID | None, *, first: int = 1) -> Conditions:
    """The filter's conditions; only those that are given, so that each can choose its index.

    Their arguments are `$first` and those after it.
    """
    arguments: list[object] = []
    parts = ["h.state = 'held'"]

    def need(condition: str, value: object) -> None:
        arguments.append(value)
        parts.append(condition.replace("?", f"${first - 1 + len(arguments)}"))

    if held.job_ids is not None:
        need("h.job_id = any(?::bigint[])", list(held.job_ids))
    if held.queue is not None:
        need("h.queue = ?", held.queue.value)
    if held.entrypoint is not None:
        need("h.entrypoint = ?", held.entrypoint)
    if held.fingerprint is not None:
        need("h.fingerprint = ?", held.fingerprint)
    if held.causes is not None:
        need("h.fingerprint = any(?::text[])", list(held.causes))
    if held.company is not None:
        need("h.company_id = ?::uuid", company_id)
    if held.since is not None:
        need("h.held_at >= ?", held.since)
    if held.until is not None:
        need("h.held_at < ?", held.until)
    if words := words_of(held.text):
        arguments += [f"%{literal(word)}%" for word in words]
        last = first - 1 + len(arguments)
        each = " and ".join(f"t.searched like ${number}" for number in range(last - len(words) + 1, last + 1))
        parts.append(f"h.job_id in (select t.job_id from held_texts t where {each})")  # noqa: S608 - numbers only
    return Conditions(" and ".join(parts), tuple(arguments))


_PREVIEW = f"""
with grouped as materialized (
    -- Read once, however many they are: all counts are taken of these few rows.
    select h.queue, h.entrypoint, h.company_id, h.fingerprint, count(*) as jobs,
           min(h.held_at) as oldest_at, max(h.held_at) as newest_at, count(*) filter (
               where h.queue = 'webhooks' and position('"inbox_id"'::bytea in h.payload) > 0) as deliveries
    from held_jobs h where {{conditions}} group by 1, 2, 3, 4
), total as materialized (
    select coalesce(sum(jobs), 0) as jobs from grouped
), kinds as (
    -- A job type that was moved stands in another queue as `<queue>.<type>`; what is said of the type goes for it too.
    select entrypoint as kind, company_id from grouped
    union select substring(entrypoint from '^[^.]+[.](.+[.].+)$'), company_id from grouped
), waiting as (
    select dedupe_key from pgqueuer where dedupe_key is not null and status in ('queued', 'picked')
), keyed as (
    select coalesce(j.dedupe_key, m.dedupe_key) as key, count(*) as jobs
    from (select h.job_id, h.dedupe_key from held_jobs h
          where {{conditions}} and not coalesce(h.queue = {{target}}, false) limit {COMPARED}) m
    left join pgqueuer j on j.id = m.job_id
    group by 1
)
select json_build_object(
    'matched', (select jobs from total),
    'companies', (select count(distinct company_id) from grouped),
    'causes', (select count(distinct fingerprint) from grouped),
    'oldest_at', (select min(oldest_at) from grouped),
    'newest_at', (select max(newest_at) from grouped),
    'deliveries', (select coalesce(sum(deliveries), 0) from grouped),
    'by_type', (select coalesce(json_agg(json_build_array(entrypoint, jobs) order by jobs desc, entrypoint), '[]')
        from (select entrypoint, sum(jobs) as jobs from grouped group by 1 order by 2 desc, 1 limit {LINES}) each),
    'by_company', (select coalesce(json_agg(json_build_array(coalesce(c.slug, ''), jobs) order by jobs desc, c.slug),
                                   '[]') from (
        select company_id, sum(jobs) as jobs from grouped group by 1 order by 2 desc, 1 limit {LINES}) each
        left join companies c on c.id = each.company_id),
    'by_cause', (select coalesce(json_agg(json_build_object(
            'fingerprint', each.fingerprint, 'error_type', left(h.error_type, 200), 'message', left(h.message, 500),
            'jobs', jobs) order by jobs desc, each.fingerprint), '[]')
        from (select fingerprint, sum(jobs) as jobs, max(newest_at) as newest_at
              from grouped group by 1 order by 2 desc, 1 limit {LINES}) each,
        lateral (select error_type, message from held_jobs h where h.state = 'held'
                 and h.fingerprint = each.fingerprint and h.held_at = each.newest_at limit 1) h),
    'ahead', (select count(*) from (
        select from pgqueuer p where p.status = 'queued' and p.execute_after <= now()
            and split_part(p.entrypoint, '.', 1) in (select coalesce({{target}}, queue) from grouped)
        limit 50000) counted),
    'paused', (select coalesce(json_agg(distinct replace(p.kind, '_', ' ') || ' ' || p.name), '[]') from pauses p
        where p.resumed_at is null and (p.until is null or p.until > now())
          and (p.kind = 'queue' and p.name in (select coalesce({{target}}, queue) from grouped)
               or p.kind = 'job_type' and p.name in (select kind from kinds)
               or p.kind = 'company' and p.company_id in (select company_id from grouped))),
    'quarantines', (select coalesce(json_agg('quarantine ' || q.id || ' of ' || q.entrypoint order by q.id), '[]')
        from quarantines q
        where q.lifted_at is null and (q.until is null or q.until > now())
          and exists (select from kinds k where k.kind = q.entrypoint
                        and (q.company_id is null or q.company_id = k.company_id))),
    'paused_providers', (select coalesce(json_agg(name), '[]') from pauses
        where kind = 'provider' and resumed_at is null and (until is null or until > now())),
    'standing', (select coalesce(sum(jobs), 0) from grouped where queue = {{target}}),
    'would_skip', case when (select jobs from total) <= {COMPARED} then (
        select coalesce(sum(jobs - case when key in (select dedupe_key from waiting) then 0 else 1 end), 0)
               + (select coalesce(sum(jobs), 0) from grouped where queue = {{target}})
        from keyed where key is not null) end,
    'sample', (select coalesce(json_agg(json_build_object(
            'job_id', h.job_id, 'entrypoint', h.entrypoint, 'company', coalesce(c.slug, ''),
            'error_type', left(h.error_type, 200), 'message', left(h.message, 500), 'attempts', h.attempts,
            'held_at', h.held_at, 'fingerprint', h.fingerprint) order by h.held_at desc, h.job_id desc), '[]')
        from (select * from held_jobs h where {{conditions}} order by h.held_at desc, h.job_id desc limit {SAMPLE}) h
        left join companies c on c.id = h.company_id))
"""  # noqa: S608 - only constants of this module

_LINES = """
select h.job_id, h.queue, h.entrypoint, c.slug as company, h.fingerprint, h.error_type, h.message, h.attempts, h.held_at
from (select * from held_jobs h where {conditions} order by h.held_at desc, h.job_id desc limit $1) h
left join companies c on c.id = h.company_id
order by h.held_at desc, h.job_id desc
"""


class CauseCount(msgspec.Struct, frozen=True, kw_only=True):
    """Matching jobs of one cause."""

    fingerprint: str
    error_type: str
    message: str
    """Of the latest of them."""
    jobs: int


class SampleJob(msgspec.Struct, frozen=True, kw_only=True):
    """One of the matching jobs."""

    job_id: int
    entrypoint: str
    company: str
    """Slug, or empty."""
    error_type: str
    message: str
    attempts: int
    held_at: datetime
    fingerprint: str


class HeldLine(msgspec.Struct, frozen=True, kw_only=True):
    """One job that is held."""

    job_id: int
    queue: str
    entrypoint: str
    company: str | None
    """Slug."""
    fingerprint: str
    error_type: str
    message: str
    attempts: int
    held_at: datetime


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision about the matching jobs would touch."""

    matched: int
    by_type: tuple[tuple[str, int], ...]
    by_company: tuple[tuple[str, int], ...]
    """Slug (empty: of none) and jobs."""
    by_cause: tuple[CauseCount, ...]
    companies: int
    """How many there are, also beyond those in `by_company`."""
    causes: int
    oldest_at: datetime | None
    newest_at: datetime | None
    providers: tuple[str, ...]
    """That a retry would call."""
    queue_paused: tuple[str, ...]
    """What of them is paused now, so that a retry would wait: `queue webhooks`, `company salon`, …"""
    quarantined: tuple[str, ...] = ()
    """Quarantines of their types, which may hold them again: `quarantine 7 of webhooks.retell_call`."""
    ahead: int
    """Jobs that wait in their queues (or the one they would be moved to) already; counted to 50,000."""
    deliveries: int
    """Webhook deliveries that are held with them."""
    would_skip: int | None
    """Which would be left: an equal one waits already, or they stand in the queue that they would be moved to.

    None when there are too many to look."""
    standing: int = 0
    """Those of them that stand in the queue that they would be moved to."""
    seconds_at_rate: float | None
    """How long it takes at the rate that was asked for; None without one."""
    sample: tuple[SampleJob, ...]
    """The latest."""


def providers_of(entrypoints: Iterable[str]) -> tuple[str, ...]:
    """The providers that jobs of these types call."""
    called = set()
    for entrypoint in entrypoints:
        with suppress(ValueError):  # a job type of no queue of ours
            provider = BUILT_IN.job(entrypoint).provider
            called |= {provider.value} if provider is not None else set()
    return tuple(sorted(called))


class Told(msgspec.Struct, frozen=True):
    """The statement's answer."""

    matched: int
    companies: int
    causes: int
    oldest_at: datetime | None
    newest_at: datetime | None
    deliveries: int
    by_type: tuple[tuple[str, int], ...]
    by_company: tuple[tuple[str, int], ...]
    by_cause: tuple[CauseCount, ...]
    ahead: int
    paused: tuple[str, ...]
    quarantines: tuple[str, ...]
    paused_providers: tuple[str, ...]
    standing: int
    would_skip: int | None
    sample: tuple[SampleJob, ...]


_told = msgspec.json.Decoder(Told)


async def company_id_of(connection: Connection, held: HeldFilter) -> UUID | None:
    """The id of the filter's company; None without one. Raises NotPossible when there is no such company."""
    return None if held.company is None else await known_company(connection, held.company)


async def preview(
    connection: Connection, held: HeldFilter, *, per_s: float | None = None, to: QueueName | None = None
) -> Preview:
    """What a decision about the matching jobs would touch; changes nothing. `to` is the queue they would be moved to.

    Needs a role that reads across companies (the console's). Raises NotPossible, asyncpg's errors.
    """
    company_id = await company_id_of(connection, held)
    where = conditions(held, company_id)
    target = "null::text" if to is None else f"'{to.value}'::text"  # a word of ours
    statement = _PREVIEW.replace("{conditions}", where.sql).replace("{target}", target)
    answer = await connection.fetchval(statement, *where.arguments)
    told = _told.decode(answer)
    providers = providers_of(entrypoint for entrypoint, _ in told.by_type)
    return Preview(
        matched=told.matched,
        by_type=told.by_type,
        by_company=told.by_company,
        by_cause=told.by_cause,
        companies=told.companies,
        causes=told.causes,
        oldest_at=told.oldest_at,
        newest_at=told.newest_at,
        providers=providers,
        queue_paused=(*told.paused, *(f"provider {name}" for name in told.paused_providers if name in providers)),
        quarantined=told.quarantines,
        ahead=told.ahead,
        deliveries=told.deliveries,
        would_skip=told.would_skip,
        standing=told.standing,
        seconds_at_rate=told.matched / per_s if per_s else None,
        sample=told.sample,
    )


async def held_lines(connection: Connection, held: HeldFilter, *, limit: int) -> list[HeldLine]:
    """The matching jobs, newest first, at most `limit`.

    Needs a role that reads across companies (the console's). Raises NotPossible, asyncpg's errors.
    """
    where = conditions(held, await company_id_of(connection, held), first=2)
    rows = await connection.fetch(_LINES.replace("{conditions}", where.sql), limit, *where.arguments)
    return [HeldLine(**dict(row)) for row in rows]
