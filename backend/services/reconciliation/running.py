"""Reconciling with a provider: whose accounts there are, one run at a time for each, how far they got, what they found.

A run asks the provider what happened since everything before was compared, repairs what is safe to repair and keeps
what is not (`backend.services.reconciliation.differences`). It takes over what it finds page by page, each in one
transaction with the note how far it got, so that a run that dies or has to wait is gone on with, and two at once
have one effect.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from backend.domain.vocabulary import Provider, RunCause, RunState
from backend.postgres.pools import Connection, Pool, tenant, transaction
from backend.providers.breaker import BreakerOpen
from backend.providers.calling import ProviderBusy, ProviderError, ProviderRefused
from backend.providers.clients import Providers
from backend.providers.retell.signature import MADE_UP
from backend.services.reconciliation.differences import Difference, note

SYSTEM = "system"
"""The account whose key is the system's own."""

SYSTEM_SECRETS = {Provider.RETELL: "retell_api_key", Provider.CALCOM: "calcom_api_key"}

FIRST = timedelta(hours=24)
"""A first run looks back so far."""

LONGEST = timedelta(days=30)
"""No run looks back further: deliveries by which a call is recognised are kept for 90 days."""

OVERLAP = timedelta(hours=1)
"""Each run begins so long before what the last one covered: providers list a call late now and then."""

NIGHTLY = timedelta(hours=48)
"""The nightly run looks back so far, whatever was covered."""

IDLE = "5 minutes"
"""A run without progress for so long is taken over: whoever ran it is gone."""

UNREACHABLE_WAIT_S = 60.0
"""Before a run goes on after the provider did not answer."""


class Scope(Protocol):
    """Transactions of a company's, and across companies, that only their owner can commit."""

    def tenant(self, company_id: UUID | None = None) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees one company."""
        ...

    def housekeeping(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees what belongs to no company."""
        ...


class PoolScope:
    """Transactions out of a pool that logs in as the worker: for commands."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def tenant(self, company_id: UUID | None = None) -> AsyncIterator[Connection]:
        """A transaction that sees one company."""
        assert company_id is not None
        async with tenant(self._pool, company_id) as connection:
            yield connection

    @asynccontextmanager
    async def housekeeping(self) -> AsyncIterator[Connection]:
        """A transaction that sees what belongs to no company."""
        async with self._pool.acquire(timeout=5.0) as connection, transaction(connection, "select 1"):
            yield connection


class NoKey(Exception):
    """There is no key for the account: the message names the secret that has to be set."""

    def __init__(self, secret: str) -> None:
        super().__init__(f"the secret {secret} is not set")
        self.secret = secret


class GivesWay(Exception):
    """A run has taken its time; the next one goes on where it got to."""


class RunUnderWay(Exception):
    """Somebody else reconciles this account right now."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key is used."""

    name: str
    """`system`, or the company's id."""
    secret: str
    company_id: UUID | None = None
    """The one company whose things are in it; None: everybody's without a key of their own."""
    slug: str = ""


@dataclass(slots=True)
class Report:
    """What a run found."""

    provider: Provider
    account: str
    since: datetime
    until: datetime
    is_dry: bool = False
    state: RunState = RunState.RUNNING
    listed: int = 0
    """Calls or bookings that the provider told of."""
    differences: list[Difference] = field(default_factory=list)
    error: str = ""
    retry_s: float = 0.0
    """When it is delayed: go on after so many seconds."""

    @property
    def unrepaired(self) -> int:
        """Differences about which somebody has to decide."""
        return sum(not difference.is_repaired for difference in self.differences)


_ACCOUNTS = "select company_id, slug, secret from provider_accounts($1)"

_COVERED = """
    select max(coalesce(covered_until, since)) from reconciliation_runs where provider = $1 and account = $2
"""

_OPEN = f"""
    insert into reconciliation_runs as known (provider, account, cause, holder, since, until)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (provider, account) where state = 'running' do update
    set cause = excluded.cause, holder = excluded.holder, since = excluded.since, until = excluded.until,
        started_at = now(), progress_at = now(), covered_until = null, pages = 0, listed = 0, found = 0, unrepaired = 0
    where known.progress_at < now() - interval '{IDLE}' or known.holder = excluded.holder
    returning id
"""  # noqa: S608 - a constant of this module

_PROGRESS = """
    update reconciliation_runs
    set progress_at = now(), pages = pages + 1, listed = listed + $2, found = found + $3, unrepaired = unrepaired + $4,
        covered_until = greatest(covered_until, $5)
    where id = $1 and state = 'running'
    returning id
"""

