"""What people and the balancer say about a queue, as one worker has to obey it: slots, pauses, quarantines, orders.

`read_control` reads it with one statement; everything else here is arithmetic on what was read. Times are seconds of
this process's monotonic clock, so that a pause ends on time and a ramp goes on while the database is away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.vocabulary import PauseKind, Provider, QueueName
from backend.postgres.pools import Connection
from backend.queue.failures import Failure, fingerprint
from backend.queue.outages import TRANSIENT
from backend.queue.policies import job_type_of

CHANNEL = "askpro_control"
"""Rings at each change of what stands here."""

RAMP_STEP_S = 0.25
"""On a ramp the number of slots is reckoned anew so often."""

SAME_S = 0.1
"""Two readings tell of the same end if they differ by less: each reckons it from when it asked."""

QUARANTINED = "Quarantined"
"""The error type of jobs that were held before they ran."""

_READ = """
with clock as materialized (select clock_timestamp() as now)
select json_build_object(
    'slots', (select slots from queue_slots where queue = $2 and node in ($1, '') order by node desc limit 1),
    'pauses', (
        select json_agg(json_build_object(
            'kind', kind, 'name', name, 'company_id', company_id, 'ramp_s', ramp_s,
            'left_s', extract(epoch from coalesce(resumed_at, until) - now)) order by id)
        from pauses, clock
        where (resumed_at is null or resumed_at > now - interval '1 day')
          and (kind in ('job_type', 'company', 'provider')
               or kind = 'queue' and name = $2 or kind = 'node' and name = $1)
          and (coalesce(resumed_at, until) is null
               or coalesce(resumed_at, until) + make_interval(secs => ramp_s) > now)
    ),
    'quarantines', (
        select json_agg(json_build_object(
            'id', id, 'entrypoint', entrypoint, 'company_id', company_id, 'contains', contains,
            'fingerprint', fingerprint, 'reason', reason, 'made_by', made_by,
            'left_s', extract(epoch from until - now)) order by id)
        from quarantines, clock
        where lifted_at is null and (until is null or until > now)
    ),
    'moved', (select json_agg(entrypoint order by entrypoint) from moved_job_types where queue = $2),
    'resets', (
        select json_agg(json_build_object('provider', provider, 'at', extract(epoch from reset_at)) order by provider)
        from breaker_resets
    ),
    'has_parked', exists (select from parked_jobs)
)
"""


class _Pause(msgspec.Struct, frozen=True):
    kind: PauseKind
    name: str
    company_id: UUID | None
    ramp_s: int
    left_s: float | None
    """Until its end, negative after it; None: until somebody resumes."""


class _Quarantine(msgspec.Struct, frozen=True):
    id: int
    entrypoint: str
    company_id: UUID | None
    contains: str
    fingerprint: str | None
    reason: str
    made_by: str
    left_s: float | None


class _Reset(msgspec.Struct, frozen=True):
    provider: str
    at: float


class _Read(msgspec.Struct, frozen=True):
    slots: int | None
    pauses: list[_Pause] | None
    quarantines: list[_Quarantine] | None
    moved: list[str] | None
    resets: list[_Reset] | None
    has_parked: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Something that is paused, or that is let up to full speed after it was."""

    kind: PauseKind
    name: str
    company_id: UUID | None = None
    ends: float = math.inf
    """Past or future; inf: when somebody resumes."""
    ramp_s: float = 0.0

    def share(self, now: float) -> float:
        """How much of full speed is allowed: 0 while paused, 1 after the ramp."""
        if now < self.ends:
            return 0.0
        return min(1.0, (now - self.ends) / self.ramp_s) if self.ramp_s else 1.0

    def changes_at(self, now: float) -> float:
        """When the share is another one."""
        if now < self.ends:
            return self.ends
        return now + RAMP_STEP_S if self.share(now) < 1 else math.inf


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Jobs that are to be held before they run."""

    id: int
    entrypoint: str
    company_id: UUID | None = None
    contains: str = ""
    """Stands somewhere in the payload, in any case; empty: any payload."""
    fingerprint: str | None = None
    """The cause as which they are held; None: a cause of its own for each reason."""
    reason: str = ""
    made_by: str = ""
    ends: float = math.inf

    def matches(self, entrypoint: str, company_id: UUID | None, payload: bytes, now: float) -> bool:
        """Whether such a job is to be held."""
        return (
            job_type_of(entrypoint) == job_type_of(self.entrypoint)
            and (self.company_id is None or self.company_id == company_id)
            and now < self.ends
            and (not self.contains or self.contains.lower() in payload.decode("utf-8", "replace").lower())
        )

    def verdict(self, entrypoint: str) -> Failure:
        """As what a job that matches is held."""
        message = f"held before it ran by quarantine {self.id} of {self.made_by}: {self.reason}".rstrip(": ")
        cause = self.fingerprint or fingerprint(job_type_of(entrypoint), QUARANTINED, self.reason)
        return Failure(fingerprint=cause, error_type=QUARANTINED, message=message, traceback="")


Ends = TypeVar("Ends", Pause, Quarantine)


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker would do if nobody said anything."""

    queue: QueueName
    slots: int
    """Jobs at once by its policy."""
    types: tuple[str, ...]
    """The queue's own job types."""
    provider_of: Callable[[str], Provider | None] = lambda entrypoint: None
    """The provider that jobs of a type cannot do without."""
    ceiling: int = 1_000
    """Jobs at once that its policy does not go beyond, whoever says so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to take, until `valid_until`."""

    slots: int
    """Jobs at once, of all types."""
    types: tuple[str, ...]
    """Job types to be taken as there is room."""
    ramped: tuple[tuple[frozenset[str], int], ...] = ()
    """Job types that may have only so many jobs at once, together; a type stands in one of them."""
    valid_until: float = math.inf

    def lanes(self, room: int, running: Callable[[], Iterable[str]]) -> list[tuple[tuple[str, ...], int]]:
        """What to look for with room for so many jobs: job types and how many of them; `running` names those at work.

        Nearly always one lane with everything. Those on a ramp come first, else the others would leave no room.
        """
        lanes = []
        if self.ramped:
            busy = list(running())
            for types, most in self.ramped:
                free = min(room, most - sum(entrypoint in types for entrypoint in busy))
                if free > 0:
                    lanes.append((tuple(sorted(types)), free))
        if self.types:
            lanes.append((self.types, room))
        return lanes


