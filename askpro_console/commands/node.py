"""`askpro node`: the machines of the fleet, from any of them: invite, list, drain, resume, restart, stop, scale."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import msgspec

from askpro_console.at_database import in_transaction, where_to_look, with_database
from askpro_console.commands.status import span
from askpro_console.operator_name import operator_name
from askpro_console.printed import agree, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from backend.domain.vocabulary import QueueName

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.fleet.orders import Ended
    from backend.services.operating.audit import By
    from backend.services.operating.slots import Scaled
    from backend.watch.snapshots import FleetSnapshot, NodeRow, OrderRow, WorkerRow

NAME = "node"
HELP = "the machines of the fleet: invite, list, drain, resume, restart, scale"

ANSWER_S = 10.0
"""So long a node may take to take an order up, before that is told as a failure."""

LOOK_S = 0.2

LONGEST_WAIT_S = 86_400


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a verb did, as `--json` prints it."""

    node: str
    done: str
    """In words."""
    is_dry_run: bool = False
    order: int | None = None
    state: str = ""
    key: str = ""
    """What opens an invitation."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    invite = verbs.add_parser("invite", help="write what a new node needs to join: addresses, passwords, secrets")
    invite.add_argument("file", nargs="?", metavar="FILE", help="where to write it; without, the standard output")
    invite.add_argument("--postgres", default="", metavar="HOST:PORT", help="where the node finds the database")
    invite.add_argument("--valkey", default="", metavar="URL", help="where it finds Valkey, as in redis://host:6379/0")
    invite.set_defaults(act=_invite)
    verbs.add_parser("ls", help="every node: state, version, load, workers").set_defaults(act=_list)
    verbs.add_parser("orders", help="what nodes were told lately, and what became of it").set_defaults(act=_orders)
    drain = verbs.add_parser("drain", help="let a node's workers finish what they do and take nothing more")
    drain.add_argument("--wait", type=_seconds, default=0, metavar="SECONDS", help="until nothing is in work there")
    drain.set_defaults(act=_drain)
    resume = verbs.add_parser("resume", help="let a drained node's workers take jobs again")
    resume.add_argument(
        "--ramp", type=_seconds, default=None, metavar="SECONDS", help="come to full speed over so long"
    )
    resume.set_defaults(act=_resume)
    restart = verbs.add_parser("restart", help="drain a process of a node, or all of its own, and start it afresh")
    restart.set_defaults(act=_restart)
    stop = verbs.add_parser("stop", help="take a joined node down in good order")
    stop.set_defaults(act=_stop)
    scale = verbs.add_parser("scale", help="give a queue so many slots on one node")
    scale.set_defaults(act=_scale)
    forget = verbs.add_parser("forget", help="strike a node that is gone for good off the list")
    forget.set_defaults(act=_forget)
    for verb in (drain, resume, restart, stop, scale, forget):
        verb.add_argument("node", metavar="NODE")
        verb.add_argument("--reason", default="", metavar="TEXT", help="kept with the record of it")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        verb.add_argument("--yes", action="store_true", help="do not ask")
    restart.add_argument("process", nargs="?", default="", metavar="PROCESS", help="as in worker-webhooks")
    scale.add_argument("queue", choices=[queue.value for queue in QueueName], metavar="QUEUE")
    scale.add_argument("slots", metavar="SLOTS", help="a number, or `auto` to leave it to policy and balancer")
    for each in verbs.choices.values():
        each.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    return cast("int", args.act(System.load(), args))


# Looking ------------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> int:
    """A whole number of seconds, up to a day; for `type=` of an argument. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= LONGEST_WAIT_S):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds: it is a whole one such as 60")
    return int(text)


def _list(system: System, args: argparse.Namespace) -> int:
    fleet = _fleet(system)
    if args.json:
        print_json(fleet.nodes)
        return 0
    head = ("NODE", "STATE", "VERSION", "CPU", "LOAD", "MEMORY", "BUSY", "PROCESSES", "UP", "HOME")
    print_table(head, (_row(node, fleet) for node in fleet.nodes))
    for node in fleet.nodes:
        if node.rival:
            print(f"\n{node.rival} wants the name {node.node} too: set another stack.node there.")
    return 0


