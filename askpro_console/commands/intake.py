"""`askpro intake`: what came in, what is quarantined, what was refused; assign numbers, replay deliveries."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import with_database
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.refusal import Refused, nearest
from askpro_console.spans import span
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.intake.quarantine import Assignment, QuarantineGroup
    from backend.services.intake.replay import RejectGroup, Replay
    from backend.services.intake.status import IntakeStatus

NAME = "intake"
HELP = "look at webhooks: quarantine, rejected deliveries, replay"

Result = TypeVar("Result")


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


def _with_database(system: System, work: Callable[[Connection], Awaitable[Result]], *, changes: bool) -> Result:
    from backend.postgres.address import Role

    return with_database(system, Role.SETUP if changes else Role.CONSOLE, "askpro-intake", work)


def _status(system: System, *, as_json: bool) -> int:
    from backend.services.intake.status import intake_status

    status: IntakeStatus = _with_database(system, intake_status, changes=False)
    if as_json:
        print_json(status)
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
    return "" if moment is None else f", the oldest since {clock(moment)}"


def _quarantine(system: System, *, as_json: bool) -> int:
    from backend.services.intake.quarantine import quarantine_groups

    groups: list[QuarantineGroup] = _with_database(system, quarantine_groups, changes=False)
    if as_json:
        print_json(groups)
    elif not groups:
        print("Nothing is quarantined.")
    else:
        print_table(
            ("NUMBER", "AGENT", "PROVIDER", "DELIVERIES", "CALLS", "FIRST", "LAST"),
            (
                (
                    group.dialled or "-",
                    group.agent_id or "-",
                    group.provider,
                    f"{group.deliveries:,}",
                    f"{group.subjects:,}",
                    clock(group.first_at),
                    clock(group.last_at),
                )
                for group in groups
            ),
        )
        print("\nGive a number to its company with `askpro intake assign NUMBER COMPANY/BRANCH`.")
    return 0


def _rejects(system: System, *, as_json: bool) -> int:
    from backend.services.intake.replay import reject_groups

    groups: list[RejectGroup] = _with_database(system, reject_groups, changes=False)
    if as_json:
        print_json(groups)
    elif not groups:
        print("Nothing was refused lately.")
    else:
        print_table(
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
                    clock(group.first_at),
                    clock(group.last_at),
                )
                for group in groups
            ),
        )
        print("\nAfter mending a secret: `askpro intake replay --provider PROVIDER --dry-run`.")
    return 0


def _assign(system: System, args: argparse.Namespace) -> int:
    import asyncpg

    from backend.queue.port import JobQueue
    from backend.services.intake.quarantine import AssignmentRefused, assign, plan_assignment

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
    agree(f"Assign {what} and release {plan.waiting:,} deliveries?", yes=args.yes)
    try:
        done: Assignment = _with_database(system, lambda connection: assign(connection, JobQueue(), plan), changes=True)
    except Refused as refused:
        if isinstance(refused.__cause__, asyncpg.UniqueViolationError):
            raise Refused(f"{plan.target} was assigned by somebody else just now.") from refused
        raise
    _tell_assignment(done, f"Assigned {what}; released {done.released:,} deliveries.", as_json=args.json)
    return 0


def _tell_assignment(assignment: Assignment, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(assignment)
    else:
        print(harmless(sentence))


def _hint(given: str, choices: tuple[str, ...]) -> str:
    if not choices:
        return ""
    near = nearest(given, choices)
    return f"Did you mean {near}?" if near else f"There are: {', '.join(choices[:10])}."


def _replay(system: System, args: argparse.Namespace) -> int:
    from backend.domain.vocabulary import Provider
    from backend.services.intake.replay import replay
    from backend.services.intake.seal import Seal

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
            agree(f"Accept {good:,} of {plan.looked_at:,} refused deliveries?", yes=False)
    _tell_replay(replayed(dry_run=False), "accepted", as_json=args.json)
    return 0


def _tell_replay(result: Replay, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    accepted = _counts(result.accepted)
    refused = _counts(result.refused)
    print(f"{result.looked_at:,} looked at; {sum(result.accepted.values()):,} {done}{accepted}")
    if result.refused:
        print(f"{sum(result.refused.values()):,} stay refused{refused}")


def _counts(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count:,}' for name, count in sorted(counts.items()))})" if counts else ""