@dataclass(frozen=True, slots=True)
class Control:
    """What is in force for one queue on one node."""

    slots: int | None = None
    """Jobs at once; None: as its policy says."""
    pauses: tuple[Pause, ...] = ()
    """Of this queue and node, and of all job types, companies and providers."""
    quarantines: tuple[Quarantine, ...] = ()
    moved: tuple[str, ...] = ()
    """Job types of other queues that this queue's workers take as well."""
    resets: tuple[tuple[str, float], ...] = ()
    """Providers whose breakers were closed by hand, and when (Unix time)."""
    has_parked: bool = False
    """Whether jobs are put off because of their company."""

    @property
    def is_quiet(self) -> bool:
        """Whether jobs that were taken need no second look."""
        return not self.pauses and not self.quarantines and not self.has_parked

    def known_as(self, before: Control) -> Control:
        """The same with the ends of `before` where they are the same but for what reading them takes."""
        return replace(
            self,
            pauses=tuple(_known(one, before.pauses) for one in self.pauses),
            quarantines=tuple(_known(one, before.quarantines) for one in self.quarantines),
        )

    def share(self, now: float, kind: PauseKind, name: str) -> float:
        """How much of full speed this may have: 0 when it is paused, 1 when nobody said anything."""
        return min((one.share(now) for one in self.pauses if one.kind is kind and one.name == name), default=1.0)

    def full(self, work: Work) -> int:
        """Jobs at once while nothing is paused or on a ramp."""
        return work.slots if self.slots is None else min(self.slots, work.ceiling)

    def slots_now(self, work: Work, now: float) -> int:
        """Jobs at once: none while the queue or the node is paused, a growing part of them on a ramp."""
        whole = (PauseKind.QUEUE, PauseKind.NODE)
        share = min((one.share(now) for one in self.pauses if one.kind in whole), default=1.0)
        return _part(self.full(work), share)

    def takes(self, work: Work, entrypoint: str, now: float) -> float:
        """How much of full speed a job type may have; 0 when it, or the provider that it needs, is paused."""
        names = {entrypoint, job_type_of(entrypoint)}
        share = min(self.share(now, PauseKind.JOB_TYPE, name) for name in names)
        provider = work.provider_of(entrypoint)
        return share if provider is None else min(share, self.share(now, PauseKind.PROVIDER, provider.value))

    def plan(self, work: Work, now: float) -> Plan:
        """What to take now, and for how long that is right."""
        slots = self.slots_now(work, now)
        types = (*work.types, *(moved_name(work.queue, entrypoint) for entrypoint in self.moved))
        shares = {entrypoint: self.takes(work, entrypoint, now) for entrypoint in types}
        ramped: dict[object, set[str]] = {}
        for entrypoint, share in shares.items():
            if 0 < share < 1:
                provider = work.provider_of(entrypoint)
                together = provider is not None and self.share(now, PauseKind.PROVIDER, provider.value) == share
                ramped.setdefault(provider if together else entrypoint, set()).add(entrypoint)
        return Plan(
            slots=slots,
            types=tuple(entrypoint for entrypoint, share in shares.items() if share == 1),
            ramped=tuple(
                (frozenset(members), _part(slots, min(shares[member] for member in members)))
                for members in ramped.values()
            ),
            # A company's jobs are taken like others, and parked then.
            valid_until=min(
                (one.changes_at(now) for one in self.pauses if one.kind is not PauseKind.COMPANY), default=math.inf
            ),
        )

    def is_paused(self, company_id: UUID | None, now: float) -> bool:
        """Whether jobs of this company are to be parked."""
        return company_id is not None and any(
            one.kind is PauseKind.COMPANY and one.company_id == company_id and now < one.ends for one in self.pauses
        )

    def quarantined(self, entrypoint: str, company_id: UUID | None, payload: bytes, now: float) -> Quarantine | None:
        """The quarantine that such a job is in."""
        matching = (one for one in self.quarantines if one.matches(entrypoint, company_id, payload, now))
        return next(matching, None)

    def held_open(self, now: float) -> dict[str, float]:
        """Providers that are paused, and until when (inf: until somebody resumes)."""
        return {one.name: one.ends for one in self.pauses if one.kind is PauseKind.PROVIDER and now < one.ends}

    def told(self, work: Work, now: float) -> dict[str, object]:
        """What is in force, for the roster: JSON."""
        slots = self.slots_now(work, now)
        shares = [one.share(now) for one in self.pauses]
        return {
            "slots": slots,
            "base": work.slots,
            "paused": sorted(f"{one.kind} {one.name}" for one in self.pauses if one.share(now) == 0),
            "ramp": round(min((share for share in shares if share > 0), default=1.0), 3),
            "quarantines": len(self.quarantines),
            "moved": list(self.moved),
        }


