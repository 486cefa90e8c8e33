"""`askpro bench`: what this machine makes of the system: `kill` is the long kill test, `booking` races for slots."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.refusal import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backend.stack.kill_loop import KillLoop
    from backend.stack.kill_report import KillReport, Recovery

NAME = "bench"
HELP = "measure this machine"

CONSOLE = "console"
INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the measurements."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    kill = kinds.add_parser("kill", help="kill -9 every process under traffic, on a system of its own; check the data")
    kill.add_argument("--rounds", type=int, default=20, metavar="N", help="kills of each process (20)")
    kill.add_argument(
        "--only",
        metavar="NAMES",
        help="comma-separated: api, worker (all of them) or worker-QUEUE, publisher, valkey, postgres, supervisor, "
        "console",
    )
    kill.add_argument("--calls", type=int, default=200, metavar="N", help="calls of each run of the simulator (200)")
    kill.add_argument("--seed", type=int, default=1, metavar="S", help="decides what dies when (1)")
    kill.add_argument("--keep", action="store_true", help="leave the system's files for a look")
    kill.add_argument("--json", action="store_true", help="print the report as JSON")
    booking = kinds.add_parser("booking", help="book as fast as it goes and race for slots, on a database of its own")
    booking.add_argument("--seconds", type=float, default=4.0, metavar="S", help="length of each steady part (4)")
    booking.add_argument("--rows", type=int, default=32_000, metavar="N", help="appointments there before (32000)")
    booking.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when anything was lost, doubled or left over."""
    return _book(args) if args.kind == "booking" else _kill(args)


def _book(args: argparse.Namespace) -> int:
    from askpro_console.at_database import reaching
    from backend.simulate.booking_load import measure, table
    from backend.stack.privileges import remove_abandoned_homes
    from backend.stack.scratch_postgres import scratch_postgres

    if args.seconds <= 0 or args.rows < 0:
        raise WrongUsage("--seconds must be more than 0 and --rows at least 0.")
    scratch = Path(tempfile.mkdtemp(prefix="askpro-bench-"))
    try:
        with scratch_postgres(scratch) as (address, _):
            report = asyncio.run(reaching(measure(address, seconds=args.seconds, rows=args.rows)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            remove_abandoned_homes()
    if args.json:
        import msgspec

        told = {**msgspec.to_builtins(report), "is_right": report.is_right, "share": report.share}
        print(msgspec.json.encode(told).decode())
    else:
        print(table(report))
    return 0 if report.is_right else 1


def _kill(args: argparse.Namespace) -> int:
    from askpro_console.console_on_pty import ConsoleOnPty
    from backend.stack.kill_loop import KillLoop, KillPlan

    names = victims(args.only)
    if args.rounds < 1 or args.calls < 1:
        raise WrongUsage("--rounds and --calls must be at least 1.")
    plan = KillPlan(
        rounds=args.rounds,
        victims=tuple(name for name in names if name != CONSOLE),
        calls=args.calls,
        seed=args.seed,
    )
    home = Path(tempfile.mkdtemp(prefix="askpro-"))
    consoles = [ConsoleOnPty()] if CONSOLE in names else []
    try:
        loop = KillLoop(home, plan, bystanders=consoles, say=_say)
        report = asyncio.run(_until_interrupted(loop))
    finally:
        _clear_away(home, keep=args.keep)
    if report is None:
        _print_recoveries(loop.recoveries)
        _say("Interrupted; the system that was started for this has been stopped.")
        return INTERRUPTED
    if args.json:
        import msgspec

        told = {**msgspec.to_builtins(report), "clean": report.clean, "wrong": report.wrong}
        print(msgspec.json.encode(told).decode())
    else:
        _print(report)
    if report.wrong:
        _say(
            f"To repeat: askpro bench kill --rounds {args.rounds} --calls {args.calls} --seed {args.seed}"
            + (f" --only {args.only}" if args.only else "")
        )
    return 1 if report.wrong else 0


def victims(only: str | None) -> tuple[str, ...]:
    """The processes that `--only` names, all without it. Raises WrongUsage."""
    from backend.stack.kill_loop import VICTIMS, WORKERS

    everything = (*VICTIMS, CONSOLE)
    if only is None:
        return everything
    named = [one.strip() for one in only.split(",")]
    wanted = {name for one in named for name in (WORKERS if one == "worker" else (one,))}
    if unknown := sorted(wanted.difference(everything)):
        raise WrongUsage(f"--only does not know {', '.join(unknown)}.", f"There are {', '.join(everything)}.")
    return tuple(name for name in everything if name in wanted)


async def _until_interrupted(loop: KillLoop) -> KillReport | None:
    """The report; None when Ctrl-C or SIGTERM ended the loop, which has then stopped its system."""
    work = asyncio.create_task(loop.run())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            _say("Stopping ...")
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    with contextlib.suppress(asyncio.CancelledError):
        return await work
    return None


def _clear_away(home: Path, *, keep: bool) -> None:
    from backend.stack.privileges import remove_abandoned_homes

    if keep:
        _say(f"kept: {home}")
        return
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.suppress(OSError):
        remove_abandoned_homes()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(report: KillReport) -> None:
    _print_recoveries(report.recoveries)
    runs = report.traffic
    print(
        f"{len(runs)} runs of traffic: {sum(one.deliveries for one in runs)} deliveries, "
        f"{sum(one.accepted for one in runs)} accepted, {sum(one.retries for one in runs)} retries, "
        f"{sum(one.differences for one in runs)} differences"
    )
    print(f"database servers on the data directory: at most {report.servers.most} in {report.servers.looks} looks")
    for look in report.inspections:
        print(f"{look.name}: {look.detail}")
    print(f"children of a killed supervisor were gone after {report.outlived_s:.2f} s at the latest")
    print(f"left over: {', '.join(report.left_over) or 'nothing'}")
    print(f"seed {report.seed}, {report.seconds:.0f} s")
    for line in report.wrong:
        print(f"  {line}")
    print("clean" if report.clean else "NOT CLEAN")


def _print_recoveries(recoveries: Sequence[Recovery]) -> None:
    from backend.stack.kill_report import summary

    if not recoveries:
        return
    print(f"{'VICTIM':<22}{'KILLS':>6}{'MEDIAN':>10}{'WORST':>10}")
    for victim, (kills, median, worst) in sorted(summary(recoveries).items()):
        print(f"{victim:<22}{kills:>6}{median:>8.2f} s{worst:>8.2f} s")
