"""Servers of a benchmark's own, in a scratch directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.stack.layout import Layout
from backend.stack.scratch_postgres import START_LIMIT_S
from backend.stack.scratch_postgres import scratch_postgres as durable_server
from backend.stack.spawn import spawn
from backend.stack.valkey_server import ValkeyServer

__all__ = ["durable_server", "valkey_server"]


@contextmanager
def valkey_server(base: Path) -> Iterator[str]:
    """Run an empty Valkey within the block; yields its address."""
    server = ValkeyServer(Layout(config=base / "config", data=base / "data", state=base / "state", run=base / "run"))
    server.initialise()
    with (base / "valkey.log").open("ab") as log:
        child = spawn(server.command(), output=log.fileno())
    try:
        end = time.monotonic() + START_LIMIT_S
        while not server.ready():
            if time.monotonic() > end:
                raise SystemExit("Valkey did not start")
            time.sleep(0.02)
        yield server.url
    finally:
        child.terminate()
        child.wait(30)
