"""Taking deliveries: many requests, one commit, each answered after it.

Requests put their deliveries into a bounded queue; two writers take up to 128 of them at a time and store each batch
with its jobs in one transaction. A writer that is idle takes what comes at once, so nobody waits for a batch to fill.
A row that the database refuses does not fail its batch. While the database is away the same batch is tried again
until its deliveries have waited too long; a retry after a commit in doubt finds its own rows and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import asyncpg

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.providers.delivery import Delivery, Malformed
from backend.services.intake.inbox import Stored, store

log = logging.getLogger(__name__)

OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

COMMAND_TIMEOUT_S = 1.5
"""Longest wait for one statement of a batch: by this a dead link is noticed."""

ROW_AT_FAULT = ("22", "23")
"""SQLSTATE classes that blame the data: what they refuse once they refuse always."""

SERVER_AT_FAULT = ("08", "25", "28", "3D", "40", "42", "53", "55", "57", "58")
"""SQLSTATE classes that blame the moment, the machine or its set-up: worth another try."""

Fault = Literal["row", "server", "unknown"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the intake takes on."""

    batch: int = 128
    """Deliveries in one transaction."""
    batch_bytes: int = 8 * 1024 * 1024
    """Size of the bodies in one transaction, one delivery more at most."""
    writers: int = 2
    waiting: int = 2_000
    """Deliveries that wait for a writer; one more is turned away."""
    waiting_bytes: int = 64 * 1024 * 1024
    """Size of the bodies that wait."""
    patience_s: float = 2.5
    """A delivery that is not stored by then is turned away: its sender gets an answer within 3 s."""


class IntakeUnavailable(Exception):
    """Nothing can be stored now, and nothing was as far as the sender is concerned: deliver again later."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.retry_after_s = random.randint(1, 4)  # noqa: S311 - spreads the retries, guards nothing
        """When to try again, seconds."""


@dataclass(slots=True)
class Waiting:
    """One delivery on its way, and who waits for its outcome."""

    delivery: Delivery
    answer: asyncio.Future[Stored]
    expires_at: float
    """By the event loop's clock."""


@dataclass(slots=True)
class Counters:
    """What the intake did since it started."""

    stored: dict[str, int] = field(default_factory=dict)
    """Deliveries by outcome."""
    turned_away: int = 0
    batches: int = 0
    retries: int = 0


