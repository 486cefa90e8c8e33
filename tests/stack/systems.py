"""Running a whole small system in a test: a real supervisor, real servers, small programs for the Python processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil

from backend.stack.client import ControlClient, follow_start, is_running, start_detached, take_down
from backend.stack.layout import Layout
from backend.stack.status import ProcessStatus, Status

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.stack.child_program", "supervisor")
LIMIT_S = 60.0


async def until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait for a condition. Raises AssertionError when it does not come."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s} s in vain: {what}"
        await asyncio.sleep(0.02)


class SmallSystem:
    """One system in a directory of its own."""

    def __init__(self, base: Path, environment: dict[str, str]) -> None:
        self.layout = Layout.from_environment({"ASKPRO_HOME": str(base)})
        self.environment = {"ASKPRO_HOME": str(base), "CHILD_FAST_POSTGRES": "1", **environment}
        self.supervisor: subprocess.Popen[bytes] | None = None

    async def start(self, *, limit_s: float = LIMIT_S) -> Status:
        """Start it and follow the start to its end."""
        self.supervisor = start_detached(self.layout, command=COMMAND, environment=self.environment)
        told = [status async for status in follow_start(self.layout, self.supervisor, limit_s=limit_s)]
        assert told, "the supervisor never answered"
        return told[-1]

    async def status(self) -> Status:
        """What its supervisor says now."""
        async with ControlClient(self.layout) as client:
            return await client.status()

    async def process(self, name: str) -> ProcessStatus:
        """One of its processes."""
        return next(process for process in (await self.status()).processes if process.name == name)

    async def when(self, wanted: Callable[[Status], bool], what: str, limit_s: float = LIMIT_S) -> Status:
        """The first status that is as wanted."""
        end = time.monotonic() + limit_s
        async with ControlClient(self.layout) as client:
            while True:
                status = await client.status()
                if wanted(status):
                    return status
                assert time.monotonic() < end, f"waited {limit_s} s in vain: {what}; {status}"
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop it in good order."""
        async for _ in take_down(self.layout, limit_s=LIMIT_S):
            pass
        if self.supervisor is not None:
            self.supervisor.wait(10)

    def living(self) -> list[psutil.Process]:
        """Every process that belongs to it, whoever its parent is."""
        home = self.environment["ASKPRO_HOME"]
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("ASKPRO_HOME") == home and process.pid != os.getpid()
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def make_base() -> Path:
    """A short directory that the servers' account may enter, also below it."""
    base = Path(tempfile.mkdtemp(prefix="askpro-"))
    for directory in (base, base / "data", base / "run"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    return base


async def put_away(system: SmallSystem) -> None:
    """Stop the system and remove everything it has."""
    if is_running(system.layout):
        await system.stop()
    if system.supervisor is not None:
        system.supervisor.wait(30)
    for process in system.living():
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(system.environment["ASKPRO_HOME"], ignore_errors=True)


@contextlib.asynccontextmanager
async def small_system(**environment: str) -> AsyncIterator[SmallSystem]:
    """A system that is not started yet, and is gone with everything it has when the block ends."""
    system = SmallSystem(make_base(), environment)
    try:
        yield system
    finally:
        await put_away(system)
