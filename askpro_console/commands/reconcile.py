"""`askpro reconcile`: compare with a provider now, and see what differs; what the runs of late found."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from askpro_console.at_database import reaching, with_database
from askpro_console.printed import clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.spans import span
from askpro_console.system import System
from backend.domain.vocabulary import DifferenceAction, Provider, RunCause, RunState

if TYPE_CHECKING:
    from backend.providers.clients import Providers
    from backend.services.reconciliation.differences import Difference
    from backend.services.reconciliation.running import Account, Report, Scope
    from backend.services.reconciliation.status import ReconciliationStatus

NAME = "reconcile"
HELP = "compare with Retell and Cal.com, repair what is safe, report the rest"

FARTHEST = timedelta(days=30)
"""No provider is asked for more at once."""

DONE = {
    DifferenceAction.FOLDED_IN: "taken over",
    DifferenceAction.PUSHED: "written there again",
    DifferenceAction.CLOSED: "ended",
    DifferenceAction.REPORTED: "needs somebody",
}
WOULD = {
    DifferenceAction.FOLDED_IN: "would be taken over",
    DifferenceAction.PUSHED: "would be written there again",
    DifferenceAction.CLOSED: "would be ended",
    DifferenceAction.REPORTED: "needs somebody",
}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, as `--json` prints it."""

    kind: str
    subject: str
    company_id: str | None
    appointment_id: str | None
    ours: dict[str, object]
    theirs: dict[str, object]
    action: str
    is_repaired: bool


class ToldReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as `--json` prints it."""

    provider: str
    account: str
    since: datetime
    until: datetime
    state: str
    is_dry: bool
    listed: int
    unrepaired: int
    error: str
    differences: tuple[Told, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    retell = verbs.add_parser("retell", help="compare the calls at Retell with ours")
    calcom = verbs.add_parser("calcom", help="compare the calendars at Cal.com with our appointments")
    for verb in (retell, calcom):
        verb.add_argument("--company", metavar="SLUG", help="this company only")
        verb.add_argument("--since", type=how_far_back, metavar="SPAN", help="how far back, as in 90m, 24h, 7d")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    verbs.add_parser("status", help="the latest run of each account, and what is open")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def how_far_back(text: str) -> timedelta:
    """A length of time within what a provider is asked for. Raises argparse.ArgumentTypeError."""
    length = span(text)
    if length > FARTHEST:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than {FARTHEST.days}d")
    return length


def run(args: argparse.Namespace) -> int:
    """Do what the verb says: 0 when nothing differs any more, 1 when somebody has to decide, 2 without a key."""
    system = System.load()
    if args.verb == "status":
        return _status(system, as_json=args.json)
    provider = Provider(args.verb)
    reports = asyncio.run(reaching(_reconcile(system, provider, args)))
    if args.json:
        print_json([_told(report) for report in reports])
    else:
        _print(reports)
    failed = next((report for report in reports if report.state is not RunState.DONE), None)
    if failed is not None:
        raise Refused(*_trouble(failed))
    return 1 if any(report.unrepaired for report in reports) else 0


async def _reconcile(system: System, provider: Provider, args: argparse.Namespace) -> list[Report]:
    from backend.postgres.address import Role
    from backend.postgres.pools import open_pool
    from backend.providers.clients import Providers
    from backend.services.reconciliation.running import NoKey, PoolScope, RunUnderWay

    company = await _company(system, args.company) if args.company else None
    async with AsyncExitStack() as stack:
        pool = await open_pool(system.postgres(), Role.WORKER, application="askpro-reconcile", size=2)
        stack.push_async_callback(pool.close)
        providers = Providers(system.provider_config())
        stack.push_async_callback(providers.aclose)
        scope = PoolScope(pool)
        reports = []
        for account in await _accounts(scope, provider, company, args.company):
            try:
                reports.append(await _one(scope, providers, provider, account, _how(args, company)))
            except NoKey as missing:
                raise WrongUsage(
                    f"There is no key for {_name(provider)}: the secret {missing.secret} is not set.",
                    f"Set it with `askpro secrets set {missing.secret}`.",
                ) from missing
            except RunUnderWay as other:
                raise Refused(
                    f"Somebody else is comparing with {_name(provider)} right now.",
                    "`askpro reconcile status` shows it; it is over in a minute or two.",
                ) from other
        return reports


class _How(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    since: datetime | None
    company_id: UUID | None
    is_dry: bool


def _how(args: argparse.Namespace, company: UUID | None) -> _How:
    return _How(None if args.since is None else datetime.now(UTC) - args.since, company, args.dry_run)


async def _one(scope: Scope, providers: Providers, provider: Provider, account: Account, how: _How) -> Report:
    """One run of one account."""
    from backend.services.reconciliation.bookings import reconcile_bookings
    from backend.services.reconciliation.calls import reconcile_calls

    cause, holder = RunCause.COMMAND, f"command {os.getpid()}"
    if provider is Provider.CALCOM:
        return await reconcile_bookings(
            scope, providers, account, cause=cause, holder=holder, since=how.since, is_dry=how.is_dry
        )
    return await reconcile_calls(
        scope,
        providers,
        account,
        cause=cause,
        holder=holder,
        since=how.since,
        company_id=how.company_id,
        is_dry=how.is_dry,
    )


async def _company(system: System, slug: str) -> UUID:
    """The company's id. Raises Refused."""
    from backend.postgres.address import Role
    from backend.postgres.pools import connect

    connection = await connect(system.postgres(), Role.CONSOLE, application="askpro-reconcile")
    try:
        found: dict[str, UUID] = {
            row["slug"]: row["id"] for row in await connection.fetch("select slug, id from companies")
        }
    finally:
        await connection.close(timeout=2)
    if slug not in found:
        near = nearest(slug, list(found))
        raise Refused(f"There is no company {slug}.", f"Did you mean {near}?" if near else "`askpro company list`")
    return found[slug]


