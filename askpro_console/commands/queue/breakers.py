"""`askpro queue breaker`: whether calls to providers go out; hold a breaker open, or close it at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import acting, at_queue, refuse_unused
from askpro_console.commands.queue.pausing import pause_subject, told
from askpro_console.commands.queue.steering import (
    Would,
    add_changing,
    add_ramp,
    add_until,
    queues_now,
    seconds,
    subject_and_blast,
)
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.system import System
from backend.domain.vocabulary import PauseKind, Provider

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.watch.snapshots import PauseRow, ProviderRow


class BreakerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's breakers."""

    provider: str
    state: ProviderRow | None
    """None: no worker called it within the last minutes."""
    pause: PauseRow | None
    """None: nobody holds them open."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    breaker = verbs.add_parser("breaker", help="breakers of providers; hold one open, or close it at once")
    breaker.add_argument("provider", nargs="?", metavar="PROVIDER", help=", ".join(Provider))
    breaker.add_argument("order", nargs="?", choices=("open", "close"), metavar="open|close", help="nothing: list them")
    add_until(breaker)
    add_ramp(breaker)
    add_changing(breaker)
    breaker.set_defaults(act=_breaker)


def _breaker(system: System, args: argparse.Namespace) -> int:
    match args.order:
        case "open":
            return pause_subject(system, args, PauseKind.PROVIDER, args.provider)
        case "close":
            return _close(system, args)
        case _:
            asks = ("until", "ramp", "reason")
            refuse_unused(args, asks, "without open or close", "`askpro queue breaker PROVIDER open` holds it open.")
            return _list(system, args)


def _close(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.blast import in_words
    from backend.services.operating.breakers import close_breaker

    refuse_unused(args, ("until",), "with close", "A breaker that is closed stays so until calls fail.")
    of, blast = subject_and_blast(system, PauseKind.PROVIDER, args.provider)
    agree(f"{in_words(blast)} Close the breakers of {args.provider}?", yes=args.yes or args.dry_run)
    closed = acting(
        system,
        lambda connection, by: close_breaker(
            connection, by, args.provider, reason=args.reason, ramp_s=seconds(args.ramp)
        ),
        dry_run=args.dry_run,
    )
    if args.dry_run:
        if args.json:
            print_json(Would(would="close", kind=PauseKind.PROVIDER, name=args.provider, touches=blast))
        else:
            print(f"Would close the breakers of {args.provider}: calls go out again. {in_words(blast)}")
        return 0
    if args.json:
        print_json(closed)
    else:
        print(f"The breakers of {args.provider} are closed: calls go out.")
        if closed.resumed is not None:
            print(told(closed.resumed, str(of)))
    return 0


def _list(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.subjects import known_provider

    async def known(connection: Connection) -> None:
        known_provider(args.provider)

    if args.provider is not None:
        at_queue(system, known)
    snapshot = queues_now(system)
    paused = {row.name: row for row in snapshot.pauses if row.kind == PauseKind.PROVIDER}
    seen = {row.provider: row for row in snapshot.providers}
    lines = [
        BreakerLine(provider=name.value, state=seen.get(name.value), pause=paused.get(name.value))
        for name in Provider
        if args.provider in {None, name.value}
    ]
    if args.json:
        print_json(lines)
    else:
        print_table(("PROVIDER", "BREAKER", "FOR", "CALLS", "FAILED", "P99", "BY HAND"), map(_cells, lines))
    return 0


def _cells(line: BreakerLine) -> tuple[str, ...]:
    state = line.state
    return (
        line.provider,
        state.breaker.replace("_", " ") if state else "not called lately",
        f"{state.since_s:,.0f} s" if state else "-",
        f"{state.calls:,}" if state else "-",
        f"{state.failures:,}" if state else "-",
        "-" if state is None or state.p99_s is None else f"{state.p99_s:.2f} s",
        _order(line.pause),
    )


def _order(pause: PauseRow | None) -> str:
    from datetime import UTC, datetime

    if pause is None:
        return "-"
    if pause.resumed_at is not None:
        return f"on its ramp of {pause.ramp_s} s"
    end = f" until {clock(datetime.fromtimestamp(pause.until, UTC))}" if pause.until is not None else ""
    return f"held open by {pause.paused_by}{end}: {pause.reason}"
