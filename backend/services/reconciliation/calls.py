"""Retell's calls compared with ours: what was never delivered is taken in as if it had been.

A delivery is told by its key (event and call id), which is also how a delivery that comes late after all is recognised:
it has no second effect. What is missing is read from the provider whole, since its list leaves out transcripts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.calls import ANALYZED, ENDED, STARTED
from backend.domain.vocabulary import CallStatus, DifferenceAction, DifferenceKind, Provider, RunCause
from backend.postgres.pools import Connection
from backend.providers.calling import ProviderUnreachable
from backend.providers.clients import Providers
from backend.providers.delivery import Delivery, Malformed, dialled_number
from backend.providers.retell.client import PAGE, ListedCall, RetellClient, listed
from backend.providers.retell.payloads import read_delivery
from backend.services.intake.inbox import store
from backend.services.reconciliation.differences import Difference
from backend.services.reconciliation.running import Account, Report, Run, Scope, key_of, now_utc, run, window

GRACE = timedelta(minutes=3)
"""A provider delivers what has happened within this time, retries included (10 s each, three of them)."""

ANALYSIS_GRACE = timedelta(minutes=10)
"""An analysis comes up to a minute after the end."""

ASKED_AFTER = timedelta(minutes=15)
"""A call that goes on for longer is asked about by itself."""

STUCK = timedelta(hours=2)
"""A call that goes on for longer and that the provider does not know has ended."""

ASKED_AT_MOST = 200
"""Calls asked about by themselves in one run."""

REPEATS = 3
"""So many pages that bring nothing new end a run: the list goes in circles."""

_OVER = frozenset({CallStatus.ENDED.value, CallStatus.NOT_CONNECTED.value, CallStatus.ERROR.value})

_TENANTS = "select place, company_id from intake_tenants($1, $2)"

_OF_CALLS = """
    select provider_call_id from calls where company_id = $1 and provider = 'retell' and provider_call_id = any ($2)
"""

_CLOSE = """
    update calls set status = 'ended', outcome = coalesce(outcome, 'unknown'), updated_at = now(),
           disconnection_reason = coalesce(disconnection_reason, 'closed_as_unknown')
    where company_id = $1 and provider = 'retell' and provider_call_id = $2 and status in ('registered', 'ongoing')
"""


@dataclass(frozen=True, slots=True)
class _Missing:
    """A call of which something was never delivered."""

    call: ListedCall
    kind: DifferenceKind
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A call as it is to be taken in."""

    missing: _Missing
    deliveries: tuple[Delivery, ...]
    problem: str = ""


async def reconcile_calls(
    scope: Scope,
    providers: Providers,
    account: Account,
    *,
    cause: RunCause,
    holder: str,
    since: datetime | None = None,
    company_id: UUID | None = None,
    budget_s: float | None = None,
    is_dry: bool = False,
    page: int = PAGE,
    now: datetime | None = None,
) -> Report:
    """Compare an account's calls with ours; what the provider raises stands in the report.

    `since`: from when on; None: from where the last run got to. `company_id`: only this company's calls.
    `holder`: who runs it, so that a run that died can be gone on with at once by the same one. `budget_s`: a run that
    takes longer gives way.
    Raises NoKey, RunUnderWay, asyncpg errors.
    """
    now = now or now_utc()
    client = RetellClient(providers.client(Provider.RETELL), await key_of(providers, account))
    begins, until = (since, now) if since is not None else await window(scope, Provider.RETELL, account, cause, now)
    report = Report(Provider.RETELL, account.name, begins, until, is_dry)
    only = account.company_id or company_id
    async with run(scope, account, report, cause=cause, holder=holder, budget_s=budget_s) as this:
        work = _Work(this, client, account, only, now, page)
        await work.listed_calls()
        await work.calls_going_on()
    return report


