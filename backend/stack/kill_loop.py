"""Kill -9, again and again, while traffic runs: every process comes back, none is left over, nothing is lost.

Runs a system of its own. The traffic and the judgement of what became of it are the simulator's (`--patient --check`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backend.queue.policies import POLICIES
from backend.stack.client import ControlClient, follow_start, is_running, start_detached, take_down
from backend.stack.failures import StackFailure
from backend.stack.kill_checks import ORPHAN_LIMIT_S, ServerWatch, left_over, lives, promises, structures
from backend.stack.kill_report import Inspection, KillReport, Recovery, TrafficRun
from backend.stack.kill_traffic import simulate
from backend.stack.layout import Layout
from backend.stack.restarts import CRASH_WINDOW_S, CRASHES_UNTIL_FAILED
from backend.stack.status import ProcessState, Status

WORKERS = tuple(f"worker-{queue.value}" for queue in POLICIES)

VICTIMS = ("api", *WORKERS, "publisher", "valkey", "postgres", "supervisor")

RECOVERY_LIMIT_S = 90.0
"""Longer than the longest pause before a restart, and the start."""

STOP_LIMIT_S = 120.0

POLL_S = 0.02

PAUSE_S = (0.2, 1.5)
"""From one recovery to the next kill: long enough that work is under way, drawn so that kills fall anywhere in it."""

KILLS_AT_A_TIME = CRASHES_UNTIL_FAILED - 2
"""So often a process may be killed within `CRASH_WINDOW_S`: one that is killed more often is rightly given up."""


class Bystander(Protocol):
    """Somebody attached to the system who is killed like its processes, and whose death it must not even notice."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    @property
    def pid(self) -> int:
        """Its process."""

    @property
    def lives(self) -> bool:
        """Whether its process runs."""

    async def open(self, environment: Mapping[str, str]) -> None:
        """Start it; returns once it shows live data. Raises StackFailure."""

    async def shows_live(self) -> None:
        """Return once it shows data that came in after this was called. Raises StackFailure."""

    async def kill(self) -> None:
        """End it with SIGKILL and return when it is gone."""


@dataclass(frozen=True, slots=True)
class KillPlan:
    """What the loop is asked to do."""

    rounds: int
    """Kills of each victim; a round kills each once, in an order of its own."""
    victims: tuple[str, ...] = VICTIMS
    calls: int = 200
    """Of each run of the simulator; runs follow each other until the last kill."""
    seed: int = 1