def _row(node: NodeRow, fleet: FleetSnapshot) -> tuple[str, ...]:
    live = _live(fleet, node.node)
    ready = sum(process.state == "ready" for process in node.processes)
    state = node.state.value
    if state != "up":
        state += f" {span(node.silent_s)}"
    elif node.drained_by:
        state = f"drained by {node.drained_by}"
    return (
        node.node,
        state,
        node.version,
        f"{node.cpu_ratio * 100:.0f} %",
        f"{node.load_1m:.1f}/{node.cores}",
        f"{node.memory_used_bytes / 2**30:.1f}/{node.memory_total_bytes / 2**30:.0f} G",
        f"{sum(worker.busy for worker in live)}/{sum(worker.concurrency for worker in live)}",
        f"{ready}/{len(node.processes)}" if node.state.value == "up" else "-",
        span(time.time() - node.started_at) if node.started_at else "-",
        node.home or "-",
    )


def _live(fleet: FleetSnapshot, node: str) -> list[WorkerRow]:
    """The workers of that name that were heard of lately."""
    from backend.queue.roster import LIVE_S

    workers = [worker for worker in fleet.workers if worker.node == node and worker.state != "stopped"]
    return [worker for worker in workers if fleet.taken_at - worker.heartbeat_at < LIVE_S]


def _orders(system: System, args: argparse.Namespace) -> int:
    told: tuple[OrderRow, ...] = _fleet(system).orders
    if args.json:
        print_json(told)
    elif not told:
        print("No node was told anything within the last quarter of an hour.")
    else:
        print_table(
            ("ORDER", "NODE", "WHAT", "BY", "AGO", "STATE", ""),
            (
                (
                    str(order.id),
                    order.node,
                    f"{order.action} {order.process}".strip(),
                    order.ordered_by,
                    span(time.time() - order.ordered_at),
                    order.state.value,
                    order.detail,
                )
                for order in told
            ),
        )
    return 0


def _fleet(system: System) -> FleetSnapshot:
    """The fleet as the database has it now. Raises Refused."""
    import asyncio

    from backend.postgres.address import Role
    from backend.watch.lane import CollectionFailed, Lane
    from backend.watch.snapshots import FleetSnapshot

    async def collected() -> FleetSnapshot:
        lane = Lane(system.postgres(), Role.CONSOLE, application="askpro-node")
        try:
            snapshot = await lane.collect("fleet")
        finally:
            lane.close()
        assert isinstance(snapshot, FleetSnapshot)
        return snapshot

    try:
        return asyncio.run(collected())
    except CollectionFailed as failed:
        raise Refused(f"The database does not answer: {failed}.", where_to_look(system)) from failed


# Inviting -----------------------------------------------------------------------------------------------------------


def _invite(system: System, args: argparse.Namespace) -> int:
    from pathlib import Path

    from askpro_console.joining import JOIN_KEY, invitation
    from backend.stack.invitation import new_key, seal, write_new

    if not args.file and sys.stdout.isatty():
        raise WrongUsage("It is a file for another machine.", "`askpro node invite FILE` writes it.")
    invited = invitation(system, postgres=args.postgres, valkey=args.valkey, is_demo=_is_demo(system))
    key = new_key()
    content = seal(invited, key)
    _record_invitation(system, args.file or "standard output")
    told = f"{args.file or 'This'} lets a node join, with this key, which is kept nowhere:"
    then = (
        f"Bring the file there, then `askpro serve --join {args.file or 'FILE'}`: it asks for the key, or takes it from"
        f" ASKPRO_SECRET_{JOIN_KEY.upper()}."
    )
    if args.file:
        write_new(Path(args.file).expanduser(), content)
    else:
        _keep_output_private()
        sys.stdout.write(content.decode())
        sys.stdout.flush()
    if args.file and args.json:
        print_json(Told(node=system.node, done=f"{args.file} lets a node join.", key=key))
    else:
        print(f"{told}\n\n    {key}\n\n{then}", file=sys.stdout if args.file else sys.stderr)
    if invited.join.postgres_host.startswith("/"):
        print(
            "The node must be on this machine, or have these sockets: another one needs --postgres and --valkey.",
            file=sys.stderr,
        )
    return 0


def _keep_output_private() -> None:
    """A file that the shell has made for the output may be read by others until now. Raises Refused."""
    descriptor = sys.stdout.fileno()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    try:
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise Refused(
            f"The output's file cannot be kept from others: {error.strerror or error}.", "`askpro node invite FILE`"
        ) from error


