"""How many appointments a second are booked, each its own slot and contested, against writing them unprotected.

`python -m bench.booking [--seconds 4] [--rows 32000]` starts a durable PostgreSQL of its own in a scratch directory;
`askpro bench booking` is the same for whoever has only the program. What is measured is said in
`backend.simulate.booking_load`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from backend.simulate.booking_load import measure, table
from bench.intake import RESULTS
from bench.server import durable_server


def main() -> int:
    """Measure, print, keep; 1 when a race had other winners than it must."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rows", type=int, default=32_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        report = uvloop.run(measure(address, seconds=args.seconds, rows=args.rows))
    print(table(report))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "booking.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