class KillLoop:
    """One loop in one directory, which must have a short name and be empty."""

    def __init__(
        self,
        home: Path,
        plan: KillPlan,
        *,
        bystanders: Sequence[Bystander] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._bystanders = {one.name: one for one in bystanders}
        self._say = say
        self._random = random.Random(plan.seed)  # noqa: S311 (decides what dies when, not a secret)
        self._home = str(home)
        self._environment = {
            "ASKPRO_HOME": self._home,
            "ASKPRO_API_PORT": str(_free_port()),
            "ASKPRO_SECRETS_KEYRING": "off",
            "ASKPRO_SECRET_RETELL_API_KEY": f"key_demo_{secrets.token_hex(16)}",
        }
        self._layout = Layout.from_environment(self._environment)
        self._servers = ServerWatch(self._layout)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._killed_at: dict[str, list[float]] = defaultdict(list)
        self._done = asyncio.Event()
        self._outlived_s = 0.0
        self.recoveries: list[Recovery] = []
        """So far."""

    async def run(self) -> KillReport:
        """Start the system, kill under traffic, look at the data, stop it, look for what is left.

        Cancelled, it stops what it started before it goes.
        """
        began = time.monotonic()
        runs: list[TrafficRun] = []
        inspections: list[Inspection] = []
        error = ""
        background = [asyncio.create_task(self._servers.run())]
        try:
            await self._start()
            traffic = asyncio.create_task(self._traffic(runs))
            background.append(traffic)
            await self._kill_all(traffic)
            self._done.set()
            await traffic
            for inspect in (structures(self._layout), promises(self._environment)):
                inspections.append(await inspect)
                self._say(f"{inspections[-1].name}: {inspections[-1].detail}")
        except StackFailure as failure:
            error = failure.message
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            for bystander in self._bystanders.values():
                await bystander.kill()
            try:
                await self._stop()
            except StackFailure as failure:
                self._say(failure.message)
                error = f"{error} {failure.message}".strip()
        return KillReport(
            seed=self._plan.seed,
            recoveries=tuple(self.recoveries),
            traffic=tuple(runs),
            inspections=tuple(inspections),
            servers=self._servers.seen,
            outlived_s=round(self._outlived_s, 3),
            left_over=await left_over(self._layout, self._home),
            seconds=round(time.monotonic() - began, 1),
            error=error,
        )

    async def _start(self) -> None:
        self._supervisor = start_detached(self._layout, environment=self._environment)
        told = [status async for status in follow_start(self._layout, self._supervisor, limit_s=RECOVERY_LIMIT_S)]
        if not told or not told[-1].ready:
            raise StackFailure(f"The system does not start: {told[-1].error if told else 'no answer'}.")

    async def _stop(self) -> None:
        """Take the system down, also one that has only just been started. Raises StackFailure."""
        end = time.monotonic() + RECOVERY_LIMIT_S
        while self._supervisor is not None and self._supervisor.poll() is None and not is_running(self._layout):
            if time.monotonic() > end:
                raise StackFailure("The supervisor neither runs nor ends.")
            await asyncio.sleep(POLL_S)
        if is_running(self._layout):
            async for _ in take_down(self._layout, limit_s=STOP_LIMIT_S):
                pass

    async def _kill_all(self, traffic: asyncio.Task[None]) -> None:
        names = (*self._plan.victims, *self._bystanders)
        total = self._plan.rounds * len(names)
        for bystander in self._bystanders.values():
            await bystander.open(self._environment)
        async with ControlClient(self._layout) as control:
            async for round_, name in self._order(names):
                if traffic.done():
                    raise StackFailure("The traffic ended before the last kill.")
                pid, seconds = await self._kill(control, name)
                recovery = Recovery(victim=name, round=round_, pid=pid, seconds=round(seconds, 3))
                self.recoveries.append(recovery)
                done = len(self.recoveries)
                self._say(f"{done:>{len(str(total))}}/{total}  round {round_:>2}  {name:<22}{seconds:>7.2f} s")
                self._look_at_bystanders()
            for bystander in self._bystanders.values():
                await bystander.shows_live()

    async def _order(self, names: Sequence[str]) -> AsyncIterator[tuple[int, str]]:
        """What to kill next, at its time: never one process so often that it would be given up."""
        for round_ in range(1, self._plan.rounds + 1):
            for name in self._random.sample(names, len(names)):
                await asyncio.sleep(self._random.uniform(*PAUSE_S))
                times = self._killed_at[name]
                if name in self._plan.victims and len(times) >= KILLS_AT_A_TIME:
                    await asyncio.sleep(max(0.0, times[-KILLS_AT_A_TIME] + CRASH_WINDOW_S - time.monotonic()))
                times.append(time.monotonic())
                yield round_, name

    async def _kill(self, control: ControlClient, name: str) -> tuple[int, float]:
        """Kill one victim; its pid and how many seconds until all was well again. Raises StackFailure."""
        if bystander := self._bystanders.get(name):
            return await self._kill_bystander(control, bystander)
        if name == "supervisor":
            return await self._kill_supervisor(control)
        pid = await self._pid_of(control, name)
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await self._recovered(control, {pid})
        return pid, time.monotonic() - began

    async def _pid_of(self, control: ControlClient, name: str) -> int:
        """The process as soon as it runs: another kill may have taken it along."""
        end = time.monotonic() + RECOVERY_LIMIT_S
        while time.monotonic() < end:
            for process in (await control.status()).processes:
                if process.name == name and process.pid is not None:
                    return process.pid
            await asyncio.sleep(POLL_S)
        raise StackFailure(f"{name} does not run.")

    async def _kill_supervisor(self, control: ControlClient) -> tuple[int, float]:
        status = await control.status()
        children = {process.pid for process in status.processes if process.pid}
        began = time.monotonic()
        os.kill(status.supervisor_pid, signal.SIGKILL)
        end = began + ORPHAN_LIMIT_S
        while alive := [pid for pid in children if lives(pid)]:
            if time.monotonic() > end:
                raise StackFailure(f"Processes live on {ORPHAN_LIMIT_S:.0f} s after their supervisor: {alive}.")
            await asyncio.sleep(POLL_S)
        self._outlived_s = max(self._outlived_s, time.monotonic() - began)
        self._killed_at.clear()
        await self._start()
        await self._recovered(control, children)
        seconds = time.monotonic() - began
        if (servers := await self._servers.look()) != 1:
            raise StackFailure(f"{servers} database servers run on {self._layout.postgres_data} after the restart.")
        for bystander in self._bystanders.values():
            await bystander.shows_live()
        return status.supervisor_pid, seconds

    async def _kill_bystander(self, control: ControlClient, bystander: Bystander) -> tuple[int, float]:
        before = await self._recovered(control, set())
        pid = bystander.pid
        began = time.monotonic()
        await bystander.kill()
        await bystander.open(self._environment)
        seconds = time.monotonic() - began
        await bystander.shows_live()
        after = await control.status()
        if not after.ready or _pids(before) != _pids(after):
            raise StackFailure(f"The end of the {bystander.name} was felt: {_pids(before)} became {_pids(after)}.")
        return pid, seconds

    def _look_at_bystanders(self) -> None:
        for bystander in self._bystanders.values():
            if not bystander.lives:
                raise StackFailure(f"The {bystander.name} ended by itself after the kill of another.")

    async def _recovered(self, control: ControlClient, killed: set[int]) -> Status:
        """The first status that is ready without the killed processes. Raises StackFailure when it does not come."""
        end = time.monotonic() + RECOVERY_LIMIT_S
        while True:
            status = await control.status()
            if status.ready and killed.isdisjoint({process.pid or 0 for process in status.processes}):
                return status
            failed = [process for process in status.processes if process.state is ProcessState.FAILED]
            if failed or time.monotonic() > end:
                raise StackFailure(f"The system did not recover: {failed or status.processes}.")
            await asyncio.sleep(POLL_S)

    async def _traffic(self, runs: list[TrafficRun]) -> None:
        """Runs of the simulator, one after the other, until the kills are over; ends early when one is not clean."""
        while not runs or not self._done.is_set():
            seed = self._plan.seed * 1000 + len(runs)
            run = await simulate(self._environment, calls=self._plan.calls, seed=seed)
            runs.append(run)
            self._say(f"traffic, seed {seed}: {run.deliveries} deliveries, {run.differences} differences")
            if not run.clean:
                return


def _pids(status: Status) -> dict[str, int | None]:
    return {"supervisor": status.supervisor_pid, **{process.name: process.pid for process in status.processes}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