def _record_invitation(system: System, where: str) -> None:
    """Whoever has it can read every customer, so it is written down that it was made. Raises Refused."""
    from backend.postgres.address import Role
    from backend.services.operating.audit import By, record

    by = By(operator_name(), system.node)
    with_database(
        system,
        Role.WORKER,
        "askpro-node",
        lambda connection: record(connection, by, "node.invite", system.node, reason="", detail={"file": where}),
    )


def _is_demo(system: System) -> bool:
    import asyncio

    from backend.stack.client import ControlClient, ControlUnavailable

    async def ask() -> bool:
        async with ControlClient(system.layout) as client:
            try:
                return (await client.status()).demo
            except ControlUnavailable:
                return False

    return asyncio.run(ask())


# Doing --------------------------------------------------------------------------------------------------------------


def _drain(system: System, args: argparse.Namespace) -> int:
    from backend.domain.vocabulary import PauseKind
    from backend.services.operating.pauses import pause

    told = _change(
        system,
        args,
        f"Drain {args.node}: its workers finish what they do and take nothing more",
        lambda connection, by: pause(connection, by, PauseKind.NODE, args.node, reason=args.reason),
        f"{args.node} takes no more jobs; `askpro node resume {args.node}` lets it again.",
    )
    if told.is_dry_run or not args.wait:
        return _tell(_with_standing(system, told), args)
    end = time.monotonic() + args.wait
    while True:
        busy = _in_work(_fleet(system), args.node)
        if busy == 0:
            done = f"{args.node} is drained: nothing is in work there."
            return _tell(_with_standing(system, msgspec.structs.replace(told, done=done)), args)
        if time.monotonic() > end:
            left = f"{busy} jobs are still in work" if busy else "The workers have not said yet that nothing is in work"
            raise Refused(f"{left} on {args.node}.", "It stays drained; they may take longer.")
        time.sleep(LOOK_S)


def _in_work(fleet: FleetSnapshot, name: str) -> int | None:
    """Jobs in work on a drained node; None until each of its workers has told of itself since it was drained."""
    from backend.queue.roster import BEAT_S

    node = next((node for node in fleet.nodes if node.node == name), None)
    since = node.drained_at if node is not None else None
    live = _live(fleet, name)
    # A second beat: at the first a job that was being taken may not have been counted.
    if since is None or any(worker.heartbeat_at < since + BEAT_S for worker in live):
        return None
    return sum(worker.busy for worker in live)


def _resume(system: System, args: argparse.Namespace) -> int:
    from backend.domain.vocabulary import PauseKind
    from backend.services.operating.pauses import resume

    told = _change(
        system,
        args,
        f"Let {args.node} take jobs again",
        lambda connection, by: resume(connection, by, PauseKind.NODE, args.node, ramp_s=args.ramp, reason=args.reason),
        f"{args.node} takes jobs again.",
    )
    return _tell(_with_standing(system, told), args)


def _with_standing(system: System, told: Told) -> Told:
    """With what is to be known when the node does not work: what was said holds once it is back."""
    if told.is_dry_run:
        return told
    node = next((node for node in _fleet(system).nodes if node.node == told.node), None)
    if node is not None and node.state.value == "up":
        return told
    why = "does not run"
    if node is not None and node.state.value == "vanished":
        why = f"has not been heard of for {span(node.silent_s)}"
    return msgspec.structs.replace(told, done=f"{told.done} It {why} now: that holds when it is back.")


def _restart(system: System, args: argparse.Namespace) -> int:
    what = args.process or "all processes of its own"
    return _order(system, args, "restart", f"Restart {what} on {args.node}: each drains first")


def _stop(system: System, args: argparse.Namespace) -> int:
    args.process = ""
    return _order(system, args, "stop", f"Stop {args.node}: it finishes what it does and gives the rest back")


