"""One job under the lamp: every start and its traceback, why it is held, what it came of, became, and is about.

Read it through `backend.watch.details`, whose rules hold here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import UUID

import msgspec

NESTED = 4
"""Levels of a payload in which ids are looked for."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a job."""

    job_id: int
    attempt: int
    entrypoint: str
    node: str
    """Of its worker; empty when the worker is forgotten."""
    worker_id: str
    started_at: float
    ended_at: float | None
    """None while it runs, or when its worker crashed."""
    outcome: str
    """A word of `RunOutcome`; empty while it runs, `crashed` when its worker did."""
    waited_s: float | None
    error: str
    traceback: str = ""
    """Of an attempt that failed, while the engine's log has it (7 days)."""

    @property
    def took_s(self) -> float | None:
        """How long it ran; None while it runs, or when its worker crashed."""
        return None if self.ended_at is None else self.ended_at - self.started_at


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is held."""

    queue: str
    fingerprint: str
    error_type: str
    message: str
    traceback: str
    attempts: int
    enqueued_at: float
    held_at: float
    state: str
    """A word of `HeldState`."""
    decided_at: float | None = None
    decided_by: str = ""
    """Who retried, discarded, moved or edited it; empty while it is held."""


class Kin(msgspec.Struct, frozen=True, kw_only=True):
    """A job that this one was made of, or that was made of it."""

    job_id: int
    entrypoint: str
    how: str
    """A word of `JobOrigin`: how the younger of the two was made of the elder."""
    by: str
    at: float
    state: str
    """queued, picked, failed: in the engine; a word of `HeldState`; or how its last run ended."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did about this one job."""

    at: float
    by: str
    action: str
    """As the record calls it: `held.retry`, `job.reveal`, …"""
    reason: str


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One job: what waits or runs in the engine, what was held, and every start."""

    job_id: int
    entrypoint: str
    company: str
    state: str
    """queued, picked, failed: in the engine; gone: done or discarded."""
    attempts: int
    priority: int
    enqueued_at: float | None
    execute_after: float | None
    heartbeat_at: float | None
    dedupe_key: str
    payload: bytes
    """JSON as a rule; its first 100,000 bytes."""
    held: Held | None
    runs: tuple[Run, ...]
    """Oldest first, at most 200."""
    came_of: tuple[Kin, ...] = ()
    """What it was edited or moved from, the nearest first."""
    became: tuple[Kin, ...] = ()
    """What was made of it, and of that, oldest first."""
    decisions: tuple[Decision, ...] = ()
    """Oldest first, at most 50; those about many jobs at once stand in `held`."""
    webhook_id: str = ""
    """The delivery that it works off; empty when there is none."""
    call_id: str = ""
    customer_id: str = ""
    appointment_id: str = ""


class HeldJob(msgspec.Struct, frozen=True, kw_only=True):
    """One held job in a list."""

    job_id: int
    entrypoint: str
    company: str
    message: str
    attempts: int
    enqueued_at: float
    held_at: float


class Clues(msgspec.Struct, frozen=True, kw_only=True):
    """What a payload says about what the job is about."""

    inbox_id: UUID | None = None
    subject: str | None = None
    """The provider's id of a call."""
    call_id: UUID | None = None
    customer_id: UUID | None = None
    appointment_id: UUID | None = None
    notification_id: UUID | None = None
    callback_id: UUID | None = None


def clues_in(payload: bytes, dedupe_key: str = "") -> Clues:
    """The ids that a payload names, wherever in it; nothing of what is not JSON."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return Clues()
    found: dict[str, object] = {}
    for name, value in _pairs(content, NESTED):
        first = value[0] if isinstance(value, list) and value else value
        found.setdefault("callback_id" if name == "callback_ids" else name, first)
    subject = found.get("subject")
    for key in (found.get("key"), dedupe_key):
        if subject is None and isinstance(key, str) and key.startswith(("call:", "book:")):
            subject = key.partition(":")[2]
    return Clues(
        inbox_id=_uuid(found.get("inbox_id")),
        subject=subject if isinstance(subject, str) and _is_storable(subject) else None,
        call_id=_uuid(found.get("call_id")),
        customer_id=_uuid(found.get("customer_id")),
        appointment_id=_uuid(found.get("appointment_id")),
        notification_id=_uuid(found.get("notification_id")),
        callback_id=_uuid(found.get("callback_id")),
    )


def _pairs(content: object, left: int) -> Iterable[tuple[str, object]]:
    """Every name with its value, the outermost first."""
    if not isinstance(content, dict) or not left:
        return
    yield from content.items()
    for value in content.values():
        yield from _pairs(value, left - 1)


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL takes it as text."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


RUN_TRACEBACK = """coalesce((select left(l.traceback ->> 'traceback', 20000) from pgqueuer_log l
                        where r.outcome in ('retry', 'held') and l.job_id = r.job_id and l.traceback is not null
                          and l.created between r.ended_at - interval '5 seconds' and r.ended_at + interval '1 second'
                        order by l.created desc limit 1), '')"""
"""Of the run `r`: the engine's log notes a failure in the statement that ends the run."""

