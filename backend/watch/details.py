"""Details on demand: one call, customer, appointment, job or delivery with everything around it.

For a person who opens something: read straight from the database, bounded in rows, bytes and time, never in a loop.
Times are Unix seconds; text is as it was given, hostile until it is rendered. Every function raises what asyncpg
raises when the database does not answer within five seconds, and returns None for an id that is not there.
"""

from __future__ import annotations

import time
from typing import TypeVar
from uuid import UUID

import msgspec

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Pool, open_pool
from backend.watch import details_sql as sql
from backend.watch.job_details import KIN, Around, Decision, Held, HeldJob, JobDetail, Kin, Run, clues_in, with_around
from backend.watch.snapshots import AppointmentRow, CallRow

__all__ = [
    "AppointmentDetail", "AppointmentHappened", "CalendarDetail", "CallDetail", "Callback", "CallsPage",
    "CustomerDetail", "Decision", "Delivery", "Details", "Found", "Held", "HeldJob", "JobDetail", "Kin", "Lineage",
    "Moment", "Notified", "Run", "WebhookDetail", "like_literal",
]  # fmt: skip

R = TypeVar("R", bound=msgspec.Struct)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted webhook delivery."""

    id: str
    provider: str
    event: str
    subject: str
    company: str
    """Empty while no tenant is known."""
    state: str
    error: str
    received_at: float
    processed_at: float | None
    size_bytes: int


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A request to call back."""

    id: str
    reason: str
    name: str
    phone: str
    state: str
    due_at: float
    created_at: float
    closed_by: str = ""
    note: str = ""


