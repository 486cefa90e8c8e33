"""What a kill loop looks at afterwards: the database's structures, the data's promises, processes left over.

The looks run the same programs that a person would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence

import psutil

from backend.stack.credentials import SUPERUSER, ensure_credentials
from backend.stack.kill_report import Inspection, Servers
from backend.stack.layout import Layout
from backend.stack.postgres_server import PORT, program_directory
from backend.stack.privileges import service_account
from backend.stack.records import ChildRecords

PROGRAM_LIMIT_S = 300.0

ORPHAN_LIMIT_S = 10.0
"""Children of a dead supervisor must be gone after so long."""

LOOK_EVERY_S = 0.25

SECOND_LOOK_S = 0.05
"""A backend looks like its server for an instant after the fork; a server is still one at the second look."""


async def structures(layout: Layout) -> Inspection:
    """Tables and indexes by `pg_amcheck`, every row against every index. Needs a running server."""
    name = "pg_amcheck"
    program = program_directory(service_account()) / name
    if not program.exists():
        return Inspection(name=name, clean=True, detail=f"not looked: {program} does not exist")
    passwords, _ = ensure_credentials(layout.credentials_file)
    code, output = await _run(
        (str(program), "--all", "--install-missing", "--heapallindexed", "--parent-check"),
        {
            "PGHOST": str(layout.sockets.resolve()),
            "PGPORT": str(PORT),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": passwords[SUPERUSER],
        },
    )
    return Inspection(name=name, clean=code == 0, detail="no damage" if code == 0 else _last(output))


async def promises(environment: Mapping[str, str]) -> Inspection:
    """`askpro db verify`: the schema, appointments as their events say, no double booking. Needs a running system."""
    name = "askpro db verify"
    code, output = await _run((sys.executable, "-m", "askpro_console", "db", "verify", "--json"), environment)
    try:
        checks = json.loads(output)["checks"]
        told = ", ".join(f"{one['name']}: {one['broken']} of {one['looked_at']} differ" for one in checks)
    except (ValueError, KeyError, TypeError):
        told, code = _last(output), code or 1
    return Inspection(name=name, clean=code == 0, detail=told)


async def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(PROGRAM_LIMIT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return -1, f"did not end within {PROGRAM_LIMIT_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode("utf-8", "replace")


def _last(output: str) -> str:
    return output.strip()[-2000:] or "no word"


class ServerWatch:
    """Counts the database servers on one data directory, from `run` until it is cancelled."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._looks = self._most = 0

    @property
    def seen(self) -> Servers:
        """What was seen so far."""
        return Servers(looks=self._looks, most=self._most)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """How many there are now."""
        found = await asyncio.to_thread(_servers, self._layout)
        if len(found) > 1:
            await asyncio.sleep(SECOND_LOOK_S)
            found &= await asyncio.to_thread(_servers, self._layout)
        self._looks += 1
        self._most = max(self._most, len(found))
        return len(found)


def _servers(layout: Layout) -> set[int]:
    """The pids of the servers that were started on the layout's data; their backends have other command lines."""
    data = str(layout.postgres_data.resolve() / "cluster")
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words[1:3] == ["-D", data] and words[0].endswith("postgres") and lives(process.pid):
                found.add(process.pid)
    return found


async def left_over(layout: Layout, home: str) -> tuple[str, ...]:
    """The processes of a stopped system that do not go within `ORPHAN_LIMIT_S`."""
    end = time.monotonic() + ORPHAN_LIMIT_S
    while (found := await asyncio.to_thread(living, layout, home)) and time.monotonic() < end:  # noqa: ASYNC110 (the kernel sets no event)
        await asyncio.sleep(0.1)
    return found


def living(layout: Layout, home: str) -> tuple[str, ...]:
    """Every process of the system that still lives: by the supervisor's record, by environment, by command line."""
    found = {record.pid: record.name for record in ChildRecords(layout.children_file).orphans()}
    marks = (home, str(layout.postgres_data.resolve()), str(layout.valkey_data.resolve()))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [process.environ().get("ASKPRO_HOME", ""), *process.cmdline()]
            if any(_below(word, mark) for word in words for mark in marks):
                found.setdefault(process.pid, process.name())
    return tuple(f"{name} ({pid})" for pid, name in sorted(found.items()))


def _below(word: str, mark: str) -> bool:
    return word == mark or word.startswith(f"{mark}{os.sep}")


def lives(pid: int) -> bool:
    """Whether there is such a process, and not only what its parent has not yet taken note of."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
