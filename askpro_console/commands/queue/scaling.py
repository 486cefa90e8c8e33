"""`askpro queue scale`, `balance`: how many jobs run at once, said by hand or following the load."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import QUEUES, acting, at_queue
from askpro_console.commands.queue.steering import add_changing, queues_now, subject_and_blast
from askpro_console.printed import agree, capital, clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from backend.domain.vocabulary import PauseKind

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from backend.services.operating.blast import Blast
    from backend.services.operating.slots import Scaled
    from backend.watch.snapshots import SlotChange, SlotRow

AUTO = "auto"

LONGEST_NUMBER = 6
"""Digits; no policy's ceiling has as many."""

LONGEST_TOLD = 40
"""Characters of what is no number that an answer repeats."""


class WouldScale(msgspec.Struct, frozen=True, kw_only=True):
    """What a dry run tells."""

    queue: str
    node: str
    """Empty: every node without a number of its own."""
    before: tuple[SlotRow, ...]
    after: int | None
    """None: its policy's number, and the balancer's."""
    touches: Blast


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """How slots are shared."""

    is_on: bool
    slots: tuple[SlotRow, ...]
    changes: tuple[SlotChange, ...]
    """The latest decisions, newest first."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    scale = verbs.add_parser(
        "scale", help="how many jobs of a queue run at once; `auto` gives it to the balancer again"
    )
    scale.add_argument("queue", choices=QUEUES, metavar="QUEUE", help=", ".join(QUEUES))
    scale.add_argument("slots", metavar="SLOTS|auto", help="a number such as 20; auto: its policy's and the balancer's")
    scale.add_argument("--node", metavar="NAME", help="on one machine; else on each")
    add_changing(scale)
    scale.set_defaults(act=_scale)
    balance = verbs.add_parser("balance", help="slots, and the balancer's decisions; let it, stop it, take all back")
    balance.add_argument("order", nargs="?", choices=("on", "off", "reset"), metavar="on|off|reset")
    add_changing(balance)
    balance.set_defaults(act=_balance)


def _scale(system: System, args: argparse.Namespace) -> int:
    slots = slot_number(args.slots)
    args.node = args.node or ""
    _, blast = subject_and_blast(system, PauseKind.QUEUE, args.queue)
    rows = tuple(row for row in queues_now(system).slots if row.queue == args.queue and args.node in {"", row.node})
    if args.node and not rows and slots is not None:
        raise Refused(f"No worker of {args.queue} lives on {args.node}.", "`askpro queue balance` shows where they do.")
    of = f"{args.queue}{f' on {args.node}' if args.node else ''}"
    now = ", ".join(f"{row.slots} on {row.node}" for row in rows) or "no live worker"
    wish = f"{slots} slots" if slots is not None else given_back(args.node)
    question = f"{capital(of)} has {now}. {_touched(blast)} Give it {wish}?"
    agree(question, yes=args.yes or args.dry_run)
    scaled = acting(system, lambda connection, by: _say(system, connection, by, args, slots), dry_run=args.dry_run)
    if not args.dry_run:
        return _tell(system, args, scaled, slots, of)
    if args.json:
        print_json(WouldScale(queue=args.queue, node=args.node, before=rows, after=slots, touches=blast))
    else:
        print(f"Would give {of} {wish} (now {now}). {_touched(blast)}")
    return 0


async def _say(system: System, connection: Connection, by: By, args: argparse.Namespace, slots: int | None) -> Scaled:
    """Say the number, or take back what was said."""
    from backend.services.operating.slots import scale, unpin

    policies = system.loaded.policies
    if slots is None:
        return await unpin(connection, by, args.queue, node=args.node, reason=args.reason, policies=policies)
    return await scale(connection, by, args.queue, slots, node=args.node, reason=args.reason, policies=policies)


def _tell(system: System, args: argparse.Namespace, scaled: Scaled, slots: int | None, of: str) -> int:
    """What was done, and which workers obey."""
    from backend.services.operating.obeying import slots_obeyed

    obeyed = at_queue(system, lambda connection: slots_obeyed(connection, args.queue, args.node, scaled.after))
    if args.json:
        print_json({**msgspec.to_builtins(scaled), "obeyed": obeyed})
    elif scaled.is_pinned:
        by = ", as was said for all nodes" if slots is None else ""
        print(f"{capital(of)}: {scaled.before} → {scaled.after} slots{by}. {obeyed} The balancer leaves them alone.")
        if slots is None:
            return 0
        print(f"`askpro queue scale {args.queue} auto{f' --node {args.node}' if args.node else ''}` gives them back.")
    else:
        print(f"{capital(of)}: {scaled.before} → {scaled.after} slots by its policy. {obeyed}")
    return 0


def slot_number(text: str) -> int | None:
    """A number of slots, or None for `auto`: digits alone, no sign, point or unit. Raises WrongUsage."""
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        short = text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}…"
        raise WrongUsage(f"{short!r} is no number of slots.", "It is a whole number such as 20, or `auto`.")
    return int(text)


def given_back(node: str) -> str:
    """What a queue has after `auto`, in words."""
    if node:
        return "what was said for all nodes, else its policy's slots and the balancer's care"
    return "its policy's slots, and the balancer's care"


def _touched(blast: Blast) -> str:
    from backend.services.operating.blast import in_words

    return in_words(blast)


def _balance(system: System, args: argparse.Namespace) -> int:
    did = "" if args.order is None else _rebalance(system, args)
    snapshot = queues_now(system)
    balance = Balance(is_on=snapshot.is_balancing, slots=snapshot.slots, changes=snapshot.slot_changes)
    if args.json:
        print_json(balance)
        return 0
    _print_balance(balance)
    if did:
        print(f"\n{did}")
    return 0


def _rebalance(system: System, args: argparse.Namespace) -> str:
    """Let it, stop it, take all back; what was done, or with `--dry-run` would be."""
    from backend.services.operating.slots import reset_shifts, set_balancing

    question = {
        "on": "Let slots follow the load?",
        "off": "Leave slots as they are now, whatever the load is?",
        "reset": "Give every queue its policy's slots, except those that a person decided about?",
    }[args.order]
    agree(question, yes=args.yes or args.dry_run)

    async def order(connection: Connection, by: By) -> int:
        if args.order == "reset":
            return await reset_shifts(connection, by, reason=args.reason, policies=system.loaded.policies)
        return int(await set_balancing(connection, by, args.order == "on", reason=args.reason))

    changed = acting(system, order, dry_run=args.dry_run)
    if args.order == "reset":
        have = f"{changed} queue{'s' * (changed != 1)}"
        return f"Would give {have} the policy's slots back." if args.dry_run else f"{have} got the policy's slots back."
    if not changed:
        return f"Balancing is {args.order} already."
    return f"Would turn balancing {args.order}." if args.dry_run else ""


def _print_balance(balance: Balance) -> None:
    print(f"Slots {'follow the load' if balance.is_on else 'stay as they are: balancing is off'}.")
    if balance.slots:
        print_table(
            ("QUEUE", "NODE", "SLOTS", "FLOOR", "POLICY", "CEILING", "DECIDED BY", "WHY"),
            (
                (
                    row.queue,
                    row.node,
                    str(row.slots),
                    str(row.floor),
                    str(row.base),
                    str(row.ceiling),
                    f"{row.decided_by}, pinned" if row.is_pinned else row.decided_by or "policy",
                    row.reason or "-",
                )
                for row in balance.slots
            ),
        )
    else:
        print("No worker lives.")
    if balance.changes:
        print()
        print_table(
            ("AT", "QUEUE", "NODE", "SLOTS", "BY", "WHY"),
            (
                (
                    clock(datetime.fromtimestamp(row.at, UTC)),
                    row.queue,
                    row.node or "all",
                    f"{row.before} → {row.after}",
                    row.decided_by,
                    row.why,
                )
                for row in balance.changes
            ),
        )