@dataclass(slots=True)
class _Work:
    """The work of one run."""

    run: Run
    client: RetellClient
    account: Account
    only: UUID | None
    now: datetime
    page: int

    async def listed_calls(self) -> None:
        """Every call of the window, page by page, oldest first."""
        async for page in self._pages():
            found = [await self._read(missing) for missing in await self._missing(page)]
            starts = [call.started_at for call in page if call.started_at is not None]
            await self._take(found, listed=len(page), covered_until=max(starts, default=None))
            self.run.give_way()

    async def _pages(self) -> AsyncIterator[list[ListedCall]]:
        report, seen = self.run.report, set[str]()
        key: str | None = None
        repeats = 0
        while True:
            page = await self.client.list_calls(report.since, report.until, after=key, limit=self.page)
            calls = [call for call in page.calls if call.call_id not in seen]
            seen |= {call.call_id for call in calls}
            repeats = 0 if calls else repeats + 1
            if repeats >= REPEATS:
                raise ProviderUnreachable("the list of calls goes in circles", may_have_acted=False)
            if calls:
                yield calls
            if page.next_key is None:
                return
            key = page.next_key

    async def calls_going_on(self) -> None:
        """Calls that go on here for unusually long: what the provider says has become of each."""
        async with self.run.scope.housekeeping() as connection:
            rows = await connection.fetch(
                "select company_id, provider_call_id, started_at from calls_going_on($1, $2)",
                self.now - ASKED_AFTER,
                ASKED_AT_MOST,
            )
            own = {
                row["company_id"]
                for row in await connection.fetch("select company_id from provider_accounts('retell')")
            }
        dealt_with = {difference.subject for difference in self.run.report.differences}
        for row in rows:
            company_id: UUID = row["company_id"]
            if row["provider_call_id"] in dealt_with:
                continue
            if self.only is not None and company_id != self.only:
                continue
            if self.account.company_id is None and company_id in own:
                continue
            body = await self.client.get_call(row["provider_call_id"])
            call = None if body is None else listed(body)
            if body is None:
                if row["started_at"] < self.now - STUCK:
                    await self._close(company_id, row["provider_call_id"])
            elif call is not None:
                missing = [item for item in await self._missing([call]) if ENDED in item.events]
                await self._take([_found(item, body) for item in missing])

    async def _missing(self, calls: Sequence[ListedCall]) -> list[_Missing]:
        """Calls of which something that should have been delivered by now was not."""
        wanted = {call.call_id: _expected(call, self.now) for call in calls}
        keys = [f"{event}:{call.call_id}" for call in calls for event in (STARTED, ENDED, ANALYZED)]
        async with self.run.scope.housekeeping() as connection:
            here = {row[0] for row in await connection.fetch("select intake_has('retell', $1)", keys)}
        found = []
        for call in calls:
            events = tuple(event for event in wanted[call.call_id] if f"{event}:{call.call_id}" not in here)
            if events:
                known = any(f"{event}:{call.call_id}" in here for event in (STARTED, ENDED, ANALYZED))
                found.append(_Missing(call, _kind(events, is_known=known), events))
        return await self._mine(found)

    async def _mine(self, missing: list[_Missing]) -> list[_Missing]:
        """Those that are the account's business: a company's account takes in nobody else's calls."""
        if self.only is None or not missing:
            return missing
        numbers = [_ours(item.call.body) for item in missing]
        agents = [_text(item.call.body.get("agent_id")) for item in missing]
        async with self.run.scope.housekeeping() as connection:
            rows = await connection.fetch(_TENANTS, numbers, agents)
        mine = {row["place"] for row in rows if row["company_id"] == self.only}
        return [item for place, item in enumerate(missing, 1) if place in mine]

    async def _read(self, missing: _Missing) -> _Found:
        body = await self.client.get_call(missing.call.call_id)
        if body is None:
            return _Found(missing, (), "deleted there meanwhile")
        return _found(missing, body)

    async def _take(self, found: Iterable[_Found], *, listed: int = 0, covered_until: datetime | None = None) -> None:
        """Take in what is missing, and say so, in one transaction."""
        items = [item for item in found if item.deliveries or item.problem]
        async with self.run.scope.housekeeping() as connection:
            owners = await self._owners(connection, items)
            if not self.run.report.is_dry:
                await store(connection, [delivery for item in items for delivery in item.deliveries])
            differences = [_difference(item, owner) for item, owner in zip(items, owners, strict=True)]
            await self.run.note(connection, differences, listed=listed, covered_until=covered_until)

    async def _owners(self, connection: Connection, items: Sequence[_Found]) -> list[UUID | None]:
        numbers = [_ours(item.missing.call.body) for item in items]
        agents = [_text(item.missing.call.body.get("agent_id")) for item in items]
        rows = await connection.fetch(_TENANTS, numbers, agents)
        return [row["company_id"] for row in sorted(rows, key=lambda row: row["place"])]

    async def _close(self, company_id: UUID, call_id: str) -> None:
        """End a call here that the provider knows nothing of."""
        difference = Difference(
            provider=Provider.RETELL,
            kind=DifferenceKind.CALL_UNKNOWN_THERE,
            subject=call_id,
            company_id=company_id,
            action=DifferenceAction.CLOSED,
            ours={"status": CallStatus.ONGOING.value},
        )
        async with self.run.scope.tenant(company_id) as connection:
            if not self.run.report.is_dry:
                await connection.execute(_CLOSE, company_id, call_id)
            await self.run.note(connection, [difference])


def _expected(call: ListedCall, now: datetime) -> tuple[str, ...]:
    """What must have been delivered about a call by now."""
    if call.status not in _OVER:
        began = call.started_at
        on_the_line = call.status == CallStatus.ONGOING.value and began is not None
        return (STARTED,) if on_the_line and began is not None and began < now - GRACE else ()
    end = call.ended_at or call.started_at
    if end is None or end >= now - GRACE:
        return ()
    return (ENDED, ANALYZED) if call.is_analyzed and end < now - ANALYSIS_GRACE else (ENDED,)


def _kind(events: Sequence[str], *, is_known: bool) -> DifferenceKind:
    if not is_known:
        return DifferenceKind.CALL_MISSING
    return DifferenceKind.END_MISSING if ENDED in events else DifferenceKind.ANALYSIS_MISSING


def _found(missing: _Missing, body: Mapping[str, object]) -> _Found:
    """The deliveries that never came, with what the provider says today."""
    try:
        deliveries = [
            read_delivery(msgspec.json.encode({"event": event, "call": body}), ()) for event in missing.events
        ]
    except Malformed as wrong:
        return _Found(missing, (), f"it can't be read: {wrong}")
    return _Found(missing, tuple(deliveries))


def _difference(item: _Found, owner: UUID | None) -> Difference:
    call, missing = item.missing.call, item.missing
    is_unread = bool(item.problem) and "deleted" not in item.problem
    return Difference(
        provider=Provider.RETELL,
        kind=missing.kind if owner is not None else DifferenceKind.CALL_UNASSIGNED,
        subject=call.call_id,
        company_id=owner,
        action=DifferenceAction.REPORTED if is_unread else DifferenceAction.FOLDED_IN,
        ours={"missing": " ".join(missing.events), "problem": item.problem or None},
        theirs={"status": call.status, "started_at": call.started_at, "ended_at": call.ended_at},
    )


def _ours(body: Mapping[str, object]) -> str | None:
    """The company's number of a call."""
    return dialled_number(_text(body.get("from_number" if body.get("direction") == "outbound" else "to_number")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
