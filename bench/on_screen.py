"""How long a signed webhook takes until its call is on the operator's screen.

`python -m bench.on_screen [--calls 200]`. A whole system and the real console on a pty of 160×48, showing Calls. Each
webhook is signed by the vendor's SDK and sent when the one before it is shown; the clock runs from before it is sent
until the emulated screen shows the caller's name. In the same run, as the anchor, the time until it is answered.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tests.terminal.terminals import Terminal
from tests.whole_system import Running, booking_call, in_days, running_system

RESULTS = Path(__file__).parent / "results"
PATIENCE_S = 20.0


def spread(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest, in ms."""
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


def one_call(system: Running, console: Terminal, number: int) -> tuple[float, float]:
    """Seconds until answered and until shown."""
    name = f"Zeit {number:05}"
    call = booking_call(f"call_on_screen_{number}", in_days(30, 9), name)
    call["start_timestamp"] = int(time.time() * 1000)
    begun = time.monotonic()
    answer = system.deliver("call_analyzed", call)
    answered = time.monotonic() - begun
    if not answer.is_success:
        raise SystemExit(f"refused: {answer.status_code} {answer.text}")
    while name not in console.text:
        if time.monotonic() - begun > PATIENCE_S:
            raise SystemExit(f"{name} did not appear within {PATIENCE_S:.0f} s:\n{console.text}")
        time.sleep(0.005)
    return answered, time.monotonic() - begun


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    command = [sys.executable, "-m", "askpro_console"]
    with (
        running_system() as system,
        Terminal(command, columns=160, rows=48, environment=system.environment) as console,
    ):
        console.until_shows("LIVE")
        console.press("2")
        console.until_shows("Started")
        one_call(system, console, 0)
        times = [one_call(system, console, number) for number in range(1, options.calls + 1)]
    result = {
        "calls": options.calls,
        "answered": spread([answered for answered, _ in times]),
        "on_screen": spread([shown for _, shown in times]),
        "within_1_s": round(sum(shown < 1 for _, shown in times) / len(times), 4),
    }
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "on_screen.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