def _order(system: System, args: argparse.Namespace, action: str, question: str) -> int:
    """Give the order, and wait until the node has taken it up."""
    from backend.domain.vocabulary import NodeOrder, OrderState
    from backend.services.fleet.orders import order

    number = 0

    async def give(connection: Connection, by: By) -> None:
        nonlocal number
        number = await order(connection, by, args.node, args.process, NodeOrder(action), reason=args.reason)

    told = _change(system, args, question, give, "")
    if told.is_dry_run:
        return _tell(told, args)
    ended = _ended(system, args.node, number)
    state = ended.state if ended is not None else OrderState.EXPIRED
    detail = ended.detail if ended is not None else ""
    if state is not OrderState.DONE:
        raise Refused(f"{args.node} did not do it: {detail or state}.")
    done = f"{args.node} stops."
    if action == "restart":
        what = f"{args.process} drains and starts" if args.process else "All processes of its own drain and start"
        done = f"{args.node}: {what} afresh."
    return _tell(msgspec.structs.replace(told, done=done, order=number, state=state.value), args)


def _ended(system: System, node: str, number: int) -> Ended | None:
    """What became of an order; None when it is not known any more. Raises Refused when the node does not take it up."""
    from backend.domain.vocabulary import OrderState
    from backend.postgres.address import Role
    from backend.services.fleet.orders import became

    end = time.monotonic() + ANSWER_S
    while True:
        try:
            ended = with_database(system, Role.CONSOLE, "askpro-node", lambda connection: became(connection, number))
        except Refused:
            # It may be the database that starts afresh.
            if time.monotonic() > end:
                raise
        else:
            if ended is None or ended.state is not OrderState.WAITING:
                return ended
            if time.monotonic() > end:
                raise Refused(
                    f"{node} has not taken the order up within {ANSWER_S:.0f} s.",
                    "Its publisher may be down: `askpro node ls`, or `askpro status` there.",
                )
        time.sleep(LOOK_S)


def _scale(system: System, args: argparse.Namespace) -> int:
    from askpro_console.commands.queue.scaling import given_back, slot_number
    from backend.postgres.address import Role
    from backend.services.operating.obeying import slots_obeyed
    from backend.services.operating.slots import scale, unpin

    queue, node = args.queue, args.node
    slots = slot_number(args.slots)
    said: list[Scaled] = []

    async def say(connection: Connection, by: By) -> None:
        if slots is None:
            said.append(await unpin(connection, by, queue, node=node, reason=args.reason))
        else:
            said.append(await scale(connection, by, queue, slots, node=node, reason=args.reason))

    wish = f"{slots} slots" if slots is not None else given_back(node)
    told = _change(system, args, f"Give {queue} on {node} {wish}", say, "")
    if told.is_dry_run:
        return _tell(told, args)
    (now,) = said
    why = "" if slots is not None else ", as was said for all nodes" if now.is_pinned else " by its policy"
    obeyed = with_database(
        system, Role.CONSOLE, "askpro-node", lambda connection: slots_obeyed(connection, queue, node, now.after)
    )
    done = f"{queue.capitalize()} on {node}: {now.before} → {now.after} slots{why}. {obeyed}"
    return _tell(msgspec.structs.replace(told, done=done), args)


def _forget(system: System, args: argparse.Namespace) -> int:
    from backend.services.fleet.registry import forget

    told = _change(
        system,
        args,
        f"Forget {args.node}",
        lambda connection, by: forget(connection, by, args.node, reason=args.reason),
        f"{args.node} is forgotten.",
    )
    return _tell(told, args)


def _change(
    system: System,
    args: argparse.Namespace,
    question: str,
    work: Callable[[Connection, By], Awaitable[object]],
    done: str,
) -> Told:
    """Do it in one transaction, after a question; a dry run does it and takes it back. Raises Refused."""
    from backend.postgres.address import Role
    from backend.services.operating.audit import By
    from backend.services.operating.refusals import NotPossible

    if not args.dry_run:
        agree(f"{question}?", yes=args.yes)
    by = By(operator_name(), system.node)

    async def changed(connection: Connection) -> None:
        await in_transaction(connection, lambda: work(connection, by), keep=not args.dry_run)

    try:
        with_database(system, Role.WORKER, "askpro-node", changed)
    except NotPossible as wrong:
        raise Refused(wrong.sentence, wrong.hint) from wrong
    return Told(node=args.node, done=f"Would: {question}." if args.dry_run else done, is_dry_run=args.dry_run)


def _tell(told: Told, args: argparse.Namespace) -> int:
    print_json(told) if args.json else print(told.done)
    return 0
