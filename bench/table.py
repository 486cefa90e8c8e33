"""What a list costs by its length: the console's Calls with 100, 10,000 and 100,000 rows, and Textual's DataTable.

`python -m bench.table [--seconds 8] [--keys 120]`. Each list runs in a process of its own on a pty of 160×48, ten of
its rows change each second. Told are bytes and CPU of that, the time from a key to the first byte of its effect, the
bytes that it takes, and memory. The anchor of the same run is the list of 100 rows; the peer is DataTable.
Every other key goes back up, so that all lists have as much to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import psutil

from tests.terminal.terminals import KEYS, Terminal

RESULTS = Path(__file__).parent / "results"
KEY_WAIT_S = 1.0


def quiet(terminal: Terminal, pause_s: float = 0.08) -> int:
    """Wait until nothing was written for a moment; bytes so far."""
    size, since = len(terminal.raw), time.monotonic()
    while time.monotonic() - since < pause_s:
        if len(terminal.raw) != size:
            size, since = len(terminal.raw), time.monotonic()
        time.sleep(0.002)
    return size


def press(terminal: Terminal, key: str) -> tuple[float, int]:
    """Seconds until the first byte after a key, and the bytes until it is quiet again."""
    before, begun = quiet(terminal), time.monotonic()
    terminal.write(KEYS[key].encode())
    while len(terminal.raw) == before and time.monotonic() - begun < KEY_WAIT_S:
        time.sleep(0.0005)
    first = time.monotonic() - begun
    return first, quiet(terminal) - before


def measure(rows: int, peer: bool, seconds: float, keys: int) -> dict[str, float]:
    """One list, watched."""
    command = [sys.executable, "-m", "bench.table_app", str(rows), *(["peer"] if peer else [])]
    begun = time.monotonic()
    with Terminal(command, columns=160, rows=48) as terminal:
        terminal.until_shows("Caller 000001")
        shown = time.monotonic() - begun
        quiet(terminal, 0.3)
        process = psutil.Process(terminal.process.pid)
        used, written, begun = sum(process.cpu_times()[:2]), len(terminal.raw), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begun
        cpu = (sum(process.cpu_times()[:2]) - used) / took
        flow = (len(terminal.raw) - written) / took
        pressed = [press(terminal, ("down", "up", "pagedown", "home")[number % 4]) for number in range(keys)]
        times = sorted(first for first, _ in pressed)
        return {
            "rows": rows,
            "shown_s": round(shown, 2),
            "live_bytes_per_s": round(flow),
            "live_cpu_percent": round(100 * cpu, 2),
            "key_p50_ms": round(1000 * statistics.median(times), 1),
            "key_p95_ms": round(1000 * times[int(len(times) * 0.95)], 1),
            "key_bytes": round(statistics.median(size for _, size in pressed)),
            "rss_mib": round(process.memory_info().rss / 2**20, 1),
        }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--keys", type=int, default=120)
    options = parser.parse_args()
    own = [measure(rows, False, options.seconds, options.keys) for rows in (100, 10_000, 100_000)]
    peer = [measure(rows, True, options.seconds, options.keys) for rows in (100, 10_000)]
    anchor = own[0]
    ratios = {
        name: round(own[-1][name] / max(anchor[name], 0.01), 2)
        for name in ("live_bytes_per_s", "live_cpu_percent", "key_p95_ms", "key_bytes", "rss_mib")
    }
    result = {"own": own, "peer": peer, "own_100000_to_own_100": ratios}
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "table.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
