"""Finding jobs among hundreds of thousands by whatever is known of them. Needs no more than to read.

Jobs that were ever held are found by text wherever it stands: in type, error or payload, through an index; for words
that many of them have, the newest are looked through. Of jobs that wait, run or are finished the newest `LOOKED_AT` are
looked through; older ones are found by their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Connection

LOOKED_AT = 4_000
"""Newest jobs that wait, run or are finished which are looked through one by one."""

NEWEST_HELD = 1_500
"""Newest held jobs that are looked through before anything else: enough for a word that many jobs have."""

DEEPER = 8_000
"""Newest held jobs that are looked through for words of which none is rare."""

SAMPLED = 1_000
"""Held jobs by which it is judged how common a word is."""

RARE = 0.0075
"""A word in no more than this share of the held jobs is looked up in the index: the jobs that it leads to lie
all over the table, each on a page of its own that may have to be read. Of a more common one the newest `DEEPER` have a
full page of answers."""

FEWEST_LETTERS = 3
"""Shorter words are not in the index."""

PIECE = 10
"""Letters of a word that are looked up."""

BEST = 2
"""So many of the rarest pieces are looked up; the rest is compared with what they lead to."""

_RUN = re.compile(r"[^\W_]+")

MOST_WORDS = 8


class FoundState(StrEnum):
    """What a found job is doing, or came to."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    RETRIED = "retried"
    DISCARDED = "discarded"
    DONE = "done"
    FAILED = "failed"
    """An attempt that failed, and was or is tried again."""


class FoundJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job that matches."""

    job_id: int
    entrypoint: str
    company: str | None
    """Slug."""
    state: FoundState
    at: datetime
    """When it was held, put in, or last started."""
    attempts: int
    fingerprint: str | None
    """Of its failure's cause, if it was held."""
    error: str
    """Empty for a job without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuestion:
    """What is known of the jobs that are looked for; all of it must match."""

    text: str = ""
    """Words; each stands somewhere in type, error or payload, in any case. A number also finds the job of that id."""
    queue: QueueName | None = None
    company: str | None = None
    """Slug."""
    since: datetime | None = None
    """Aware."""
    until: datetime | None = None
    """Aware."""
    entrypoint: str | None = None
    """Job type, exactly."""
    held_only: bool = False
    """Only jobs that were ever held."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words in lower case."""
        return words_of(self.text)

    @property
    def number(self) -> int | None:
        """The job id that the text may be."""
        text = self.text.strip().removeprefix("#")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


_HELD_COLUMNS = """h.job_id, h.entrypoint, h.company_id, h.state, h.held_at as at, h.attempts, h.fingerprint,
       left(h.error_type || ': ' || h.message, 500) as error"""

_HELD_MATCHES = """
    h.searched like all ($1::text[])
    and ($2::text is null or h.queue = $2)
    and ($3::uuid is null or h.company_id = $3)
    and ($4::timestamptz is null or h.held_at >= $4)
    and ($6::text is null or h.entrypoint = $6)
    and ($7::timestamptz is null or h.held_at < $7)
"""

