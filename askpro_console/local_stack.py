"""The system on this machine as the console starts, attaches to and stops it. The console never hosts any of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from askpro_console.refusal import Refused
from askpro_console.system import System

if TYPE_CHECKING:
    from askpro_console.feed import Reader
    from backend.postgres.address import PostgresAddress
    from backend.stack.status import Status

STOP_LIMIT_S = 90.0
CONSOLE_LOG = "console.log"
LOG_TAIL_BYTES = 64 * 1024
LOG_LINES = 200


class StackTrouble(Exception):
    """The system does not start or stop; `hint` says what to do."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.hint = hint


class Stack(Protocol):
    """What the console needs of the system it belongs to."""

    started_here: bool

    def bring_up(self) -> AsyncIterator[Status]:
        """Start or attach; each change until it is ready or has failed. Raises StackTrouble."""

    def take_down(self) -> AsyncIterator[Status]:
        """Stop; each change until it is gone. Raises StackTrouble."""

    async def reader(self) -> Reader:
        """A reader of its snapshots."""

    async def log_tail(self, process: str = "") -> list[str]:
        """The last lines of a process's log, or of the newest logs, oldest first."""

    async def restart(self, process: str) -> None:
        """Drain one process and start it afresh. Raises StackTrouble."""

    def postgres(self) -> PostgresAddress | None:
        """Its database; None while there is none."""


def answers(system: System) -> bool:
    """Whether a supervisor answers on the control socket: a connection and nothing more, so that it costs nothing."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection, contextlib.suppress(OSError):
        connection.settimeout(0.2)
        connection.connect(str(system.layout.control_socket))
        return True
    return False


class LocalStack:
    """The embedded stack of this machine."""

    def __init__(self, system: System, *, demo: bool) -> None:
        self._system = system
        self._demo = demo
        self.started_here = False
        """Whether this console started it."""
        self._logging: object = None

    async def bring_up(self) -> AsyncIterator[Status]:
        """Start or attach. Raises StackTrouble."""
        # httpx takes a fifth of a second to import: in a thread, so that the first frame is not held up.
        await asyncio.to_thread(importlib.import_module, "httpx")
        client = await asyncio.to_thread(importlib.import_module, "backend.stack.client")
        if not client.is_running(self._system.layout):
            self.started_here = True
        limit = self._system.settings.stack.start_timeout_s
        async for status in _translated(lambda: client.bring_up(self._system.layout, demo=self._demo, limit_s=limit)):
            yield status

    async def take_down(self) -> AsyncIterator[Status]:
        """Stop it. Raises StackTrouble."""
        client = await asyncio.to_thread(importlib.import_module, "backend.stack.client")
        async for status in _translated(lambda: client.take_down(self._system.layout, limit_s=STOP_LIMIT_S)):
            yield status

    async def reader(self) -> Reader:
        """A snapshot reader; its libraries are imported in a thread, and no library logs to the screen."""
        await asyncio.to_thread(self._log_to_file)
        await asyncio.to_thread(importlib.import_module, "redis.asyncio")
        return await asyncio.to_thread(self._system.reader)

    async def log_tail(self, process: str = "") -> list[str]:
        """The newest lines of one log, or of the newest logs."""
        return await asyncio.to_thread(self._read_log if process else self._read_logs, process)

    async def restart(self, process: str) -> None:
        """Drain one process and start it afresh. Raises StackTrouble."""
        await asyncio.to_thread(importlib.import_module, "httpx")
        client = await asyncio.to_thread(importlib.import_module, "backend.stack.client")
        from backend.stack.failures import StackFailure

        try:
            async with client.ControlClient(self._system.layout) as control:
                await control.restart(process)
        except StackFailure as failure:
            raise StackTrouble(failure.message, failure.hint) from failure

    def postgres(self) -> PostgresAddress | None:
        """The database with its passwords; None before there is one."""
        try:
            return self._system.postgres()
        except Refused:
            return None

    def _log_to_file(self) -> None:
        if self._logging is None:
            from backend.stack.log_records import write_to_file

            with contextlib.suppress(OSError):
                file = self._system.layout.logs / CONSOLE_LOG
                self._logging = write_to_file("console", file, level=self._system.settings.logs.level)

    def _read_logs(self, _process: str) -> list[str]:
        lines: list[str] = []
        with contextlib.suppress(OSError):
            files = [path for path in self._system.layout.logs.glob("*.log") if path.name != CONSOLE_LOG]
            for path in sorted(files, key=lambda path: path.stat().st_mtime)[-3:]:
                lines += [f"{path.stem:<20} {line}" for line in _tail(path)[-LOG_LINES // 4 :]]
        return lines

    def _read_log(self, process: str) -> list[str]:
        path = self._system.layout.logs / f"{Path(process).name}.log"
        with contextlib.suppress(OSError):
            return _tail(path)[-LOG_LINES:]
        return []


def _tail(path: Path) -> list[str]:
    """The last lines of a file. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()


async def _translated(work: Callable[[], AsyncIterator[Status]]) -> AsyncIterator[Status]:
    from backend.stack.failures import StackFailure

    try:
        async for status in work():
            yield status
    except StackFailure as failure:
        raise StackTrouble(failure.message, failure.hint) from failure
