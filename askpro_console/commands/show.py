"""`askpro show DOMAIN`: print the newest snapshot of a domain, once or whenever it changes."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from backend.watch.snapshots import DOMAINS

if TYPE_CHECKING:
    from backend.watch.reader import Reading, SnapshotReader

NAME = "show"
HELP = "print what a screen shows: calls, appointments, queues, database, fleet, business"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("domain", metavar="DOMAIN", help=", ".join(DOMAINS))
    parser.add_argument("--json", action="store_true", help="the whole snapshot, with where it came from and its age")
    parser.add_argument("--watch", action="store_true", help="print again whenever there is a new one")
    parser.add_argument("--rows", type=int, default=40, metavar="N", help="longest list printed as text (40)")


def run(args: argparse.Namespace) -> int:
    """Print it; 1 when none can be had."""
    if args.domain not in DOMAINS:
        near = nearest(args.domain, DOMAINS)
        raise WrongUsage(
            f"There is no domain `{args.domain}`.",
            f"Did you mean `{near}`?" if near else f"It is one of {', '.join(DOMAINS)}.",
        )
    if args.rows < 1:
        raise WrongUsage("--rows must be at least 1.")
    return asyncio.run(_show(System.load().reader(), args))


async def _show(reader: SnapshotReader, args: argparse.Namespace) -> int:
    try:
        if not args.watch:
            return _print(await reader.read(args.domain), args)
        async for domain in reader.changes():
            if domain == args.domain:
                _print(await reader.read(domain), args)
        return 0
    finally:
        await reader.aclose()


def _print(reading: Reading, args: argparse.Namespace) -> int:
    if reading.snapshot is None:
        if args.watch:
            return 1
        raise Refused(f"No snapshot of {args.domain} can be had: {reading.error or 'nobody has taken one'}.")
    print(as_json(reading) if args.json else _text(reading, args.rows), flush=True)
    return 0


def _text(reading: Reading, rows: int) -> str:
    from backend.watch.text import render

    return render(reading, rows=rows)


def as_json(reading: Reading) -> str:
    """One line: domain, source, age_s, error, and the snapshot as it is."""
    import msgspec

    from backend.watch.plain_text import harmless_json

    told = {
        "domain": reading.domain,
        "source": reading.source,
        "freshness": reading.freshness,
        "age_s": reading.age_s,
        "error": reading.error,
        "snapshot": reading.snapshot,
    }
    return harmless_json(msgspec.json.encode(told).decode())