_NEWEST = f"""
with held as (
    select {_HELD_COLUMNS}
    from (select h.job_id
          from (select * from held_texts order by held_at desc, job_id desc limit {NEWEST_HELD}) h
          where {_HELD_MATCHES}
          order by h.held_at desc, h.job_id desc limit $5) matching
    join held_jobs h using (job_id)
), numbered as (
    select {_HELD_COLUMNS} from held_jobs h where h.job_id = $9
), waiting as (
    select j.id as job_id, j.entrypoint, (j.headers ->> 'company')::uuid as company_id,
           case j.status::text when 'picked' then 'running' else 'waiting' end as state, j.created as at, j.attempts,
           null::text as fingerprint, '' as error
    from (
        (select * from pgqueuer where $9::bigint is null or id <> $9 order by id desc limit $8)
        union all (select * from pgqueuer where id = $9)
    ) j
    where j.status::text in ('queued', 'picked')
      and (j.id = $9
           or lower(concat_ws(' ', j.entrypoint, encode(j.payload, 'escape'))) like all ($10::text[])
              and ($2::text is null or split_part(j.entrypoint, '.', 1) = $2)
              and ($3::uuid is null or jsonb_typeof(j.headers) = 'object' and (j.headers ->> 'company')::uuid = $3)
              and ($4::timestamptz is null or j.created >= $4)
              and ($6::text is null or j.entrypoint = $6)
              and ($7::timestamptz is null or j.created < $7))
      and not $11
), ran as (
    select distinct on (r.job_id) r.job_id, r.entrypoint, r.company_id,
           case r.outcome when 'done' then 'done' else 'failed' end as state, r.started_at as at,
           r.attempt as attempts, null::text as fingerprint, left(coalesce(r.error, ''), 500) as error
    from (
        (select * from job_runs where $9::bigint is null or job_id <> $9 order by started_at desc limit $8)
        union all (select * from job_runs where job_id = $9)
    ) r
    where r.ended_at is not null
      and (r.job_id = $9
           or lower(concat_ws(' ', r.entrypoint, r.error)) like all ($1::text[])
              and ($2::text is null or split_part(r.entrypoint, '.', 1) = $2)
              and ($3::uuid is null or r.company_id = $3)
              and ($4::timestamptz is null or r.started_at >= $4)
              and ($6::text is null or r.entrypoint = $6)
              and ($7::timestamptz is null or r.started_at < $7))
      and not $11
    order by r.job_id, r.started_at desc
), found as (
    -- The same job in several places: what it is now goes before what it came to.
    select distinct on (job_id) * from (
        select 1 as place, * from waiting
        union all select 2, * from numbered
        union all select 2, * from held
        union all select 3, * from ran
    ) places
    order by job_id, place
)
select f.job_id, f.entrypoint, c.slug as company, f.state, f.at, f.attempts, f.fingerprint, f.error,
       (select count(*) from held) as held_found
from found f left join companies c on c.id = f.company_id
order by f.at desc, f.job_id desc
limit $5
"""  # noqa: S608 - only constants of this module

# How common each word is: in blocks from all over the table, so that a burst of equal failures does not decide.
_SHARES = """
select avg((h.searched like pattern)::int)::float8 as share
from (select searched from held_texts tablesample system ((
          select least(100.0, 100.0 * $2 / greatest(reltuples, 1))::float4
          from pg_class where oid = 'held_texts'::regclass))
      limit $2) h, unnest($1::text[]) with ordinality as words (pattern, place)
group by place order by place
"""

_OLDER_OF = f"""
select f.job_id, f.entrypoint, c.slug as company, f.state, f.at, f.attempts, f.fingerprint, f.error
from (
    select {_HELD_COLUMNS}
    from (select h.job_id from {{source}} h where {_HELD_MATCHES}
          order by h.held_at desc, h.job_id desc limit $5) matching
    join held_jobs h using (job_id)
) f
left join companies c on c.id = f.company_id
"""  # noqa: S608 - only constants of this module

_INDEXED = "(select * from held_texts where {each_word})"

_LATEST_OF = "(select * from held_texts h where {narrowed} order by h.held_at desc limit {rows})"

_SIZE = """
select count(*) from {source} h
where ($1::text[] is not null or $2::text is not null or $3::uuid is not null or $4::timestamptz is not null
       or $5::bigint is not null or $6::text is not null or $7::timestamptz is not null)
"""

_COMPANY = "select id from companies where slug = $1"


class NoSuchCompany(LookupError):
    """No company has the slug."""