async def _accounts(scope: Scope, provider: Provider, company: UUID | None, slug: str | None) -> Sequence[Account]:
    """The accounts to be asked. Raises WrongUsage when there is none."""
    from backend.services.reconciliation.running import accounts

    found = await accounts(scope, provider)
    if company is None:
        chosen = found
    else:
        chosen = [account for account in found if account.company_id == company]
        if not chosen:
            chosen = [account for account in found if account.company_id is None]
    if not chosen:
        whose = f"The company {slug}" if slug else "No company"
        raise WrongUsage(
            f"{whose} {'does not write' if slug else 'writes'} its appointments to Cal.com.",
            "Name a secret as calcom.api_key_secret in its declaration, and set it with `askpro secrets set`.",
        )
    return chosen


def _name(provider: Provider) -> str:
    return "Retell" if provider is Provider.RETELL else "Cal.com"


def _trouble(report: Report) -> tuple[str, str]:
    name = _name(report.provider)
    if report.state is RunState.FAILED:
        return f"{name} refuses: {report.error}.", "Check the key with `askpro secrets list`."
    return (
        f"{name} could not be asked to the end: {report.error}.",
        "What was found so far stands; the next run goes on from there.",
    )


def _told(report: Report) -> ToldReport:
    return ToldReport(
        provider=report.provider.value,
        account=report.account,
        since=report.since,
        until=report.until,
        state=report.state.value,
        is_dry=report.is_dry,
        listed=report.listed,
        unrepaired=report.unrepaired,
        error=report.error,
        differences=tuple(_told_difference(difference) for difference in report.differences),
    )


def _told_difference(difference: Difference) -> Told:
    return Told(
        kind=difference.kind.value,
        subject=difference.subject,
        company_id=None if difference.company_id is None else str(difference.company_id),
        appointment_id=None if difference.appointment_id is None else str(difference.appointment_id),
        ours=dict(difference.ours),
        theirs=dict(difference.theirs),
        action=difference.action.value,
        is_repaired=difference.is_repaired,
    )


def _print(reports: Sequence[Report]) -> None:
    for report in reports:
        what = "calls" if report.provider is Provider.RETELL else "bookings"
        whose = "" if report.account == "system" else f" in the account of {report.account}"
        print(
            f"{_name(report.provider)}: {report.listed:,} {what}{whose}, from {clock(report.since)} "
            f"to {clock(report.until)}."
        )
        if not report.differences:
            print("Nothing differs." if report.state is RunState.DONE else "Nothing was found so far.")
            continue
        words = WOULD if report.is_dry else DONE
        print_table(
            ("WHAT", "WHICH", "OURS", "THEIRS", "DONE"),
            (
                (
                    difference.kind.value.replace("_", " "),
                    difference.subject,
                    _fields(difference.ours),
                    _fields(difference.theirs),
                    words[difference.action],
                )
                for difference in report.differences
            ),
        )


def _fields(fields: Mapping[str, object]) -> str:
    shown = {
        name: clock(value) if isinstance(value, datetime) else value
        for name, value in fields.items()
        if value is not None
    }
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items()) or "-"


def _status(system: System, *, as_json: bool) -> int:
    from backend.postgres.address import Role
    from backend.services.reconciliation.status import reconciliation_status

    found: ReconciliationStatus = with_database(system, Role.CONSOLE, "askpro-reconcile", reconciliation_status)
    if as_json:
        print_json(found)
        return 0
    if not found.runs:
        print("Nothing was compared yet. `askpro reconcile retell` does it now.")
    else:
        print_table(
            ("PROVIDER", "ACCOUNT", "STARTED", "STATE", "COMPARED UNTIL", "LISTED", "FOUND", "OPEN", "TROUBLE"),
            (
                (
                    line.provider,
                    line.company or line.account,
                    clock(line.started_at),
                    line.state,
                    "-" if line.covered_until is None else clock(line.covered_until),
                    f"{line.listed:,}",
                    f"{line.found:,}",
                    f"{line.unrepaired:,}",
                    line.error or "-",
                )
                for line in found.runs
            ),
        )
    if found.open:
        print()
        print_table(
            ("OPEN SINCE", "PROVIDER", "COMPANY", "WHAT", "WHICH"),
            (
                (clock(line.found_at), line.provider, line.company or "-", line.kind.replace("_", " "), line.subject)
                for line in found.open
            ),
        )
    return 0
