"""Every benchmark, one after the other, each in a process of its own: `python -m bench [NAME …]`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "intake",
    "booking",
    "availability",
    "queue",
    "isolation",
    "enqueue",
    "crash",
    "bad_jobs",
    "nodes",
    "watch",
    "on_screen",
    "reminders",
    "table",
    "find_jobs",
    "held_jobs",
    "queue_screens",
    "limits",
    "gate",
    "bodies",
    "calendar_sync",
    "counting",
    "flat",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; the exit code of the first that fails."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"\n=== {name}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
