"""Checks of the machine: what a start would need, without changing anything."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from askpro_console.checks.findings import Finding, size
from askpro_console.system import System
from askpro_console.terminal import not_utf8
from backend.domain.vocabulary import Verdict
from backend.stack.layout import SOCKET_PATH_LIMIT

MB = 2**20
GB = 2**30

PYTHON = (3, 11)
FILES_ENOUGH, FILES_LEAST = 1024, 256
"""Open files: PostgreSQL, uvicorn and the workers each want a few hundred under load."""
MEMORY_ENOUGH, MEMORY_LEAST = 1 * GB, 400 * MB
"""The whole system at rest holds about 400 MB."""
DISK_ENOUGH, DISK_LEAST = 2 * GB, 300 * MB
"""A new database and its write-ahead log take 150 MB."""
DISK_SHARE = 0.10


def check_machine(system: System) -> Iterator[Finding]:
    """All checks of the machine; each takes milliseconds."""
    yield _python()
    yield _cores()
    yield _memory()
    yield _disk(system.layout.data)
    yield _open_files()
    yield _locale(system)
    yield _terminal(system)
    for name, path in (
        ("config", system.layout.config),
        ("data", system.layout.data),
        ("state", system.layout.state),
        ("run", system.layout.run),
    ):
        yield _writable(name, path)
    yield _socket_paths(system)


def _finding(name: str, verdict: Verdict, detail: str, remedy: str = "") -> Finding:
    return Finding(area="machine", name=name, verdict=verdict, detail=detail, remedy=remedy)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        return _finding("Python", Verdict.CRIT, version, "AskPro needs Python 3.11 or newer.")
    return _finding("Python", Verdict.OK, f"{version} at {sys.executable}")


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        return _finding("cores", Verdict.WARN, "1 core", "Queues and API share it; two are comfortable.")
    return _finding("cores", Verdict.OK, f"{cores} cores")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    detail = f"{size(memory.available)} free of {size(memory.total)}"
    if memory.available < MEMORY_LEAST:
        return _finding("memory", Verdict.CRIT, detail, f"Free at least {size(MEMORY_LEAST)}.")
    if memory.available < MEMORY_ENOUGH:
        return _finding("memory", Verdict.WARN, detail, f"{size(MEMORY_ENOUGH)} free are comfortable.")
    return _finding("memory", Verdict.OK, detail)


def _disk(path: Path) -> Finding:
    place = existing(path)
    try:
        usage = shutil.disk_usage(place)
    except OSError as wrong:
        return _finding("disk", Verdict.UNKNOWN, f"{place}: {wrong.strerror}")
    detail = f"{size(usage.free)} free of {size(usage.total)} at {place}"
    if usage.free < DISK_LEAST:
        return _finding("disk", Verdict.CRIT, detail, "Free some space there, or set ASKPRO_HOME elsewhere.")
    if usage.free < DISK_ENOUGH or usage.free < DISK_SHARE * usage.total:
        return _finding("disk", Verdict.WARN, detail, "Free some space before it runs full.")
    return _finding("disk", Verdict.OK, detail)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft_words = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    detail = f"limit {soft_words}"
    if soft != resource.RLIM_INFINITY and soft < FILES_ENOUGH:
        verdict = Verdict.CRIT if soft < FILES_LEAST else Verdict.WARN
        can = hard == resource.RLIM_INFINITY or hard >= FILES_ENOUGH
        remedy = f"Run `ulimit -n {FILES_ENOUGH}` before the start." if can else "Have the hard limit raised."
        return _finding("open files", verdict, detail, remedy)
    return _finding("open files", Verdict.OK, detail)


def _locale(system: System) -> Finding:
    if wrong := not_utf8(system.environ):
        return _finding("locale", Verdict.WARN, f"not UTF-8: {wrong}", "Run `export LC_ALL=C.UTF-8`.")
    return _finding("locale", Verdict.OK, "UTF-8")


def _terminal(system: System) -> Finding:
    term = system.environ.get("TERM", "")
    if term in {"", "dumb"}:
        return _finding(
            "terminal", Verdict.WARN, f"TERM is {term or 'not set'}", "The console needs one, such as xterm-256color."
        )
    return _finding("terminal", Verdict.OK, f"TERM={term}")


def _writable(name: str, path: Path) -> Finding:
    label = f"{name} directory"
    place = existing(path)
    if not place.is_dir():
        return _finding(label, Verdict.CRIT, f"{place} is not a directory", "Move it away, or set ASKPRO_HOME.")
    try:
        # Permission bits do not know read-only file systems, quotas or root's powers: try it.
        with tempfile.NamedTemporaryFile(dir=place, prefix=".askpro-doctor-"):
            pass
    except OSError as wrong:
        remedy = "Make it writable for this user, or set ASKPRO_HOME to a directory that is."
        return _finding(label, Verdict.CRIT, f"{place}: {wrong.strerror}", remedy)
    return _finding(label, Verdict.OK, str(path) if place == path else f"{path} (will be created)")


def _socket_paths(system: System) -> Finding:
    longest = max(
        (system.layout.control_socket, system.layout.valkey_socket, system.layout.sockets / ".s.PGSQL.5432.lock"),
        key=lambda path: len(os.fsencode(path)),
    )
    length = len(os.fsencode(longest))
    if length > SOCKET_PATH_LIMIT:
        return _finding("socket paths", Verdict.CRIT, f"{length} bytes: {longest}", "Set TMPDIR to a shorter path.")
    return _finding("socket paths", Verdict.OK, f"{length} bytes of at most {SOCKET_PATH_LIMIT}")


def existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
