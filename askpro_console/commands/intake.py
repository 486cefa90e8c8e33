"""`askpro intake`: what came in, what is quarantined, what was refused; assign numbers, replay deliveries."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec

from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.intake_status import IntakeStatus
    from backend.services.quarantine import Assignment, QuarantineGroup
    from backend.services.replay import RejectGroup, Replay

NAME = "intake"
HELP = "look at webhooks: quarantine, rejected deliveries, replay"

T = TypeVar("T")

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("status", help="how many deliveries came in, wait, were refused")
    verbs.add_parser("quarantine", help="deliveries without a tenant, by number and agent")
    verbs.add_parser("rejects", help="refused deliveries, by provider and reason")
    assign = verbs.add_parser("assign", help="give a number or an agent to a company, and release what waits for it")
    assign.add_argument("target", metavar="NUMBER", help="the number that was dialled (+49…), or an agent's id")
    assign.add_argument("place", metavar="COMPANY[/BRANCH]", help="slugs; the branch may be left out if there is one")
    replay = verbs.add_parser("replay", help="verify refused deliveries again and accept the good ones")
    replay.add_argument("--provider", choices=["retell", "calcom"], required=True)
    replay.add_argument("--since", type=span, default=timedelta(hours=72), metavar="SPAN", help="such as 30m, 2h, 3d")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")
    for verb in (assign, replay):
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        verb.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    system = System.load()
    match args.verb:
        case "status":
            return _status(system, as_json=args.json)
        case "quarantine":
            return _quarantine(system, as_json=args.json)
        case "rejects":
            return _rejects(system, as_json=args.json)
        case "assign":
            return _assign(system, args)
        case _:
            return _replay(system, args)


def span(text: str) -> timedelta:
    """A length of time such as `90s`, `30m`, `2h`, `3d`."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no span such as 30m, 2h or 3d")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def _with_database(system: System, work: Callable[[Connection], Awaitable[T]], *, changes: bool) -> T:
    """Do work on a connection to the system's database."""
    import asyncpg

    from backend.postgres.address import Role
    from backend.postgres.pools import connect

    async def connected() -> T:
        connection = await connect(
            system.postgres(), Role.SETUP if changes else Role.CONSOLE, application="askpro-intake"
        )
        try:
            return await work(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(connected())
    except asyncpg.UniqueViolationError:
        raise
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise Refused(f"The database does not answer: {error}.", "`askpro status` says what runs.") from error


def _status(system: System, *, as_json: bool) -> int:
    from backend.services.intake_status import intake_status

    status: IntakeStatus = _with_database(system, intake_status, changes=False)
    if as_json:
        _print_json(status)
        return 0
    print(f"accepted in the last hour   {status.accepted_1h:,}")
    print(f"waiting for their effect    {status.waiting:,}{_oldest(status.oldest_waiting_at)}")
    print(f"held                        {status.held:,}")
    print(f"quarantined                 {status.quarantined:,}")
    refused = ", ".join(f"{reason} {count:,}" for reason, count in sorted(status.rejected_1h.items()))
    print(f"refused in the last hour    {sum(status.rejected_1h.values()):,}{f' ({refused})' if refused else ''}")
    print(f"refused and kept            {status.kept:,} ({status.kept_bytes / 1e6:,.1f} MB)")
    return 0


def _oldest(moment: datetime | None) -> str:
    return "" if moment is None else f", the oldest since {_clock(moment)}"


def _quarantine(system: System, *, as_json: bool) -> int:
    from backend.services.quarantine import quarantine_groups

    groups: list[QuarantineGroup] = _with_database(system, quarantine_groups, changes=False)
    if as_json:
        _print_json(groups)
    elif not groups:
        print("Nothing is quarantined.")
    else:
        _print_table(
            ("NUMBER", "AGENT", "PROVIDER", "DELIVERIES", "CALLS", "FIRST", "LAST"),
            (
                (
                    group.dialled or "-",
                    group.agent_id or "-",
                    group.provider,
                    f"{group.deliveries:,}",
                    f"{group.subjects:,}",
                    _clock(group.first_at),
                    _clock(group.last_at),
                )
                for group in groups
            ),
        )
        print("\nGive a number to its company with `askpro intake assign NUMBER COMPANY/BRANCH`.")
    return 0


def _rejects(system: System, *, as_json: bool) -> int:
    from backend.services.replay import reject_groups

    groups: list[RejectGroup] = _with_database(system, reject_groups, changes=False)
    if as_json:
        _print_json(groups)
    elif not groups:
        print("Nothing was refused lately.")
    else:
        _print_table(
            ("PROVIDER", "REASON", "REFUSED", "KEPT", "OPEN", "SENDERS", "LAST SENDER", "FIRST", "LAST"),
            (
                (
                    group.provider,
                    group.reason,
                    f"{group.refused:,}",
                    f"{group.kept:,}",
                    f"{group.open:,}",
                    f"{group.senders:,}",
                    group.last_sender,
                    _clock(group.first_at),
                    _clock(group.last_at),
                )
                for group in groups
            ),
        )
        print("\nAfter mending a secret: `askpro intake replay --provider PROVIDER --dry-run`.")
    return 0


def _assign(system: System, args: argparse.Namespace) -> int:
    import asyncpg

    from backend.queue.port import JobQueue
    from backend.services.quarantine import AssignmentRefused, assign, plan_assignment

    company, _, branch = str(args.place).partition("/")
    try:
        plan: Assignment = _with_database(
            system, lambda connection: plan_assignment(connection, args.target, company, branch or None), changes=True
        )
    except AssignmentRefused as refused:
        raise Refused(str(refused), _hint(refused.given, refused.choices)) from refused
    what = f"{plan.target} to {plan.place.company}" + (f" / {plan.place.branch}" if plan.place.branch else "")
    if args.dry_run:
        _tell_assignment(plan, f"Would assign {what} and release {plan.waiting:,} deliveries.", as_json=args.json)
        return 0
    _confirm(f"Assign {what} and release {plan.waiting:,} deliveries?", yes=args.yes)
    try:
        done: Assignment = _with_database(system, lambda connection: assign(connection, JobQueue(), plan), changes=True)
    except asyncpg.UniqueViolationError as taken:
        raise Refused(f"{plan.target} was assigned by somebody else just now.") from taken
    _tell_assignment(done, f"Assigned {what}; released {done.released:,} deliveries.", as_json=args.json)
    return 0


def _tell_assignment(assignment: Assignment, sentence: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(assignment)
    else:
        print(harmless(sentence))


def _hint(given: str, choices: tuple[str, ...]) -> str:
    if not choices:
        return ""
    near = nearest(given, choices)
    return f"Did you mean {near}?" if near else f"There are: {', '.join(choices[:10])}."


def _replay(system: System, args: argparse.Namespace) -> int:
    from backend.domain.vocabulary import Provider
    from backend.services.replay import replay
    from backend.services.seal import Seal

    provider = Provider(args.provider)
    config = system.api_config()
    keys = config.retell_keys if provider is Provider.RETELL else config.calcom_secrets
    if not keys:
        name = "retell_api_key" if provider is Provider.RETELL else "calcom_webhook_secret"
        raise Refused(f"There is no key to verify with: the secret {name} is not set.", f"`askpro secrets set {name}`.")
    seal = Seal(config.reject_key)

    def replayed(*, dry_run: bool) -> Replay:
        return _with_database(
            system,
            lambda connection: replay(connection, seal, provider, keys, since=args.since, dry_run=dry_run),
            changes=True,
        )

    if args.dry_run or not args.yes:
        plan = replayed(dry_run=True)
        if args.dry_run:
            _tell_replay(plan, "would be accepted", as_json=args.json)
            return 0
        good = sum(plan.accepted.values())
        if good:
            _confirm(f"Accept {good:,} of {plan.looked_at:,} refused deliveries?", yes=False)
    _tell_replay(replayed(dry_run=False), "accepted", as_json=args.json)
    return 0


def _tell_replay(result: Replay, done: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(result)
        return
    accepted = _counts(result.accepted)
    refused = _counts(result.refused)
    print(f"{result.looked_at:,} looked at; {sum(result.accepted.values()):,} {done}{accepted}")
    if result.refused:
        print(f"{sum(result.refused.values()):,} stay refused{refused}")


def _counts(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count:,}' for name, count in sorted(counts.items()))})" if counts else ""


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUsage("This changes data, and there is nobody to ask.", "Add --yes, or --dry-run to only look.")
    if input(f"{harmless(question)} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Refused("Nothing was changed.")


def _clock(moment: datetime) -> str:
    local = moment.astimezone()
    return f"{local:%H:%M:%S}" if moment > datetime.now(UTC) - timedelta(hours=20) else f"{local:%Y-%m-%d %H:%M}"


def _print_json(content: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(content)).decode())


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [head, *(tuple(harmless(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