class Intake:
    """Stores deliveries for one process; `start()` before, `close()` after."""

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[OwnConnection]],
        *,
        limits: Limits | None = None,
    ) -> None:
        self._open = open_connection
        self.limits = limits or Limits()
        self.counters = Counters()
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._by_age: deque[Waiting] = deque()
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = 0
        self._closing = False
        self._healthy = True

    @classmethod
    def at(cls, address: PostgresAddress, *, application: str, limits: Limits | None = None) -> Intake:
        """An intake that logs in to `address` as the API's role, with one connection for each writer."""

        async def opened() -> OwnConnection:
            return await connect(address, Role.API, application=application, command_timeout=COMMAND_TIMEOUT_S)

        return cls(opened, limits=limits)

    @property
    def waiting(self) -> int:
        """Deliveries that no writer has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the writers in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._write_batches(), name=f"intake-writer-{number}")
            for number in range(self.limits.writers)
        ]
        self._tasks.append(asyncio.create_task(self._expire(), name="intake-expiry"))

    async def close(self) -> None:
        """Take nothing more, store what waits (it expires by itself if that fails), end the writers."""
        self._closing = True
        while self._by_age:
            oldest = self._by_age[0]
            if oldest.answer.done():
                self._by_age.popleft()
            else:
                await asyncio.wait([oldest.answer])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self, delivery: Delivery) -> Stored:
        """Store a verified delivery; returns after the commit.

        Raises `IntakeUnavailable` when it could not be stored in time, `Malformed` when the database refuses the row.
        """
        loop = asyncio.get_running_loop()
        size = len(delivery.body)
        limits = self.limits
        if self._closing:
            raise self._turn_away("the intake is closing")
        if len(self._waiting) >= limits.waiting or self._waiting_bytes + size > limits.waiting_bytes:
            raise self._turn_away("too many deliveries are waiting")
        waiting = Waiting(delivery, loop.create_future(), loop.time() + limits.patience_s)
        self._waiting.append(waiting)
        self._waiting_bytes += size
        self._by_age.append(waiting)
        self._work.set()
        outcome = await waiting.answer
        stored = self.counters.stored
        stored[outcome] = stored.get(outcome, 0) + 1
        return outcome

    def _turn_away(self, why: str) -> IntakeUnavailable:
        self.counters.turned_away += 1
        return IntakeUnavailable(why)

    async def _expire(self) -> None:
        """Answer whoever has waited too long, and forget the answered."""
        loop = asyncio.get_running_loop()
        by_age = self._by_age
        while True:
            await asyncio.sleep(0.05)
            now = loop.time()
            while by_age and (by_age[0].answer.done() or by_age[0].expires_at <= now):
                waiting = by_age.popleft()
                if not waiting.answer.done():
                    waiting.answer.set_exception(self._turn_away("the database does not answer in time"))

    def _take(self) -> list[Waiting]:
        """The next batch; may be empty when those who waited have been answered."""
        batch: list[Waiting] = []
        size = 0
        limits = self.limits
        waiting = self._waiting
        while waiting and len(batch) < limits.batch and size < limits.batch_bytes:
            item = waiting.popleft()
            length = len(item.delivery.body)
            self._waiting_bytes -= length
            if not item.answer.done():
                size += length
                batch.append(item)
        if not waiting:
            self._work.clear()
        return batch

    async def _write_batches(self) -> None:
        writer = Writer(self._open)
        try:
            while True:
                await self._work.wait()
                batch = self._take()
                if batch:
                    await self._write(writer, batch)
        finally:
            writer.drop()

    async def _write(self, writer: Writer, batch: list[Waiting]) -> None:
        """Store a batch and answer it, however long the database is away; ends when nobody waits any more."""
        pause = 0.02
        self.counters.batches += 1
        while batch := [item for item in batch if not item.answer.done()]:
            try:
                outcomes = await writer.store([item.delivery for item in batch])
            except Exception as error:  # whatever it is, the writer lives on and everybody gets an answer
                if fault_of(error) != "server":
                    await self._write_singly(writer, batch, error)
                    return
                self._note_health(False, error)
                self.counters.retries += 1
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the retries
                pause = min(pause * 2, 0.3)
            else:
                self._note_health(True)
                for item, outcome in zip(batch, outcomes, strict=True):
                    if not item.answer.done():
                        item.answer.set_result(outcome)

    async def _write_singly(self, writer: Writer, batch: list[Waiting], error: Exception) -> None:
        """A row of the batch is at fault: find out which, and store the others."""
        if len(batch) > 1:
            for item in batch:
                await self._write(writer, [item])
            return
        (item,) = batch
        if item.answer.done():
            return
        if fault_of(error) == "row":
            item.answer.set_exception(Malformed("", "the database refuses it"))
        else:
            log.error("a delivery cannot be stored: %s", error)
            item.answer.set_exception(self._turn_away("the database refuses it"))

    def _note_health(self, healthy: bool, error: Exception | None = None) -> None:
        if healthy != self._healthy:
            self._healthy = healthy
            if healthy:
                log.info("deliveries are stored again")
            else:
                log.warning("deliveries cannot be stored: %s: %s", type(error).__name__, error)


class Writer:
    """One connection that stores batches; opened when needed, dropped when it failed."""

    def __init__(self, open_connection: Callable[[], Awaitable[OwnConnection]]) -> None:
        self._open = open_connection
        self._connection: OwnConnection | None = None

    async def store(self, deliveries: Sequence[Delivery]) -> list[Stored]:
        """Store all or none, committed on return. Raises whatever asyncpg raises."""
        connection = self._connection
        if connection is None or connection.is_closed():
            self._connection = connection = await self._open()
        try:
            return await store(connection, deliveries)
        except BaseException as error:
            if fault_of(error) != "row":
                self.drop()
            raise

    def drop(self) -> None:
        """Close the connection without a word to the server, which may not be listening."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.terminate()


def fault_of(error: BaseException) -> Fault:
    """Who is at fault: the "row", the "server" (try again), or nobody knows ("unknown": never try the batch again)."""
    if isinstance(error, asyncpg.PostgresError):
        code = (error.sqlstate or "")[:2]
        if code in ROW_AT_FAULT:
            return "row"
        return "server" if code in SERVER_AT_FAULT else "unknown"
    if isinstance(error, asyncpg.DataError | UnicodeError):
        return "row"
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return "server"
    return "unknown"