class Notified(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer was told of an appointment, or why not."""

    kind: str
    state: str
    detail: str
    """The channel's answer, or the reason."""
    at: float


class AppointmentHappened(msgspec.Struct, frozen=True, kw_only=True):
    """One event of an appointment."""

    version: int
    kind: str
    actor: str
    occurred_at: float
    data: dict[str, object]
    """The fields that it set, by column name."""


class CallDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    row: CallRow
    provider: str
    agent_id: str
    call_type: str
    disconnection_reason: str
    caller_name: str
    """As the caller said it."""
    summary: str
    transcript: str
    """At most 100,000 characters."""
    recording_url: str
    latency: dict[str, object]
    """As the provider measured it."""
    events: tuple[str, ...]
    """Kinds of provider events that were folded into the call."""
    created_at: float
    updated_at: float
    appointments: tuple[AppointmentRow, ...]
    callbacks: tuple[Callback, ...]
    deliveries: tuple[Delivery, ...]
    """Oldest first, at most 50."""


class CustomerDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One customer with the latest of everything."""

    id: str
    company: str
    first_name: str
    last_name: str
    email: str
    phone: str
    tags: tuple[str, ...]
    notes: str
    is_vip: bool
    no_show_count: int
    consented_at: float | None
    erased_at: float | None
    created_at: float
    updated_at: float
    version: int
    calls: tuple[CallRow, ...]
    """Newest first, at most 50."""
    appointments: tuple[AppointmentRow, ...]
    """Latest start first, at most 50."""
    callbacks: tuple[Callback, ...]


class CalendarDetail(msgspec.Struct, frozen=True, kw_only=True):
    """How far an appointment has got into its calendar at the provider."""

    state: str
    """pending, synced, failed, off."""
    uid: str
    """The booking there; the last one, when it was cancelled."""
    wanted_version: int
    synced_version: int
    """0: never yet."""
    attempts: int
    """That failed since the last one that did not."""
    last_error: str
    """In the provider's words, hostile until rendered; empty after a success."""
    last_at: float | None
    synced_at: float | None
    pending_since: float


class AppointmentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One appointment with its events."""

    row: AppointmentRow
    seat: int
    buffer_before_min: int
    buffer_after_min: int
    attendee_name: str
    attendee_email: str
    attendee_phone: str
    offered: dict[str, object]
    """The slot as it was offered: utc, local, offset_min, tz_version."""
    provider_booking_uid: str
    idempotency_key: str
    hold_expires_at: float | None
    updated_at: float
    events: tuple[AppointmentHappened, ...]
    """In their order, at most 200."""
    calendar: CalendarDetail | None = None
    """None when it is not written to any."""
    notified: tuple[Notified, ...] = ()
    """In their order, at most 50."""


class WebhookDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery with what was sent."""

    row: Delivery
    dedup_key: str
    branch: str
    headers: dict[str, object]
    body: bytes
    """As it was sent and signed; its first 100,000 bytes."""
    call_id: str | None
    jobs: tuple[JobDetail, ...]
    """Its jobs that the engine still has or that are held."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a lineage: something that happened, and where to look further."""

    at: float
    kind: str
    """call, webhook, job, appointment, customer, callback"""
    id: str
    """Of the thing, as the functions here take it."""
    what: str
    state: str
    took_s: float | None = None


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that came of one call, in the order of time."""

    call: CallRow
    moments: tuple[Moment, ...]


class CallsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calls, newest first."""

    rows: tuple[CallRow, ...]
    before: tuple[float, str] | None
    """Hand this on to get the next page; None at the end."""


class Found(msgspec.Struct, frozen=True):
    """What a search answers."""

    rows: tuple[CallRow, ...]
    """One more than was asked for when there are more."""
    looked_at: tuple[float, str] | None
    """The oldest call that was looked at, when there may be older ones."""


class Details:
    """Reads details over a small pool of its own; close it with `aclose`."""

    def __init__(
        self, address: PostgresAddress, *, role: Role = Role.CONSOLE, application: str = "askpro-console"
    ) -> None:
        self._address = address
        self._role = role
        self._application = application
        self._pool: Pool | None = None

    async def call(self, call_id: str) -> CallDetail | None:
        """One call by its id."""
        return await self._one(sql.CALL, CallDetail, call_id)

    async def customer(self, customer_id: str) -> CustomerDetail | None:
        """One customer by id."""
        return await self._one(sql.CUSTOMER, CustomerDetail, customer_id)

    async def appointment(self, appointment_id: str) -> AppointmentDetail | None:
        """One appointment by id."""
        return await self._one(sql.APPOINTMENT, AppointmentDetail, appointment_id)

    async def job(self, job_id: int) -> JobDetail | None:
        """One job by the engine's id, with what stands around it: two round trips."""
        job = await self._decoded(sql.JOB, JobDetail, job_id)
        if job is None:
            return None
        clues = clues_in(job.payload, job.dedupe_key)
        pool = await self._open()
        answer = await pool.fetchval(
            KIN,
            job_id,
            clues.inbox_id,
            clues.subject,
            clues.call_id,
            clues.appointment_id,
            clues.notification_id,
            clues.callback_id,
            clues.customer_id,
        )
        return with_around(job, msgspec.json.decode(answer, type=Around))

    async def held_jobs(self, fingerprint: str) -> tuple[HeldJob, ...]:
        """The jobs held for one cause, the latest first, at most 500."""
        pool = await self._open()
        answer = await pool.fetchval(sql.HELD_JOBS, fingerprint)
        return msgspec.json.decode(answer, type=tuple[HeldJob, ...])

    async def webhook(self, delivery_id: str) -> WebhookDetail | None:
        """One delivery by its id in the inbox."""
        return await self._one(sql.WEBHOOK, WebhookDetail, delivery_id)

    async def lineage(self, call_id: str) -> Lineage | None:
        """All that came of a call, in the order of time."""
        return await self._one(sql.LINEAGE, Lineage, call_id)

    async def search_calls(
        self, text: str = "", *, limit: int = 100, before: tuple[float, str] | None = None
    ) -> CallsPage:
        """Calls, newest first, from `before` on: those with this number (or its ending), name, id, status or company.

        Without `text` all of them; a page costs the same however deep it lies. With it each page looks through 20,000
        calls at most, so a page may have few rows, or none, and still be followed by another. `limit` is 1 to 500.
        """
        limit = max(1, min(limit, 500))
        started_at, last_id = before if before is not None else (time.time() + 86_400.0, str(UUID(int=2**128 - 1)))
        words = text.strip()
        arguments: list[object] = [started_at, UUID(last_id), limit + 1]
        if words:
            arguments.append(f"%{like_literal(words)}%")
        pool = await self._open()
        answer = await pool.fetchval(sql.SEARCH_CALLS if words else sql.PAGE_CALLS, *arguments)
        found = msgspec.json.decode(answer, type=Found)
        if len(found.rows) <= limit:
            return CallsPage(rows=found.rows, before=found.looked_at)
        last = found.rows[limit - 1]
        return CallsPage(rows=found.rows[:limit], before=(last.started_at, last.id))

    async def aclose(self) -> None:
        """Close the connections, without waiting for what still runs on them."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _open(self) -> Pool:
        if self._pool is None:
            self._pool = await open_pool(self._address, self._role, application=self._application, size=2, min_size=0)
        return self._pool

    async def _one(self, statement: str, kind: type[R], text_id: str) -> R | None:
        try:
            key = UUID(text_id)
        except ValueError:
            return None
        return await self._decoded(statement, kind, key)

    async def _decoded(self, statement: str, kind: type[R], key: UUID | int) -> R | None:
        pool = await self._open()
        answer = await pool.fetchval(statement, key)
        return None if answer is None else msgspec.json.decode(answer, type=kind)


def like_literal(text: str) -> str:
    """`text` so that LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
