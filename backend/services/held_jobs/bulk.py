"""One decision about many held jobs: in small batches, each a transaction of its own, at a rate, recorded and audited.

What matches when it begins is decided about, oldest job first; a job that is held anew meanwhile is not taken again.
Its row in `bulk_actions` counts with each batch, in that batch's transaction: whatever happens to whoever works on it,
the row is right. It can be asked to stop from anywhere (`ask_cancel`). When the database goes away it is waited for;
when whoever works on it dies, the row stays as running and falls silent, which everybody who reads it is told.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from backend.domain.vocabulary import BulkAction, BulkState, QueueName
from backend.postgres.pools import DATABASE_ERRORS, Connection
from backend.queue.failures import storable
from backend.queue.held import discard_held, retry_held
from backend.services.held_jobs.moving import move_held
from backend.services.held_jobs.pace import Pace, is_rate
from backend.services.held_jobs.recorded import FELL_SILENT, ask_cancel, give_up_silent
from backend.services.held_jobs.selecting import HeldFilter, company_id_of, conditions
from backend.services.operating.audit import By, kept_reason, record
from backend.services.operating.refusals import NotPossible

__all__ = ["BulkResult", "Progress", "ask_cancel", "run_bulk"]

PATIENCE_S = 20.0
"""How long a database that went away is waited for."""

LOOK_S = 0.5
"""While it waits for its rate, it says that it lives and looks whether it is to stop this often."""

TRIES = 3
"""A batch that meets another transaction's is tried so often as a whole, then job by job; the same statement may be
lost with the database so often."""

CLOSE_S = 2.0
"""How long it may take to write down the end and to part from the database."""

GONE = "the database went away and did not come back in time"
DECIDED = "somebody decided about it meanwhile"
STANDS_THERE = "it stands in that queue already"
EQUAL_WAITS = "an equal job waits already, or it was done after all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    bulk_id: UUID
    action: BulkAction
    state: BulkState
    matched: int
    done: int
    skipped: int
    per_s: float | None
    """The rate it is held to."""
    elapsed_s: float
    waiting_for: str = ""
    """What keeps it up just now: the database, when that went away; else empty."""

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at the rate it has had; None before the first batch."""
        through = self.done + self.skipped
        return None if not through else self.elapsed_s / through * max(0, self.matched - through)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """How it ended."""

    bulk_id: UUID
    action: BulkAction
    state: BulkState
    matched: int
    done: int
    skipped: int
    elapsed_s: float
    why_skipped: dict[str, int] = field(default_factory=dict)
    """Reasons and jobs; those of a batch whose answer was lost are not in it."""
    error: str = ""
    """Why it failed."""

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped before its end."""
        return self.state is BulkState.CANCELLED


_BEGIN = """
insert into bulk_actions (action, filter, reason, started_by, node, per_s, matched)
select $1, $2::jsonb, $3, $4, $5, $6::double precision, count(*) from held_jobs h where {conditions}
returning id, started_at, matched
"""

_NEXT = """
select h.job_id from held_jobs h
where h.job_id > $1 and h.held_at <= $2 and {conditions}
order by h.job_id limit $3
"""

_COUNT = """
update bulk_actions set done = done + $2, skipped = skipped + $3, seen_at = clock_timestamp()
where id = $1 and state = 'running' returning is_cancel_asked
"""

_STANDS = "select state, done, skipped, is_cancel_asked from bulk_actions where id = $1"

_END = """
update bulk_actions
set state = $2, error = $3, ended_at = clock_timestamp(), seen_at = clock_timestamp()
where id = $1 and state = 'running'
"""

_WHY = """
select case when h.state is distinct from 'held' then $3 when h.queue = $2 then $4 else $5 end as why, count(*) as jobs
from unnest($1::bigint[]) as w (id) left join held_jobs h on h.job_id = w.id group by 1
"""

_LOST: tuple[type[Exception], ...] = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    OSError,
    TimeoutError,
    EOFError,
)
"""The database went away, or has no room just now."""

_MET: tuple[type[Exception], ...] = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
"""Another transaction did something about the same jobs at the same moment."""


class _Closed(Exception):
    """Somebody else has ended the action's record."""


def ignore(_progress: Progress) -> None:
    """For whoever does not want to know."""