def _known(one: Ends, before: Iterable[Ends]) -> Ends:
    """The one of `before` that this is, read again; else this one."""
    same = (old for old in before if abs(old.ends - one.ends) < SAME_S and replace(one, ends=old.ends) == old)
    return next(same, one)


def _part(slots: int, share: float) -> int:
    """A share of the slots: at least one unless there is to be none."""
    return math.ceil(slots * share - 1e-9)


def moved_name(queue: QueueName | str, entrypoint: str) -> str:
    """What a job of another queue's type is called in this queue: `default.webhooks.retell_call`."""
    return f"{queue}.{entrypoint}"


class ControlUnreadable(Exception):
    """What is in force stands there in a way that cannot be read: whoever asks goes on as before."""


async def read_control(connection: Connection, node: str, queue: QueueName) -> Control:
    """What is in force now. Needs the worker's role.

    Raises ControlUnreadable, and when the database is away asyncpg's errors, OSError or TimeoutError.
    """
    asked = time.monotonic()
    try:
        read = msgspec.json.decode(await connection.fetchval(_READ, node, queue.value, timeout=5.0), type=_Read)
    except TRANSIENT:
        raise
    except (asyncpg.PostgresError, msgspec.MsgspecError) as error:
        raise ControlUnreadable(f"{type(error).__name__}: {error}") from error
    return Control(
        slots=read.slots,
        pauses=tuple(
            Pause(one.kind, one.name, one.company_id, _moment(asked, one.left_s), one.ramp_s)
            for one in read.pauses or ()
        ),
        quarantines=tuple(
            Quarantine(
                id=one.id,
                entrypoint=one.entrypoint,
                company_id=one.company_id,
                contains=one.contains,
                fingerprint=one.fingerprint,
                reason=one.reason,
                made_by=one.made_by,
                ends=_moment(asked, one.left_s),
            )
            for one in read.quarantines or ()
        ),
        moved=tuple(read.moved or ()),
        resets=tuple((one.provider, one.at) for one in read.resets or ()),
        has_parked=read.has_parked,
    )


def _moment(asked: float, left_s: float | None) -> float:
    return math.inf if left_s is None else asked + left_s
