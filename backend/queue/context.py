"""What a job's handler gets: its payload, its tenant, transactions that only the job's owner can commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar
from uuid import UUID

import msgspec

from backend.domain.vocabulary import Provider
from backend.postgres.pools import Connection, Pool
from backend.providers.clients import Providers
from backend.queue.claims import Claim
from backend.queue.failures import ClaimLost, Permanent
from backend.queue.policies import BUILT_IN, Policies
from backend.services.notifications.channel import Channel

T = TypeVar("T")

CONNECTION_WAIT_S = 30.0
"""Longest wait for a free connection: many jobs share few connections, and each job's time limit runs anyway."""


class TransactionAborted(Exception):
    """A statement inside had failed and the handler went on as if it had not: nothing was committed."""


class JobContext:
    """One run of one job."""

    def __init__(
        self,
        claim: Claim,
        worker_id: UUID,
        pool: Pool,
        *,
        outbox: Path | None = None,
        channel: Channel | None = None,
        providers: Providers | None = None,
        policies: Policies = BUILT_IN,
    ) -> None:
        self.job_id = claim.job_id
        self.entrypoint = claim.entrypoint
        self.attempt = claim.attempt
        """1 for the first."""
        self.payload = claim.payload
        self.outbox = outbox
        """The directory into which messages go that are not sent, or None."""
        self.channel = channel
        """What carries messages to people; None: nobody is told anything."""
        self.policies = policies
        """What is true of queues and job types."""
        self.domains: set[str] = set()
        """Snapshot domains that this run changed."""
        self._company_id = claim.company_id
        self._worker_id = worker_id
        self._pool = pool
        self._providers = providers

    @property
    def providers(self) -> Providers:
        """The providers as this worker calls them. Raises Permanent when it was told of none."""
        if self._providers is None:
            raise Permanent("this worker calls no providers")
        return self._providers

    def silent_s(self, provider: Provider) -> float:
        """How long this worker has been waiting for an answer of the provider; 0 when it waits for none."""
        return 0.0 if self._providers is None else self._providers.silent_s(provider)

    @property
    def company_id(self) -> UUID:
        """The job's tenant. Raises Permanent when it was enqueued without one."""
        if self._company_id is None:
            raise Permanent("the job names no company")
        return self._company_id

    def read(self, kind: type[T]) -> T:
        """The payload, JSON, as a record of this kind. Raises Permanent when it is none."""
        try:
            return msgspec.json.decode(self.payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Permanent(f"the payload is no {kind.__name__}: {error}") from error

    def changed(self, *domains: str) -> None:
        """Say which snapshots are out of date once this run is done."""
        self.domains.update(domains)

    @asynccontextmanager
    async def tenant(self, company_id: UUID | None = None) -> AsyncIterator[Connection]:
        """A transaction that sees one company: the job's, or (in housekeeping) the one named.

        It begins, names the tenant and locks the job's row in one round trip. The lock is the fence: while the
        transaction is open nobody else can take the job, and when somebody has taken it already (this worker slept
        past its lease) it raises ClaimLost. Heartbeats pass the lock.
        """
        async with self._fenced(self.company_id if company_id is None else company_id) as connection:
            yield connection

    @asynccontextmanager
    async def housekeeping(self) -> AsyncIterator[Connection]:
        """The same without a tenant: sees the tables that belong to no company."""
        async with self._fenced(None) as connection:
            yield connection

    @asynccontextmanager
    async def _fenced(self, company_id: UUID | None) -> AsyncIterator[Connection]:
        begin = f"""
            begin;
            select set_config('app.company_id', '{company_id or ""}', true);
            select 1 from pgqueuer
            where id = {self.job_id:d} and queue_manager_id = '{self._worker_id}' and status = 'picked'
            for key share
        """  # noqa: S608 - an integer and two UUIDs; a query of several statements takes no parameters
        async with self._pool.acquire(timeout=CONNECTION_WAIT_S) as connection:
            try:
                if await connection.execute(begin) != "SELECT 1":
                    raise ClaimLost(f"job {self.job_id} is another worker's")
                yield connection
            except BaseException:
                if not connection.is_closed():
                    await connection.execute("rollback")
                raise
            if await connection.execute("commit") != "COMMIT":
                raise TransactionAborted(f"job {self.job_id} ignored the failure of a statement")


Handler: TypeAlias = Callable[[JobContext], Awaitable[None]]
"""The work of one job type. It may run again after it succeeded, so its effects are idempotent."""
