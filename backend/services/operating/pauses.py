"""Pauses: of a queue, a job type, a company, a provider, a node or a schedule; by whom, why, until when, and the ramp.

A pause whose time is over is over for everybody at once, by the clock; `end_due` writes that down afterwards.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection
from backend.queue.policies import Policies, in_force
from backend.services.operating.audit import By, kept_reason, record
from backend.services.operating.refusals import AlreadySo, NotPossible
from backend.services.operating.subjects import Subject, subject

LONGEST_RAMP_S = 86_400

ITS_TIME = "its time"
"""Who ended a pause that ended by itself."""

_COLUMNS = (
    "p.id, p.kind, p.name, p.company_id, p.reason, p.paused_by, p.paused_at, p.until, p.ramp_s, p.resumed_at,"
    " p.resumed_by"
)

_PAUSE = f"""
insert into pauses as p (kind, name, company_id, reason, paused_by, until, ramp_s)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (kind, name) where resumed_at is null do update
set reason = excluded.reason, paused_by = excluded.paused_by, until = excluded.until, ramp_s = excluded.ramp_s
returning {_COLUMNS}, xmax <> 0 as is_changed
"""  # noqa: S608  # only constants of this module

_RESUME = f"""
update pauses p set resumed_at = now(), resumed_by = $3, ramp_s = coalesce($4::integer, ramp_s)
where kind = $1 and name = $2 and resumed_at is null
returning {_COLUMNS}
"""  # noqa: S608  # only constants of this module

_END_DUE = f"""
update pauses p set resumed_at = until, resumed_by = '{ITS_TIME}'
where p.resumed_at is null and p.until <= now() and ($1::text is null or p.kind = $1 and p.name = $2)
returning {_COLUMNS}
"""  # noqa: S608  # only constants of this module

# A parked job starts by its turn: over the ramp when there is one, so that a provider is not run over.
_RELEASE = """
with released as (
    -- In the order in which workers lock what they take up.
    delete from parked_jobs
    where job_id in (select job_id from parked_jobs where kind = $1 and name = $2 order by job_id for update)
    returning job_id
), started as (
    update pgqueuer job
    set execute_after = now() + make_interval(secs => $3 * random()), updated = now()
    from released
    where job.id = released.job_id and job.status = 'queued' and job.execute_after > now()
    returning job.entrypoint
), rung as (
    select pg_notify('askpro_queue_' || left(queue, 40), '')
    from (select distinct split_part(entrypoint, '.', 1) as queue from started) rings
)
select (select count(*) from started) as jobs, (select count(*) from rung) as rings
"""

_LIST = f"""
select {_COLUMNS} from pauses p
where $1 or p.resumed_at is null and (p.until is null or p.until > now())
order by p.paused_at desc, p.id desc limit $2
"""  # noqa: S608  # only constants of this module


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """One pause."""

    id: int
    kind: PauseKind
    name: str
    company_id: UUID | None
    reason: str
    paused_by: str
    paused_at: datetime
    until: datetime | None
    """When it ends by itself; None: when somebody resumes."""
    ramp_s: int
    resumed_at: datetime | None = None
    resumed_by: str | None = None
    is_changed: bool = False
    """Whether it had been paused already, and only reason, end or ramp were said anew."""


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What a resume did."""

    pause: Pause
    released: int
    """Jobs that had been put off because of it and may start now."""


