"""Talking to a supervisor: the control socket's client, starting one, and following a start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

import backend
from backend.stack.failures import StackFailure, place_unusable
from backend.stack.layout import Layout
from backend.stack.lock import running_supervisor
from backend.stack.places import make_places
from backend.stack.status import Phase, ProcessState, Status

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 2.0

POLL_S = 0.1

STOP_LIMIT_S = 120.0
"""Draining takes at most half a minute, and the database's shutdown as long again."""

START_LOG = "supervisor-start.log"
"""What a supervisor writes before its own log is open; replaced at each start."""


class ControlUnavailable(StackFailure):
    """No supervisor answers on the control socket."""


class ControlClient:
    """Speaks to the supervisor of one layout. Use as an asynchronous context manager, or call `close`."""

    def __init__(self, layout: Layout, *, timeout_s: float = TIMEOUT_S) -> None:
        self._layout = layout
        self._timeout_s = timeout_s
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> ControlClient:
        """The client itself; nothing is opened before the first question."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def status(self) -> Status:
        """How the system stands. Raises ControlUnavailable."""
        body = await self._ask("GET", "/status")
        try:
            return msgspec.json.decode(body, type=Status)
        except msgspec.MsgspecError as error:
            raise ControlUnavailable(
                f"The supervisor answers in a way that this version does not understand: {error}.",
                "It may be of another version: `askpro down`, then `askpro up`.",
            ) from error

    async def stop(self) -> None:
        """Ask it to take the system down. Raises ControlUnavailable."""
        await self._ask("POST", "/stop")

    async def restart(self, name: str) -> None:
        """Ask it to drain one process and start it afresh. Raises StackFailure when there is none of that name."""
        await self._ask("POST", f"/processes/{name}/restart")

    async def _ask(self, method: str, path: str) -> bytes:
        # Not at the top: the console loads this module before its first frame.
        import httpx

        if self._http is None:
            transport = httpx.AsyncHTTPTransport(uds=str(self._layout.control_socket))
            self._http = httpx.AsyncClient(transport=transport, timeout=self._timeout_s, base_url="http://supervisor")
        try:
            answer = await self._http.request(method, path)
        except httpx.HTTPError as error:
            raise ControlUnavailable("The system does not run, or its supervisor does not answer.") from error
        if answer.status_code == 404:
            raise StackFailure(f"The supervisor knows nothing of {path}.", "`askpro status` lists the processes.")
        if answer.is_error:
            raise StackFailure(f"The supervisor refused {method} {path} ({answer.status_code}).")
        return answer.content


def is_running(layout: Layout) -> bool:
    """Whether a supervisor holds the layout; opens no connection."""
    return running_supervisor(layout.pid_file) is not None


def last_failure(layout: Layout) -> Status | None:
    """How the last start ended if it failed, None otherwise."""
    try:
        return msgspec.json.decode(layout.last_failure_file.read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None


def start_detached(
    layout: Layout,
    *,
    demo: bool = False,
    command: Sequence[str] = (sys.executable, "-m", "askpro_console", "process", "supervisor"),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a supervisor in a session of its own; it outlives this process. Raises PlaceUnusable.

    Follow it with `follow_start`.
    """
    make_places(layout, with_database=not layout.join_file.exists())
    path = layout.logs / START_LOG
    ours = str(Path(backend.__file__).parents[1])
    before = os.environ.get("PYTHONPATH")
    try:
        with path.open("wb") as output:
            path.chmod(0o600)
            return subprocess.Popen(  # noqa: S603 (a command of our own)
                [*command, *(["--demo"] if demo else [])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={
                    **os.environ,
                    "PYTHONPATH": f"{ours}{os.pathsep}{before}" if before else ours,
                    **(environment or {}),
                },
                start_new_session=True,
            )
    except OSError as error:
        raise place_unusable(path, error) from error


async def follow_start(
    layout: Layout, supervisor: subprocess.Popen[bytes] | None, *, limit_s: float
) -> AsyncIterator[Status]:
    """Each change of the status until the system is ready, has failed, or `limit_s` seconds have passed.

    The last status says which. Raises StackFailure when the supervisor ends without a word on its socket.
    """
    end = time.monotonic() + limit_s
    last: Status | None = None
    async with ControlClient(layout) as client:
        while time.monotonic() < end:
            try:
                status = await client.status()
            except ControlUnavailable:
                ended = supervisor is not None and supervisor.poll() is not None
                if ended or (supervisor is None and not is_running(layout)):
                    raise _silent_end(layout, last) from None
            else:
                if status != last:
                    last = status
                    yield status
                if status.phase is not Phase.STARTING and (status.ready or status.error):
                    return
            await asyncio.sleep(POLL_S)


def _silent_end(layout: Layout, last: Status | None) -> StackFailure:
    if last is not None:
        return StackFailure(last.error or "The supervisor ended.", last.hint or "`askpro logs supervisor` says more.")
    said = ""
    with contextlib.suppress(OSError):
        said = (layout.logs / START_LOG).read_text("utf-8", "replace").strip()
    lines = said.splitlines()
    refusals = [number for number, line in enumerate(lines) if line.startswith("askpro: ")]
    if refusals:
        first = refusals[-1]
        return StackFailure(lines[first].removeprefix("askpro: "), "\n".join(lines[first + 1 :]))
    return StackFailure(
        "The supervisor ended before it could say why." + (f" Its last words: {lines[-1]}" if lines else ""),
        f"{layout.logs / START_LOG} has all of them.",
    )


async def bring_up(
    layout: Layout, *, demo: bool, limit_s: float, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Status]:
    """Start the system, or attach to the one that runs; then as `follow_start`. Failed processes get another chance."""
    supervisor = None
    if is_running(layout):
        await _mend(layout)
    if not is_running(layout):
        supervisor = start_detached(layout, demo=demo, environment=environment)
    async for status in follow_start(layout, supervisor, limit_s=limit_s):
        yield status


async def _mend(layout: Layout) -> None:
    """Give failed processes of a running system another chance; see a failed supervisor off."""
    async with ControlClient(layout) as client:
        try:
            status = await client.status()
            for process in status.processes:
                if process.state is ProcessState.FAILED:
                    await client.restart(process.name)
        except StackFailure:
            return
    if status.phase in {Phase.FAILED, Phase.STOPPING}:
        async for _ in take_down(layout, limit_s=STOP_LIMIT_S):
            pass


async def take_down(layout: Layout, *, limit_s: float) -> AsyncIterator[Status]:
    """Ask the system to stop and tell how it goes until the supervisor is gone. Raises StackFailure when it stays."""
    end = time.monotonic() + limit_s
    last: Status | None = None
    async with ControlClient(layout) as client:
        with contextlib.suppress(ControlUnavailable):
            await client.stop()
        while is_running(layout) or (last is not None and _lives(last.supervisor_pid)):
            if time.monotonic() > end:
                raise StackFailure(
                    f"The system has not stopped within {limit_s:.0f} s.",
                    "`askpro status` shows what is still running.",
                )
            with contextlib.suppress(StackFailure):
                status = await client.status()
                if status != last:
                    last = status
                    yield status
            await asyncio.sleep(POLL_S)


def _lives(pid: int) -> bool:
    """Whether the supervisor's process still exists; it gives its lock back a moment before its end."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