_CLOSE = """
    update reconciliation_runs
    set state = $2, ended_at = now(), progress_at = now(), error = $3, retry_at = now() + $4::interval,
        covered_until = case when $2 = 'done' then until else covered_until end
    where id = $1 and state = 'running'
"""


async def accounts(scope: Scope, provider: Provider) -> list[Account]:
    """All accounts that there may be at a provider: the system's, then those of companies with a key of their own.

    At Cal.com a company's appointments are in its own account, whose secret may be the system's.
    """
    async with scope.housekeeping() as connection:
        rows = await connection.fetch(_ACCOUNTS, provider.value)
    own = [Account(str(row["company_id"]), row["secret"], row["company_id"], row["slug"]) for row in rows]
    return own if provider is Provider.CALCOM else [Account(SYSTEM, SYSTEM_SECRETS[provider]), *own]


async def key_of(providers: Providers, account: Account) -> str:
    """The account's key. Raises NoKey, and what the lookup raises."""
    key = await providers.secret(account.secret)
    if not key or key.startswith(MADE_UP):
        raise NoKey(account.secret)
    return key


async def window(
    scope: Scope, provider: Provider, account: Account, cause: RunCause, now: datetime
) -> tuple[datetime, datetime]:
    """From when to when a run by schedule compares."""
    async with scope.housekeeping() as connection:
        covered: datetime | None = await connection.fetchval(_COVERED, provider.value, account.name)
    since = now - FIRST if covered is None else covered - OVERLAP
    if cause is RunCause.NIGHTLY:
        since = min(since, now - NIGHTLY)
    return max(since, now - LONGEST), now


@dataclass(slots=True)
class Run:
    """One run: its record, and how it is written down. A dry one writes nothing."""

    scope: Scope
    report: Report
    id: UUID | None = None
    ends_at: float | None = None
    """By the machine's monotonic clock; None: whenever it is done."""

    def give_way(self) -> None:
        """Raises GivesWay when the run has taken its time. Called where everything so far is written down."""
        if self.ends_at is not None and time.monotonic() > self.ends_at:
            raise GivesWay

    async def note(
        self,
        connection: Connection,
        differences: list[Difference],
        *,
        listed: int = 0,
        covered_until: datetime | None = None,
    ) -> None:
        """Write down a page's differences and how far the run has got, in the transaction that repaired them.

        Raises RunUnderWay when somebody has taken the run over.
        """
        self.report.listed += listed
        self.report.differences += differences
        if self.id is None:
            return
        for difference in differences:
            company = "" if difference.company_id is None else str(difference.company_id)
            await connection.execute("select set_config('app.company_id', $1, true)", company)
            await note(connection, difference, self.id)
        unrepaired = sum(not difference.is_repaired for difference in differences)
        if await connection.fetchval(_PROGRESS, self.id, listed, len(differences), unrepaired, covered_until) is None:
            raise RunUnderWay(self.report.account)


@asynccontextmanager
async def run(
    scope: Scope, account: Account, report: Report, *, cause: RunCause, holder: str, budget_s: float | None = None
) -> AsyncIterator[Run]:
    """One run of one account; however the block ends, its record says how. What providers raise ends up in the report.

    Raises RunUnderWay when another one is at work.
    """
    this = Run(scope, report, ends_at=None if budget_s is None else time.monotonic() + budget_s)
    if not report.is_dry:
        async with scope.housekeeping() as connection:
            this.id = await connection.fetchval(
                _OPEN, report.provider.value, account.name, cause.value, holder, report.since, report.until
            )
        if this.id is None:
            raise RunUnderWay(account.name)
    try:
        yield this
        report.state = RunState.DONE
    except GivesWay:
        report.state, report.error, report.retry_s = RunState.DELAYED, "it takes long, and is gone on with", 1.0
    except (ProviderBusy, BreakerOpen) as busy:
        report.state, report.error, report.retry_s = RunState.DELAYED, str(busy), busy.retry_after_s
    except ProviderRefused as refused:
        report.state, report.error = RunState.FAILED, str(refused)
    except ProviderError as error:
        report.state, report.error, report.retry_s = RunState.DELAYED, str(error), UNREACHABLE_WAIT_S
    except BaseException as error:
        report.state, report.error = RunState.FAILED, f"{type(error).__name__}: {error}"
        await _close(this, timedelta())
        raise
    await _close(this, timedelta(seconds=report.retry_s))


async def _close(this: Run, retry: timedelta) -> None:
    report = this.report
    if this.id is not None:
        async with this.scope.housekeeping() as connection:
            await connection.execute(
                _CLOSE, this.id, report.state.value, report.error[:1000] or None, retry if report.retry_s else None
            )


def now_utc() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