_STATE = """coalesce(j.status::text, h.state, (
            select outcome from job_runs r where r.job_id = k.{job} order by started_at desc limit 1), 'gone')"""

_TYPE = """coalesce(j.entrypoint, h.entrypoint, (
            select entrypoint from job_runs r where r.job_id = k.{job} order by started_at desc limit 1), '')"""

KIN = f"""
with recursive elder as (
    select l.*, 1 as step from job_lineage l where l.job_id = $1
    union all select l.*, elder.step + 1 from elder join job_lineage l on l.job_id = elder.came_of where step < 50
), younger as (
    select l.*, 1 as step from job_lineage l where l.came_of = $1
    union all select l.*, younger.step + 1 from younger join job_lineage l on l.came_of = younger.job_id where step < 50
)
select json_build_object(
    'came_of', (select coalesce(json_agg(json_build_object(
            'job_id', k.came_of, 'entrypoint', {_TYPE.format(job="came_of")}, 'how', k.how, 'by', k.made_by,
            'at', date_part('epoch', k.made_at), 'state', {_STATE.format(job="came_of")}) order by k.step), '[]')
        from elder k left join pgqueuer j on j.id = k.came_of left join held_jobs h on h.job_id = k.came_of),
    'became', (select coalesce(json_agg(json_build_object(
            'job_id', k.job_id, 'entrypoint', {_TYPE.format(job="job_id")}, 'how', k.how, 'by', k.made_by,
            'at', date_part('epoch', k.made_at), 'state', {_STATE.format(job="job_id")}) order by k.made_at), '[]')
        from (select * from younger limit 50) k
        left join pgqueuer j on j.id = k.job_id left join held_jobs h on h.job_id = k.job_id),
    'decisions', (select coalesce(json_agg(json_build_object(
            'at', date_part('epoch', at), 'by', actor, 'action', action, 'reason', reason) order by id), '[]')
        from (select * from audit_log where subject = 'job ' || $1::text order by id desc limit 50) latest),
    'named', (
        with delivery as (select id, provider, subject from webhook_inbox where id = $2),
        reminded as (select appointment_id, company_id from notifications where id = $6),
        wanted as (select id, call_id, customer_id, company_id from callback_requests where id = $7),
        call as (
            select id, company_id, customer_id from calls where id = $4
            union all select id, company_id, customer_id from calls where id = (select call_id from wanted)
            union all select id, company_id, customer_id from calls
                where provider = coalesce((select provider from delivery), 'retell')
                  and provider_call_id = coalesce($3, (select subject from delivery))
            limit 1),
        appointment as (
            select id, customer_id, call_id from appointments where id = $5
            union all select a.id, a.customer_id, a.call_id from appointments a where a.id = (
                select appointment_id from reminded)
            union all (select a.id, a.customer_id, a.call_id from appointments a, call
                where a.company_id = call.company_id and a.call_id = call.id order by a.created_at limit 1)
            limit 1)
        select json_build_object(
            'webhook_id', coalesce((select id from delivery)::text, ''),
            'call_id', coalesce((select id from call), (select call_id from appointment))::text,
            'customer_id', coalesce((select id from customers where id = $8),
                                    (select customer_id from call), (select customer_id from appointment),
                                    (select customer_id from wanted))::text,
            'appointment_id', (select id from appointment)::text)))
"""  # noqa: S608 - only constants of this module


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around a job; the answer of `KIN`."""

    came_of: tuple[Kin, ...]
    became: tuple[Kin, ...]
    decisions: tuple[Decision, ...]
    named: dict[str, str | None]


def with_around(job: JobDetail, around: Around) -> JobDetail:
    """The job with what stands around it."""
    named = {name: value or "" for name, value in around.named.items()}
    return msgspec.structs.replace(
        job, came_of=around.came_of, became=around.became, decisions=around.decisions, **named
    )
