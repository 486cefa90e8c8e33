"""`askpro bench`: what this machine makes of the system; `kill` is the long form of the kill test."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.refusal import WrongUsage

if TYPE_CHECKING:
    from backend.stack.kill_loop import KillReport

NAME = "bench"
HELP = "measure this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the measurements."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    kill = kinds.add_parser("kill", help="kill -9 every process under traffic, on a system of its own; check the data")
    kill.add_argument("--rounds", type=int, default=20, metavar="N", help="kills of each kind of process (20)")
    kill.add_argument(
        "--only", metavar="NAMES", help="comma-separated: api,worker,publisher,valkey,postgres,supervisor"
    )
    kill.add_argument("--calls", type=int, default=200, metavar="N", help="calls of each run of the simulator (200)")
    kill.add_argument("--seed", type=int, default=1, metavar="S", help="decides what dies when (1)")
    kill.add_argument("--keep", action="store_true", help="leave the system's files for a look")
    kill.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when anything was lost, doubled or left over."""
    from backend.stack.kill_loop import VICTIMS, KillLoop, KillPlan

    victims = tuple(args.only.split(",")) if args.only else VICTIMS
    if unknown := [victim for victim in victims if victim not in VICTIMS]:
        raise WrongUsage(f"--only does not know {', '.join(unknown)}.", f"There are {', '.join(VICTIMS)}.")
    if args.rounds < 1 or args.calls < 1:
        raise WrongUsage("--rounds and --calls must be at least 1.")

    home = Path(tempfile.mkdtemp(prefix="askpro-"))

    async def loop() -> KillReport:
        plan = KillPlan(rounds=args.rounds, victims=victims, calls=args.calls, seed=args.seed)
        return await KillLoop(home, plan, say=lambda text: print(text, file=sys.stderr, flush=True)).run()

    try:
        report = asyncio.run(loop())
    finally:
        if args.keep:
            print(f"kept: {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    _print(report, as_json=args.json)
    return 0 if report.clean else 1


def _print(report: KillReport, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(report).decode())
        return
    from backend.stack.kill_loop import summary

    print(f"{'VICTIM':<12}{'KILLS':>6}{'MEDIAN':>10}{'LONGEST':>10}")
    for victim, (kills, median, longest) in summary(report.recoveries).items():
        print(f"{victim:<12}{kills:>6}{median:>8.2f} s{longest:>8.2f} s")
    deliveries = sum(one.deliveries for one in report.traffic)
    retries = sum(one.retries for one in report.traffic)
    differences = sum(one.differences for one in report.traffic)
    print(f"{len(report.traffic)} runs, {deliveries} deliveries, {retries} retries, {differences} differences")
    if report.error:
        print(f"  ended early: {report.error}")
    for line in report.left_over:
        print(f"  left over: {line}")
    print("clean" if report.clean else "NOT CLEAN")
