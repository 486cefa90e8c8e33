"""What a check of a request's limits costs, and what it costs while Valkey hangs.

`python -m bench.limits [--seconds 2]` starts a Valkey of its own. The anchor of the same run is a GET of one key with
the same client library. While Valkey hangs (stopped with SIGSTOP) each check is timed, from the first one that finds it
silent.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from backend.stack.layout import Layout
from backend.stack.spawn import spawn
from backend.stack.valkey_server import ValkeyServer
from backend.valkey.client import open_valkey
from backend.valkey.gcra import Check, Limit
from backend.valkey.rates import Rates

RESULTS = Path(__file__).parent / "results"

WIDE = Limit("wide", 1_000_000_000)
USED_UP = Limit("used-up", 1, period_s=86_400.0)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    at_once: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@contextmanager
def valkey(base: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server and its process."""
    base.chmod(0o755)
    server = ValkeyServer(Layout(config=base / "config", data=base / "data", state=base / "state", run=base / "run"))
    server.initialise()
    with (base / "valkey.log").open("ab") as log:
        child = spawn(server.command(), output=log.fileno())
    try:
        while not server.ready():
            time.sleep(0.01)
        yield server.url, child
    finally:
        child.send_signal(signal.SIGCONT)
        child.send_signal(signal.SIGTERM)
        child.wait(30)


async def timed(what: str, at_once: int, seconds: float, work: Callable[[], Awaitable[object]]) -> Line:
    """So many at once, each again as soon as it is through."""
    durations: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (started := time.perf_counter()) < end:
            await work()
            durations.append(time.perf_counter() - started)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return line_of(what, at_once, durations, seconds)


def line_of(what: str, at_once: int, durations: list[float], seconds: float) -> Line:
    """The durations as a line of the table."""
    ordered = sorted(durations)
    return Line(
        what=what,
        at_once=at_once,
        per_s=len(ordered) / seconds,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        max_ms=ordered[-1] * 1000,
    )


async def hanging(rates: Rates, child: subprocess.Popen[bytes], seconds: float) -> Line:
    """Checks one by one, 500 a second, from the moment in which Valkey falls silent."""
    numbers = itertools.count()
    durations: list[float] = []
    child.send_signal(signal.SIGSTOP)
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        await rates.check([Check(WIDE, f"hang:{next(numbers) % 100}")])
        durations.append(time.perf_counter() - started)
        await asyncio.sleep(0.002)
    child.send_signal(signal.SIGCONT)
    return line_of("while Valkey hangs", 1, durations, seconds)


async def measure(seconds: float) -> list[Line]:
    """All lines of the table."""
    lines = []
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(prefix="askpro-l-") as name, valkey(Path(name)) as (url, child):
        client = open_valkey(url)
        rates = Rates(url, "bench")
        await rates.start()

        async def one() -> object:
            return await rates.check([Check(WIDE, f"s:{next(numbers) % 5_000}")])

        async def three() -> object:
            number = next(numbers) % 5_000
            return await rates.check([Check(WIDE, f"{{c}}:{kind}:{number}") for kind in ("a", "b", "c")])

        async def refused() -> object:
            return await rates.check([Check(USED_UP, "used-up")])

        async def get() -> object:
            return await client.get("nothing")

        await refused()
        for at_once in (1, 16):
            lines.append(await timed("GET of one key (anchor)", at_once, seconds, get))
            lines.append(await timed("one limit", at_once, seconds, one))
            lines.append(await timed("three limits", at_once, seconds, three))
        lines.append(await timed("refused from memory", 1, seconds, refused))
        lines.append(await hanging(rates, child, seconds))
        await rates.aclose()
        await client.aclose()
    return lines


def table(lines: list[Line]) -> str:
    """The lines for people."""
    rows = [f"{'':26} {'at once':>8} {'per s':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"]
    rows += [
        f"{line.what:26} {line.at_once:8d} {line.per_s:10,.0f} {line.p50_ms:8.3f} {line.p99_ms:8.3f} {line.max_ms:8.2f}"
        for line in lines
    ]
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    lines = asyncio.run(measure(args.seconds))
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "limits.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
