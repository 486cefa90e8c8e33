"""Session fixtures: a real embedded PostgreSQL and a real embedded Valkey, one pair for each test process."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.stack.layout import Layout
from backend.stack.postgres_server import PostgresServer
from backend.stack.spawn import ProcessSpec, spawn
from backend.stack.valkey_server import ValkeyServer

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0

FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "autovacuum_naptime": "1min"}
"""Durability is the subject of tests/chaos, which runs its own servers; everywhere else speed is."""


def layout_below(base: Path) -> Layout:
    """A layout under one directory, which must have a short name for the sockets' sake."""
    return Layout(config=base / "config", data=base / "data", state=base / "state", run=base / "run")


@pytest.fixture(scope="session")
def engines_directory() -> Iterator[Path]:
    """A short directory that the servers' account may enter; gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="askpro-"))
    try:
        for directory in (base, base / "data", base / "run"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(engines_directory: Path) -> Iterator[PostgresServer]:
    """A running server with an empty cluster; `.superuser` logs in."""
    server = PostgresServer(layout_below(engines_directory), secrets.token_hex(16), settings=FAST_SETTINGS)
    server.initialise()
    with running(server.command(), engines_directory / "postgres.log", server.ready, signal.SIGINT):
        yield server


@pytest.fixture(scope="session")
def valkey_url(engines_directory: Path) -> Iterator[str]:
    """The address of a running server; tests share its one database, so they use keys of their own."""
    server = ValkeyServer(layout_below(engines_directory))
    server.initialise()
    with running(server.command(), engines_directory / "valkey.log", lambda _pid: server.ready(), signal.SIGTERM):
        yield server.url


@contextmanager
def running(spec: ProcessSpec, log: Path, ready: Callable[[int], bool], stop: signal.Signals) -> Iterator[int]:
    """Run the server within the block; yields its pid."""
    with log.open("ab") as output:
        child = spawn(spec, output=output.fileno())
    try:
        end = time.monotonic() + START_LIMIT_S
        while not ready(child.pid):
            if child.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{spec.name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.01)
        yield child.pid
    finally:
        if child.poll() is None:
            child.send_signal(stop)
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