async def pause(
    connection: Connection,
    by: By,
    kind: PauseKind,
    name: str,
    *,
    reason: str,
    until: datetime | None = None,
    ramp_s: int = 0,
    policies: Policies | None = None,
) -> Pause:
    """Pause something. What is paused already stays so, with this reason, end and ramp.

    `until` is aware; `policies` are those this process works by unless told otherwise. Raises NotPossible, asyncpg's
    errors.
    """
    named = await subject(connection, kind, name, policies)
    _may_be_paused(named, policies or in_force())
    if until is not None and until <= datetime.now(UTC):
        raise NotPossible("The end of the pause is over already.", "Give a span such as 30m.")
    _ramp(ramp_s)
    await end_due(connection, named)
    row = await connection.fetchrow(
        _PAUSE, kind.value, name, named.company_id, kept_reason(reason), by.actor, until, ramp_s
    )
    assert row is not None
    paused = msgspec.convert(dict(row), Pause)
    detail = {"pause": paused.id, "until": until, "ramp_s": ramp_s, "changed": paused.is_changed}
    await record(connection, by, f"{kind}.pause", name, reason=reason, company_id=named.company_id, detail=detail)
    return paused


async def resume(
    connection: Connection, by: By, kind: PauseKind, name: str, *, ramp_s: int | None = None, reason: str = ""
) -> Resumed:
    """End a pause; over `ramp_s` seconds (None: as the pause says) it comes to full speed.

    Raises AlreadySo when it is not paused, NotPossible, asyncpg's errors.
    """
    if ramp_s is not None:
        _ramp(ramp_s)
    await end_due(connection, Subject(kind, name))
    row = await connection.fetchrow(_RESUME, kind.value, name, by.actor, ramp_s)
    if row is None:
        raise AlreadySo(f"{_capital(Subject(kind, name))} is not paused.", "`askpro queue pauses` shows what is.")
    ended = msgspec.convert(dict(row), Pause)
    resumed = Resumed(pause=ended, released=await _release(connection, ended))
    detail = {"pause": ended.id, "ramp_s": ended.ramp_s, "released": resumed.released}
    await record(connection, by, f"{kind}.resume", name, reason=reason, company_id=ended.company_id, detail=detail)
    return resumed


async def end_due(connection: Connection, only: Subject | None = None, *, node: str = "") -> tuple[Resumed, ...]:
    """Write down which pauses ended by themselves, and let their jobs start. Does nothing when none did."""
    chosen = (None, None) if only is None else (only.kind.value, only.name)
    ended = [msgspec.convert(dict(row), Pause) for row in await connection.fetch(_END_DUE, *chosen)]
    done = []
    for each in ended:
        done.append(Resumed(pause=each, released=await _release(connection, each)))
        await record(
            connection,
            By(ITS_TIME, node),
            f"{each.kind}.resume",
            each.name,
            reason=f"paused by {each.paused_by} until then",
            company_id=each.company_id,
            detail={"pause": each.id, "ramp_s": each.ramp_s, "released": done[-1].released},
        )
    return tuple(done)


async def list_pauses(connection: Connection, *, ended: bool = False, limit: int = 200) -> list[Pause]:
    """What is paused, the latest first; with `ended` also what was. Needs no more than to read."""
    return [msgspec.convert(dict(row), Pause) for row in await connection.fetch(_LIST, ended, limit)]


async def _release(connection: Connection, ended: Pause) -> int:
    row = await connection.fetchrow(_RELEASE, ended.kind.value, ended.name, float(ended.ramp_s))
    return int(row["jobs"]) if row is not None else 0


def _capital(named: Subject) -> str:
    """As a sentence begins; the name stays as it is."""
    told = str(named)
    return told[:1].upper() + told[1:]


def _ramp(ramp_s: int) -> None:
    if not 0 <= ramp_s <= LONGEST_RAMP_S:
        raise NotPossible("A ramp takes at most a day.", "Give a span such as 5m.")


def _may_be_paused(named: Subject, policies: Policies) -> None:
    """Raises NotPossible for what its policy keeps going."""
    match named.kind:
        case PauseKind.QUEUE:
            goes = next(policy.pausable for queue, policy in policies.queues.items() if queue == named.name)
        case PauseKind.JOB_TYPE | PauseKind.SCHEDULE:
            goes = policies.job(named.name).pausable
        case _:
            goes = True
    if not goes:
        raise NotPossible(
            f"{_capital(named)} is not to be paused, its policy says.",
            f"`askpro queue policies {named.name}` tells where that comes from.",
        )
