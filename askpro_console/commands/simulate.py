"""`askpro simulate`: signed traffic with all its faults, and a check of what became of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from askpro_console.terminal import rewritable

if TYPE_CHECKING:
    from backend.simulate.run import Order, Report, Target

NAME = "simulate"
HELP = "send signed traffic and check what became of it"

PRESETS = ("dev", "now", "tenfold", "storm", "backlog")
SHOWN = 40
MOST_CALLS = 999_999
MOST_PER_DAY = 1_000 * 86_400


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--calls", type=int, metavar="N", help="calls to make (default: what the preset has)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same calls (default 1)")
    parser.add_argument(
        "--run", metavar="ID", help="keeps runs of one seed apart; letters and digits (default: the time)"
    )
    parser.add_argument(
        "--speed",
        default="max",
        metavar="real|N|max",
        help="real time, N times as fast, or as fast as it goes (default)",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--preset", choices=PRESETS, default="now", help="how many calls a day (default: now, 2,000)")
    pace.add_argument("--rate", type=float, metavar="R", help="calls per second, around the clock")
    parser.add_argument(
        "--faults", choices=("on", "off"), default="on", help="what goes wrong with deliveries (default on)"
    )
    parser.add_argument(
        "--check", action="store_true", help="wait for the queues, compare with the database; exit 1 on any difference"
    )
    parser.add_argument(
        "--patient", action="store_true", help="deliver again until accepted, however long the system is away"
    )
    parser.add_argument("--connections", type=int, default=48, metavar="N", help="requests at a time (default 48)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Send, and check when asked to."""
    wanted = order(args)
    import uvloop

    report = uvloop.run(_simulate(_target(System.load()), wanted, quiet=args.json))
    if args.json:
        import msgspec

        print(msgspec.json.encode(report).decode())
    else:
        show(report)
    return exit_code(report)


def exit_code(report: Report) -> int:
    """0 when everything was delivered and nothing differs."""
    return 1 if report.differences or report.undeliverable or report.unsent else 0


def run_demo(system: System) -> int:
    """The demo's traffic, until told to stop. Raises NotRunning, and Refused without the provider's key."""
    import uvloop

    from backend.simulate import demo

    target, settings = _target(system), system.settings.demo
    uvloop.run(
        demo.run_demo(
            demo.DemoConfig(
                api_url=target.api_url,
                retell_key=target.retell_key,
                postgres=target.postgres,
                calls_per_minute=settings.calls_per_minute,
                seed=settings.seed,
                history_days=settings.history_days,
            )
        )
    )
    return 0