Asked: TypeAlias = "tuple[list[str], str | None, UUID | None, datetime | None, int, str | None, datetime | None]"
"""The first arguments of the statements: patterns, queue, company, since, limit, type, until."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    jobs: tuple[FoundJob, ...]
    """Newest first."""
    is_whole: bool = True
    """False when older held jobs were not looked at, because none of the words is rare enough for that."""


async def find_jobs(connection: Connection, question: JobQuestion, *, limit: int = 50) -> list[FoundJob]:
    """The jobs that match, newest first, at most `limit`; see `search_jobs`."""
    return list((await search_jobs(connection, question, limit=limit)).jobs)


async def search_jobs(connection: Connection, question: JobQuestion, *, limit: int = 50) -> Answer:
    """The jobs that match, newest first, at most `limit`, and whether older ones may be missing.

    One round trip when the newest held jobs answer, else up to three; one more for a company. Needs a role that reads
    across companies. Raises NoSuchCompany, asyncpg's errors.
    """
    company: UUID | None = None
    if question.company is not None:
        company = await connection.fetchval(_COMPANY, question.company)
        if company is None:
            raise NoSuchCompany(question.company)
    patterns = [f"%{literal(word)}%" for word in question.words]
    queue = question.queue and question.queue.value
    asked: Asked = (patterns, queue, company, question.since, limit, question.entrypoint, question.until)
    bytewise = [f"%{literal(_as_bytes_are_shown(word))}%" for word in question.words]
    rows = await connection.fetch(_NEWEST, *asked, LOOKED_AT, question.number, bytewise, question.held_only)
    found = {row["job_id"]: _found(dict(row)) for row in rows}
    is_whole = True
    if not rows or rows[0]["held_found"] < limit:
        older = await _older(connection, question, asked)
        is_whole = older.is_whole
        if older.source:
            more = await connection.fetch(_OLDER_OF.format(source=older.source), *asked, *older.extra)
            held = {row["job_id"]: _found(dict(row)) for row in more}
            # As in one statement: that a job was held goes before how its last run ended.
            ran = {number for number, job in found.items() if job.state in {FoundState.DONE, FoundState.FAILED}}
            found |= {number: job for number, job in held.items() if number not in found or number in ran}
    jobs = sorted(found.values(), key=lambda job: (job.at, job.job_id), reverse=True)[:limit]
    return Answer(jobs=tuple(jobs), is_whole=is_whole or len(jobs) == limit)


@dataclass(frozen=True, slots=True)
class Older:
    """Which older held jobs to look through."""

    source: str
    """As SQL; empty for none."""
    is_whole: bool = True
    """Whether those are all that can match."""
    extra: tuple[object, ...] = ()
    """Its arguments after those of `Asked`."""


async def _older(connection: Connection, question: JobQuestion, asked: Asked) -> Older:
    """Which older held jobs to look through.

    A word that few jobs have leads to them through the index; words that many have, even if no job has all of them,
    would have it read a good part of the table.
    """
    narrowed = [
        condition
        for condition, is_asked in (
            ("h.queue = $2", question.queue is not None),
            ("h.company_id = $3", question.company is not None),
            ("h.held_at >= $4", question.since is not None),
            ("h.entrypoint = $6", question.entrypoint is not None),
            ("h.held_at < $7", question.until is not None),
        )
        if is_asked
    ]
    patterns = asked[0]
    if not patterns:
        latest = _LATEST_OF.format(narrowed=" and ".join(narrowed), rows=asked[4])
        return Older(latest if narrowed else "")
    if pieces := indexed_pieces(question.words):
        parts = [f"%{piece}%" for piece in pieces]
        told = [row["share"] for row in await connection.fetch(_SHARES, parts, SAMPLED)] or [0.0] * len(parts)
        rare = sorted((share, -len(part), part) for part, share in zip(parts, told, strict=True) if share <= RARE)
        if rare:
            best = [part for _, _, part in rare[:BEST]]
            # An index takes each pattern by itself, not an array of them.
            each = " and ".join(f"searched like ($8::text[])[{place}]" for place in range(1, len(best) + 1))
            return Older(_INDEXED.format(each_word=each), extra=(best,))
    latest = _LATEST_OF.format(narrowed=" and ".join(narrowed) or "true", rows=DEEPER + 1)
    size = await connection.fetchval(_SIZE.format(source=latest), *asked)
    return Older(latest, is_whole=size <= DEEPER)


def _found(row: dict[str, object]) -> FoundJob:
    row.pop("held_found", None)
    return msgspec.convert(row, FoundJob)


def indexed_pieces(words: Iterable[str]) -> list[str]:
    """What can be looked up in the index: the ends of the words' runs of letters and digits, at most sixteen.

    The index knows runs of three letters; each further one costs a look, and ten of them tell enough.
    """
    runs = (run[-PIECE:] for word in words for run in _RUN.findall(word) if len(run) >= FEWEST_LETTERS)
    return list(dict.fromkeys(runs))[:16]


def words_of(text: str) -> tuple[str, ...]:
    """The words that are looked for, in lower case; at most eight."""
    return tuple(text.replace("\0", " ").lower().split()[:MOST_WORDS])


def literal(text: str) -> str:
    """The text as a LIKE pattern that matches it alone."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _as_bytes_are_shown(word: str) -> str:
    """The word as PostgreSQL's `encode(…, 'escape')` shows its UTF-8."""
    return "".join(
        "\\\\" if byte == 0x5C else f"\\{byte:03o}" if byte >= 0x80 else chr(byte)
        for byte in word.encode("utf-8", "replace")
    )
