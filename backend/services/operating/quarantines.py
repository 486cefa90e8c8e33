"""Quarantines: jobs of a type, a company and a payload are held before they run."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from backend.postgres.pools import Connection
from backend.queue.policies import Policies
from backend.services.operating.audit import By, kept_reason, record
from backend.services.operating.refusals import AlreadySo, NotPossible
from backend.services.operating.subjects import known_company, known_type

LONGEST_PIECE = 500
"""Characters of payload that a quarantine looks for."""

COUNTED = 50_000
"""Waiting jobs are counted no further than this."""

_MAKE = """
insert into quarantines (entrypoint, company_id, contains, fingerprint, reason, made_by, until)
values ($1, $2, $3, $4, $5, $6, $7) returning id, made_at
"""

_SAME = """
select id from quarantines
where entrypoint = $1 and company_id is not distinct from $2 and contains = $3 and lifted_at is null
  and (until is null or until > now())
"""

_LIFT = """
update quarantines set lifted_at = now(), lifted_by = $2
where id = $1 and lifted_at is null
returning entrypoint, company_id, contains, fingerprint, reason, made_by, made_at, until
"""

_MATCHING = """
select count(*) as waiting, count(distinct company) as companies
from (
    select headers ->> 'company' as company
    from pgqueuer
    where status = 'queued' and (entrypoint = $1 or entrypoint like '%.' || $1)
      and ($2::text is null or headers ->> 'company' = $2)
      and ($3 = '' or position($3 in lower(readable_bytes(payload))) > 0)
    limit 50000
) matching
"""

_CAUSE = """
select h.entrypoint, array_agg(distinct c.slug) filter (where c.slug is not null) as companies, count(*) as held
from held_jobs h left join companies c on c.id = h.company_id
where h.fingerprint = $1 and h.state = 'held'
group by h.entrypoint order by count(*) desc limit 1
"""


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """One quarantine in force."""

    id: int
    entrypoint: str
    company: str | None
    """Slug; None: of any company."""
    contains: str
    fingerprint: str | None
    reason: str
    made_by: str
    made_at: datetime
    until: datetime | None


class Matching(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that a quarantine would hold."""

    waiting: int
    """Those that wait now, counted no further than 50,000."""
    companies: int
    """Whose jobs they are."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Held jobs of one cause."""

    entrypoint: str
    """The job type most of them have."""
    companies: tuple[str, ...]
    held: int


async def quarantine(
    connection: Connection,
    by: By,
    entrypoint: str,
    *,
    company: str | None = None,
    contains: str = "",
    fingerprint: str | None = None,
    reason: str,
    until: datetime | None = None,
    policies: Policies | None = None,
) -> Quarantine:
    """Hold jobs of this type before they run: of the company (slug), with `contains` in their payload in any case.

    `until` is aware. Raises AlreadySo when there is the same, NotPossible, asyncpg's errors.
    """
    await known_type(connection, entrypoint, policies)
    piece = _piece(contains)
    if until is not None and until <= datetime.now(UTC):
        raise NotPossible("The end of the quarantine is over already.", "Give a span such as 2h.")
    company_id = None if company is None else await known_company(connection, company)
    same = await connection.fetchval(_SAME, entrypoint, company_id, piece)
    if same is not None:
        raise AlreadySo(f"Quarantine {same} does that already.", f"`askpro queue quarantine --lift {same}` ends it.")
    row = await connection.fetchrow(
        _MAKE, entrypoint, company_id, piece, fingerprint, kept_reason(reason), by.actor, until
    )
    assert row is not None
    made = Quarantine(
        id=row["id"],
        entrypoint=entrypoint,
        company=company,
        contains=piece,
        fingerprint=fingerprint,
        reason=kept_reason(reason),
        made_by=by.actor,
        made_at=row["made_at"],
        until=until,
    )
    detail = {"quarantine": made.id, "company": company, "by_payload": bool(piece), "until": until}
    await record(connection, by, "quarantine.make", entrypoint, reason=reason, company_id=company_id, detail=detail)
    return made


async def lift(connection: Connection, by: By, quarantine_id: int, *, reason: str = "") -> str:
    """Let matching jobs run again; the job type. What is held stays held until somebody decides about it.

    Raises AlreadySo when there is no such quarantine (any more), asyncpg's errors.
    """
    row = await connection.fetchrow(_LIFT, quarantine_id, by.actor)
    if row is None:
        raise AlreadySo(
            f"There is no quarantine {quarantine_id} in force.", "`askpro queue quarantine` shows those that are."
        )
    entrypoint: str = row["entrypoint"]
    await record(
        connection,
        by,
        "quarantine.lift",
        entrypoint,
        reason=reason,
        company_id=row["company_id"],
        detail={"quarantine": quarantine_id, "made_by": row["made_by"], "made_for": row["reason"]},
    )
    return entrypoint


async def would_match(
    connection: Connection, entrypoint: str, *, company: str | None = None, contains: str = ""
) -> Matching:
    """The waiting jobs that such a quarantine would hold. Needs no more than to read. Raises NotPossible."""
    company_id = None if company is None else str(await known_company(connection, company))
    row = await connection.fetchrow(_MATCHING, entrypoint, company_id, _piece(contains).lower())
    assert row is not None
    return Matching(waiting=row["waiting"], companies=row["companies"])


async def cause_of(connection: Connection, fingerprint: str) -> Cause:
    """What is held of one cause, on a connection that sees all companies. Raises NotPossible when nothing is."""
    row = await connection.fetchrow(_CAUSE, fingerprint)
    if row is None:
        raise NotPossible(f"No held job has the cause {fingerprint}.", "`askpro queue held` shows causes.")
    return Cause(entrypoint=row["entrypoint"], companies=tuple(row["companies"] or ()), held=row["held"])


def _piece(contains: str) -> str:
    piece = contains.replace("\0", "").strip()
    if len(piece) > LONGEST_PIECE:
        raise NotPossible(f"A quarantine looks for at most {LONGEST_PIECE} characters.", "Take what sets them apart.")
    return piece