def order(args: argparse.Namespace) -> Order:
    """What the arguments ask for. Raises WrongUsage."""
    from backend.simulate.presets import DAY_S, PACES, Pace
    from backend.simulate.run import Order

    pace = PACES[args.preset] if args.rate is None else Pace(args.rate * DAY_S, shaped=False)
    calls = pace.usual_calls if args.calls is None else args.calls
    if not 1 <= calls <= MOST_CALLS:
        raise WrongUsage(f"--calls must be between 1 and {MOST_CALLS}, not {calls}.")
    if not 0 < pace.calls_per_day <= MOST_PER_DAY:
        raise WrongUsage("--rate must be more than 0 and at most 1,000.")
    if args.connections < 1:
        raise WrongUsage("--connections must be at least 1.")
    run_id = _base36(int(time.time())) if args.run is None else args.run
    if not re.fullmatch(r"[0-9a-z]{1,16}", run_id):
        raise WrongUsage(f"--run takes up to 16 lower-case letters and digits, not {run_id!r}.")
    if args.seed < 0:
        raise WrongUsage("--seed must not be negative.")
    return Order(
        calls=calls,
        seed=args.seed,
        run=run_id,
        pace=pace,
        speed=_speed(args.speed),
        faults=args.faults == "on",
        check=args.check,
        patient=args.patient,
        connections=args.connections,
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    if text == "real":
        return 1.0
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise WrongUsage(f"--speed takes real, max or a number above 0, not {text!r}.")
    return speed


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits or "0"


def _target(system: System) -> Target:
    """The running system. Raises NotRunning, and Refused without the provider's key."""
    from backend.simulate.run import Target

    endpoints = system.endpoints()
    key = system.secrets.get("retell_api_key")
    if not key:
        raise Refused("The secret `retell_api_key` is not set, so nothing can be signed.", "`askpro secrets set`.")
    return Target(endpoints.api_url, key, system.postgres())


async def _simulate(target: Target, order: Order, *, quiet: bool) -> Report:
    from backend.postgres.pools import DATABASE_ERRORS
    from backend.services.companies.applying import DeclarationWrong
    from backend.simulate.calendar import CalendarFull
    from backend.simulate.run import NotDrained, Simulation, SimulationBusy

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    progress = _Progress(quiet=quiet)
    try:
        return await Simulation(target, order, stop=stop, say=progress.say, shown=SHOWN).run()
    except (SimulationBusy, CalendarFull, NotDrained, DeclarationWrong) as wrong:
        raise Refused(f"{str(wrong)[:1].upper()}{str(wrong)[1:]}.") from wrong
    except DATABASE_ERRORS as away:
        raise Refused(f"The database does not answer: {away}.", "`askpro status` says what runs.") from away
    finally:
        progress.end()


LINE_EVERY_S = 5.0


class _Progress:
    """One line on stderr that is written over; a line now and then when stderr is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = rewritable(sys.stderr, os.environ)
        self._dirty = False
        self._line_at = time.monotonic()

    def say(self, text: str) -> None:
        """Show how far it is."""
        if self._quiet:
            return
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            self._dirty = True
        elif time.monotonic() - self._line_at > LINE_EVERY_S:
            sys.stderr.write(f"{text}\n")
            self._line_at = time.monotonic()
        sys.stderr.flush()

    def end(self) -> None:
        """Leave a clean line."""
        if self._dirty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._dirty = False


def show(report: Report) -> None:
    """The report for a person."""
    print(f"seed {report.seed}, run {report.run}: {report.calls} calls, {report.deliveries} deliveries")
    print(f"  outcomes   {_counts(report.outcomes)}")
    print(f"  faults     {_counts(report.faults) or 'none'}")
    print(
        f"  answers    {report.accepted} accepted, {report.refused} refused as they should be, "
        f"{report.undeliverable} undeliverable, {report.unsent} unsent, {report.retries} retries"
    )
    latency = "" if report.answer_p99_ms is None else f", p50 {report.answer_p50_ms} ms, p99 {report.answer_p99_ms} ms"
    print(f"  sending    {report.send_s:.1f} s, {report.deliveries_per_s:.0f} deliveries per second{latency}")
    if report.functions:
        print(f"  functions  {sum(one.called for one in report.functions.values())} called, {report.repeated} repeated")
        for name, one in report.functions.items():
            print(
                f"    {name:<26}{one.called:>6} called{one.refused:>5} refused   p50 {one.p50_ms} ms, "
                f"p95 {one.p95_ms} ms, p99 {one.p99_ms} ms"
            )
        print(f"  refusals   {_counts(report.refusals) or 'none'}")
    if report.visits:
        print(f"  front desk {_counts(report.visits)}")
    if report.undeliverable:
        print(f"  failures   {_counts(report.failures)}")
    if not report.checked:
        return
    print(f"  expected   {_counts(report.expected)}")
    print(f"  checking   drained {report.drain_s:.1f} s after the last answer, compared in {report.check_s:.1f} s")
    if not report.differences:
        print(f"  result     no difference{' in what was accepted' if report.undeliverable else ''}")
        return
    print(f"  result     {report.differences} differences")
    for line in report.shown:
        print(f"    {line}")
    if report.differences > len(report.shown):
        print(f"    … and {report.differences - len(report.shown)} more")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