async def run_bulk(
    connect: Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]],
    by: By,
    action: BulkAction,
    held: HeldFilter,
    *,
    per_s: float | None = None,
    reason: str = "",
    queue: QueueName | None = None,
    on_progress: Callable[[Progress], None] = ignore,
    stop: asyncio.Event | None = None,
    patience_s: float = PATIENCE_S,
) -> BulkResult:
    """Decide about all held jobs that match; ends when all are through, when asked to, or when it cannot go on.

    `connect` opens a connection of the worker's role, which is closed here; `per_s` bounds the jobs of a second;
    `queue` is where `BulkAction.MOVE` moves to. `on_progress` is called after each batch, on the event loop. `stop`
    ends it after the batch that is under way; so does `ask_cancel`. A cancelled task undoes the batch that is under
    way, keeps those before it, and raises CancelledError as it should.

    Raises NotPossible when it cannot be done as asked, and the database's errors while nothing has begun;
    afterwards the result says why it failed.
    """
    if action is BulkAction.EDIT:
        raise NotPossible("Jobs are edited one at a time.", "Open the job and edit it there.")
    if (action is BulkAction.MOVE) != (queue is not None):
        raise NotPossible("Moving needs a queue, and nothing else does.", "Name the queue to move to.")
    if per_s is not None and not is_rate(per_s):
        raise NotPossible(f"{per_s:g} jobs per second is no rate.", "Give a number above 0, or none.")
    asked = _Asked(
        connect=connect,
        by=by,
        action=action,
        held=held,
        per_s=per_s,
        reason=kept_reason(storable(reason)),
        queue=queue,
        on_progress=on_progress,
        stop=stop or asyncio.Event(),
        patience_s=patience_s,
    )
    return await _Run(asked).whole()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was asked for; see `run_bulk`."""

    connect: Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]
    by: By
    action: BulkAction
    held: HeldFilter
    per_s: float | None
    reason: str
    queue: QueueName | None
    on_progress: Callable[[Progress], None]
    stop: asyncio.Event
    patience_s: float


class _Run:
    """One action from its beginning to its end."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._began = time.monotonic()
        self._pace = Pace(asked.per_s, self._began)
        self._why: Counter[str] = Counter()
        self._is_cancel_asked = False

    async def whole(self) -> BulkResult:
        """Begin, work, end."""
        await self._begin()
        state, error = BulkState.DONE, ""
        try:
            if not await self._work():
                state = BulkState.CANCELLED
        except _Closed:
            state, error = BulkState.FAILED, FELL_SILENT
        except _LOST as wrong:
            state, error = BulkState.FAILED, f"{GONE} ({type(wrong).__name__}); what is left can be done again"
        except DATABASE_ERRORS as wrong:
            state, error = BulkState.FAILED, f"{type(wrong).__name__}: {wrong}".rstrip(": ")
        except BaseException:
            # The batch under way is undone; what is recorded has to say so, whatever becomes of this task.
            with suppress(TimeoutError, *DATABASE_ERRORS):
                await asyncio.wait_for(asyncio.shield(self._end(BulkState.CANCELLED, "")), CLOSE_S)
            await self._leave()
            raise
        with suppress(*DATABASE_ERRORS):
            await self._end(state, error)
        await self._leave()
        told = self._tell(state)
        return BulkResult(
            bulk_id=told.bulk_id,
            action=told.action,
            state=state,
            matched=told.matched,
            done=told.done,
            skipped=told.skipped,
            elapsed_s=told.elapsed_s,
            why_skipped=dict(self._why),
            error=error,
        )

    async def _begin(self) -> None:
        connection = self._connection = await self._asked.connect()
        try:
            self._company_id = await company_id_of(connection, self._asked.held)
            where = conditions(self._asked.held, self._company_id, first=7)
            async with connection.transaction():
                await give_up_silent(connection)
                row = await connection.fetchrow(
                    _BEGIN.replace("{conditions}", where.sql),
                    self._asked.action.value,
                    json.dumps(self._asked.held.as_record()),
                    self._asked.reason,
                    self._asked.by.actor,
                    self._asked.by.node,
                    self._asked.per_s,
                    *where.arguments,
                )
                assert row is not None
                self._id: UUID = row["id"]
                self._started: datetime = row["started_at"]
                self._matched: int = row["matched"]
                self._done = self._skipped = 0
                detail = {"bulk": str(self._id), "matched": self._matched, "filter": self._asked.held.as_record()}
                if self._asked.queue is not None:
                    detail["queue"] = self._asked.queue.value
                if self._asked.per_s is not None:
                    detail["per_s"] = self._asked.per_s
                await self._record(connection, f"held.{self._asked.action}", detail)
        except BaseException:
            await self._leave()
            raise
        self._tell(BulkState.RUNNING)

    async def _record(self, connection: Connection, action: str, detail: dict[str, object]) -> None:
        await record(
            connection,
            self._asked.by,
            action,
            self._asked.held.told()[:500],
            reason=self._asked.reason,
            company_id=self._company_id,
            detail=detail,
        )

    async def _work(self) -> bool:
        """All batches; False when it was asked to stop."""
        where = conditions(self._asked.held, self._company_id, first=4)
        statement = _NEXT.replace("{conditions}", where.sql)
        after = 0
        while True:
            ids = await self._window_after(statement, after, where.arguments)
            if not ids:
                return True
            for place in range(0, len(ids), self._pace.batch):
                if not await self._in_turn():
                    return False
                began, before = time.monotonic(), self._done
                await self._through(ids[place : place + self._pace.batch])
                self._pace.went(began, self._done - before)
                self._tell(BulkState.RUNNING)
            after = ids[-1]

    async def _window_after(self, statement: str, after: int, arguments: tuple[object, ...]) -> list[int]:
        """The numbers of the next jobs that match."""
        lost = 0
        while True:
            try:
                rows = await self._at().fetch(statement, after, self._started, self._pace.window, *arguments)
            except _LOST as wrong:
                lost += 1
                await self._come_back(wrong, is_hopeless=lost > TRIES)
            else:
                return [row["job_id"] for row in rows]

    async def _in_turn(self) -> bool:
        """Wait until the next batch may go by the rate; False when it is to stop."""
        while not (self._asked.stop.is_set() or self._is_cancel_asked):
            wait = self._pace.wait_s(time.monotonic())
            if not wait:
                return True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.stop.wait(), min(wait, LOOK_S))
            await self._live()
        return False

    async def _live(self) -> None:
        """Say that it lives, and look whether it is to stop."""
        try:
            await self._count(0, 0)
        except _LOST as wrong:
            await self._come_back(wrong)

    async def _through(self, ids: Sequence[int]) -> None:
        """One batch, as often as it takes."""
        met = lost = 0
        while True:
            before = self._done + self._skipped
            try:
                await self._transaction(ids)
            except _LOST as wrong:
                lost += 1
                await self._come_back(wrong, is_hopeless=lost > TRIES)
                if self._done + self._skipped > before:
                    return  # it was committed: only the answer was lost
            except _MET:
                met += 1
                if len(ids) > 1 and met >= TRIES:
                    for job_id in ids:
                        await self._through([job_id])
                    return
                if met >= TRIES:
                    await self._skip_one()
                    return
            else:
                return

    async def _skip_one(self) -> None:
        """Count a job that others hold on to as skipped; a link that is lost just there is waited for."""
        before, lost = self._skipped, 0
        while self._skipped == before:
            try:
                await self._count(0, 1)
            except _LOST as wrong:
                lost += 1
                await self._come_back(wrong, is_hopeless=lost > TRIES)  # learns whether it was counted
            else:
                self._skipped += 1
        self._why[EQUAL_WAITS] += 1

    async def _transaction(self, ids: Sequence[int]) -> None:
        connection = self._at()
        async with connection.transaction():
            decided = await self._decide(connection, ids)
            left = sorted(set(ids) - set(decided))
            reasons = (self._asked.queue and self._asked.queue.value, DECIDED, STANDS_THERE, EQUAL_WAITS)
            why = await connection.fetch(_WHY, left, *reasons) if left else []
            await self._count(len(decided), len(left))
        self._done += len(decided)
        self._skipped += len(left)
        for row in why:
            self._why[row["why"]] += row["jobs"]

    async def _decide(self, connection: Connection, ids: Sequence[int]) -> Sequence[int]:
        if self._asked.action is BulkAction.RETRY:
            return await retry_held(connection, ids, by=self._asked.by.actor)
        if self._asked.action is BulkAction.DISCARD:
            return await discard_held(connection, ids, by=self._asked.by.actor)
        assert self._asked.queue is not None
        return list(await move_held(connection, ids, self._asked.queue, by=self._asked.by.actor))

    async def _count(self, done: int, skipped: int) -> None:
        is_asked = await self._at().fetchval(_COUNT, self._id, done, skipped)
        if is_asked is None:
            raise _Closed
        self._is_cancel_asked = is_asked

    async def _come_back(self, wrong: Exception, *, is_hopeless: bool = False) -> None:
        """Wait for the database, then learn what it knows. Raises `wrong` when it does not come back in time.

        It is also raised when the same statement `is_hopeless` by now: there is a database, but none that can do it.
        """
        await self._leave()
        end, wait = time.monotonic() + self._asked.patience_s, 0.1
        while True:
            self._tell(BulkState.RUNNING, waiting_for="the database")
            if is_hopeless or self._asked.stop.is_set() or time.monotonic() > end:
                raise wrong
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.stop.wait(), wait)
            wait = min(2 * wait, 2.0)
            try:
                self._connection = await self._asked.connect()
                row = await self._connection.fetchrow(_STANDS, self._id)
            except _LOST:
                await self._leave()
                continue
            if row is None or row["state"] != BulkState.RUNNING:
                raise _Closed from wrong
            self._done, self._skipped, self._is_cancel_asked = row["done"], row["skipped"], row["is_cancel_asked"]
            return

    async def _end(self, state: BulkState, error: str) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._asked.connect()
        connection = self._connection
        async with connection.transaction():
            await connection.execute(_END, self._id, state.value, error)
            detail: dict[str, object] = {
                "bulk": str(self._id),
                "state": state.value,
                "matched": self._matched,
                "done": self._done,
                "skipped": self._skipped,
                "why_skipped": dict(self._why),
            }
            if error:
                detail["error"] = error
            await self._record(connection, f"held.{self._asked.action}_ended", detail)

    async def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with suppress(*DATABASE_ERRORS):
                await connection.close(timeout=CLOSE_S)

    def _at(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None:
            raise ConnectionError("not connected")
        return self._connection

    def _tell(self, state: BulkState, *, waiting_for: str = "") -> Progress:
        progress = Progress(
            bulk_id=self._id,
            action=self._asked.action,
            state=state,
            matched=self._matched,
            done=self._done,
            skipped=self._skipped,
            per_s=self._asked.per_s,
            elapsed_s=time.monotonic() - self._began,
            waiting_for=waiting_for,
        )
        self._asked.on_progress(progress)
        return progress
