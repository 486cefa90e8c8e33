"""Rows for the watching tests, put in as the set-up role (and as a worker for what only workers write)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

from backend.postgres.address import Role
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def ago(**span: float) -> datetime:
    """A moment before now."""
    return datetime.now(UTC) - timedelta(**span)


@dataclass(slots=True)
class Scenery:
    """One company with one branch, service and staff member, and hands to put more in."""

    setup: Connection
    worker: Connection
    company: UUID
    branch: UUID
    service: UUID
    staff: UUID
    slots: int = 0

    async def customer(self, first: str = "Anna", last: str = "Schmidt", phone: str = "+4915112345678") -> UUID:
        return UUID(
            str(
                await self.setup.fetchval(
                    "insert into customers (company_id, first_name, last_name, name_key, phone)"
                    " values ($1, $2, $3, lower($2 || ' ' || $3), $4) returning id",
                    self.company,
                    first,
                    last,
                    phone,
                )
            )
        )

    async def call(
        self,
        *,
        started: datetime | None = None,
        status: str = "ended",
        outcome: str | None = None,
        duration_ms: int | None = 120_000,
        cost_cents: int | None = 21,
        customer: UUID | None = None,
        caller: str | None = None,
        subject: str | None = None,
    ) -> UUID:
        started = started or ago(minutes=5)
        ended = started + timedelta(milliseconds=duration_ms) if status == "ended" and duration_ms else None
        return UUID(
            str(
                await self.setup.fetchval(
                    "insert into calls (company_id, branch_id, provider, provider_call_id, direction, from_number,"
                    " to_number, status, started_at, ended_at, duration_ms, outcome, cost_cents, customer_id,"
                    " caller_name, summary, transcript)"
                    " values ($1, $2, 'retell', $3, 'inbound', '+4915112345678', '+493012345', $4, $5, $6, $7, $8, $9,"
                    " $10, $11, 'short', 'long') returning id",
                    self.company,
                    self.branch,
                    subject or f"call_{uuid4().hex[:12]}",
                    status,
                    started,
                    ended,
                    duration_ms if ended else None,
                    outcome,
                    cost_cents,
                    customer,
                    caller,
                )
            )
        )

    async def appointment(
        self,
        *,
        starts: datetime | None = None,
        created: datetime | None = None,
        status: str = "confirmed",
        price_cents: int = 4500,
        customer: UUID | None = None,
        call: UUID | None = None,
    ) -> UUID:
        self.slots += 1
        starts = starts or datetime.now(UTC) + timedelta(days=1, hours=self.slots)
        appointment = UUID(
            str(
                await self.setup.fetchval(
                    "insert into appointments (company_id, branch_id, staff_id, service_id, customer_id, call_id,"
                    " starts_at, ends_at, time_zone, status, source, price_cents, version, created_at)"
                    " values ($1, $2, $3, $4, $5, $6, $7, $8, 'Europe/Berlin', $9, 'call', $10, 1, $11) returning id",
                    self.company,
                    self.branch,
                    self.staff,
                    self.service,
                    customer,
                    call,
                    starts,
                    starts + timedelta(minutes=30),
                    status,
                    price_cents,
                    created or datetime.now(UTC),
                )
            )
        )
        await self.setup.execute(
            "insert into appointment_events (company_id, appointment_id, version, kind, actor)"
            " values ($1, $2, 1, 'booked', 'call')",
            self.company,
            appointment,
        )
        return appointment

    async def delivery(
        self,
        *,
        subject: str = "call_x",
        event: str = "call_ended",
        received: datetime | None = None,
        state: str = "processed",
        effect_s: float = 0.3,
        body: bytes = b'{"event":"call_ended"}',
    ) -> UUID:
        received = received or ago(minutes=1)
        return UUID(
            str(
                await self.setup.fetchval(
                    "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body,"
                    " received_at, state, processed_at) values ('retell', $1, $2, $3, $4, $5, $6, $7, $8, $9)"
                    " returning id",
                    uuid4().hex,
                    event,
                    subject,
                    None if state == "quarantined" else self.company,
                    None if state == "quarantined" else self.branch,
                    body,
                    received,
                    state,
                    received + timedelta(seconds=effect_s) if state == "processed" else None,
                )
            )
        )

    async def job(
        self, entrypoint: str = "webhooks.retell_call", *, delay_s: float = 0.0, payload: object = None
    ) -> int:
        async with self.worker.transaction():
            (job_id,) = await JobQueue().enqueue(
                self.worker,
                [
                    NewJob(
                        entrypoint,
                        json.dumps(payload or {}).encode(),
                        company_id=self.company,
                        delay=timedelta(seconds=delay_s),
                    )
                ],
            )
        assert job_id is not None
        return job_id

    async def run(
        self,
        job_id: int,
        *,
        entrypoint: str = "webhooks.retell_call",
        outcome: str | None = "done",
        took_s: float = 0.02,
        waited_ms: int | None = 5,
        started: datetime | None = None,
        attempt: int = 1,
    ) -> None:
        started = started or ago(seconds=10)
        await self.worker.execute(
            "insert into job_runs (job_id, attempt, entrypoint, company_id, worker_id, started_at, ended_at, waited_ms,"
            " outcome) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            job_id,
            attempt,
            entrypoint,
            self.company,
            uuid4(),
            started,
            started + timedelta(seconds=took_s) if outcome else None,
            waited_ms,
            outcome,
        )

    async def held(
        self,
        job_id: int,
        *,
        fingerprint: str = "f1",
        message: str = "bad input",
        held: datetime | None = None,
        payload: object = None,
    ) -> None:
        await self.worker.execute(
            "insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback,"
            " payload, attempts, enqueued_at, held_at) values ($1, 'webhooks', 'webhooks.retell_call', $2, $3,"
            " 'ValidationError', $4, 'Traceback', $5, 4, now(), $6)",
            job_id,
            self.company,
            fingerprint,
            message,
            json.dumps(payload or {}).encode(),
            held or datetime.now(UTC),
        )

    async def worker_row(
        self, queue: str = "webhooks", *, concurrency: int = 30, heard: datetime | None = None
    ) -> UUID:
        worker_id = uuid4()
        await self.worker.execute(
            "insert into workers (id, node, queue, pid, version, concurrency, busy, heartbeat_at)"
            " values ($1, 'node-1', $2, 77, '0.1.0', $3, 2, $4)",
            worker_id,
            queue,
            concurrency,
            heard or datetime.now(UTC),
        )
        return worker_id


async def company_scenery(open_connection: OpenConnection, slug: str = "nord") -> Scenery:
    """A company ready for more."""
    setup, worker = await open_connection(Role.SETUP), await open_connection(Role.WORKER)
    company = await setup.fetchval("insert into companies (slug, name) values ($1, 'Praxis Nord') returning id", slug)
    branch = await setup.fetchval(
        "insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte') returning id", company
    )
    service = await setup.fetchval(
        "insert into services (company_id, slug, name, duration_min, price_cents)"
        " values ($1, 'prophylaxe', 'Prophylaxe', 30, 4500) returning id",
        company,
    )
    staff = await setup.fetchval(
        "insert into staff (company_id, slug, name) values ($1, 'weiss', 'Dr. Weiß') returning id", company
    )
    return Scenery(setup, worker, company, branch, service, staff)


async def reject(api: Connection, counts: dict[str, int]) -> None:
    """Refused deliveries by reason."""
    await api.execute(
        "select intake_reject(array_fill('retell'::text, $3::int[]), $1, array_fill('192.0.2.1'::text, $3::int[]),"
        " array_fill(null::bytea, $3::int[]), $2, interval '1 day')",
        list(counts),
        list(counts.values()),
        [len(counts)],
    )


def within(value: float, expected: float, tolerance: float) -> bool:
    """Whether two figures agree within the tolerance."""
    return abs(value - expected) <= tolerance


async def until(condition: Callable[[], Awaitable[object]], what: str, seconds: float = 20.0) -> None:
    """Wait until the condition holds; fails with `what` after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110  # what is asked has no event to wait for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
