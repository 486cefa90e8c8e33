"""Kill -9, again and again, while traffic runs: every process comes back, none is left over, nothing is lost.

Runs a system of its own. The traffic and the judgement of what became of it are the simulator's (`--patient --check`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from backend.stack.client import ControlClient, follow_start, is_running, start_detached, take_down
from backend.stack.failures import StackFailure
from backend.stack.layout import Layout
from backend.stack.status import ProcessState, Status

VICTIMS = ("api", "worker", "publisher", "valkey", "postgres", "supervisor")

RECOVERY_LIMIT_S = 60.0

ORPHAN_LIMIT_S = 10.0
"""Children of a killed supervisor must be gone after so long."""

POLL_S = 0.02

PAUSE_S = (0.2, 1.5)
"""From one recovery to the next kill: long enough that work is under way, drawn so that kills fall anywhere in it."""

TRAFFIC_LIMIT_S = 600.0

PACE = ("--rate", "0.3", "--speed", "30", "--connections", "16")
"""Nine calls a second, each thirty times as fast as in life: deliveries are on their way at nearly every kill."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One kill and what came of it."""

    victim: str
    process: str
    pid: int
    seconds: float
    """Until the system was ready again with another process in its place."""


class TrafficRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the simulator."""

    seed: int
    code: int
    deliveries: int = 0
    retries: int = 0
    differences: int = 0
    shown: tuple[str, ...] = ()
    """The first differences in words, or why the run failed."""

    @property
    def clean(self) -> bool:
        """Whether everything accepted is there once and nothing else."""
        return self.code == 0 and self.differences == 0


class KillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole loop."""

    recoveries: tuple[Recovery, ...]
    traffic: tuple[TrafficRun, ...]
    left_over: tuple[str, ...]
    """Processes that lived on after the system's end."""
    error: str = ""
    """Why the loop ended early: something did not come back, or outlived its supervisor."""

    @property
    def clean(self) -> bool:
        """Whether there was traffic, nothing was lost or doubled, and nothing was left over."""
        judged = bool(self.traffic) and all(run.clean for run in self.traffic)
        return judged and not self.left_over and not self.error


@dataclass(frozen=True, slots=True)
class KillPlan:
    """What the loop is asked to do."""

    rounds: int
    """Kills of each victim."""
    victims: tuple[str, ...] = VICTIMS
    calls: int = 200
    """Of each run of the simulator; runs follow each other until the last kill."""
    seed: int = 1


class KillLoop:
    """One loop in one directory, which must have a short name and be empty."""

    def __init__(self, home: Path, plan: KillPlan, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._plan = plan
        self._say = say
        self._random = random.Random(plan.seed)  # noqa: S311 (decides what dies when, not a secret)
        self._environment = {
            "ASKPRO_HOME": str(home),
            "ASKPRO_API_PORT": str(_free_port()),
            "ASKPRO_SECRET_RETELL_API_KEY": f"key_{secrets.token_hex(16)}",
        }
        self._layout = Layout.from_environment(self._environment)
        self._supervisors: list[psutil.Process] = []
        self._done = asyncio.Event()

    async def run(self) -> KillReport:
        """Start the system, kill under traffic, stop it, look for what is left. Raises StackFailure."""
        await self._start()
        traffic = asyncio.create_task(self._traffic())
        recoveries: list[Recovery] = []
        runs: list[TrafficRun] = []
        error = ""
        try:
            async for recovery in self._kills():
                recoveries.append(recovery)
                self._say(
                    f"{len(recoveries)}/{self._plan.rounds * len(self._plan.victims)}  {recovery.process} "
                    f"({recovery.pid}) back after {recovery.seconds:.2f} s"
                )
            self._done.set()
            runs = await traffic
        except StackFailure as failure:
            error = failure.message
        finally:
            self._done.set()
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)
            if is_running(self._layout):
                async for _ in take_down(self._layout, limit_s=120):
                    pass
        return KillReport(
            recoveries=tuple(recoveries), traffic=tuple(runs), left_over=tuple(self._living()), error=error
        )

    async def _start(self) -> None:
        supervisor = start_detached(self._layout, environment=self._environment)
        told = [status async for status in follow_start(self._layout, supervisor, limit_s=RECOVERY_LIMIT_S)]
        if not told or not told[-1].ready:
            raise StackFailure(f"The system does not start: {told[-1].error if told else 'no answer'}.")

    async def _kills(self) -> AsyncIterator[Recovery]:
        victims = [victim for victim in self._plan.victims for _ in range(self._plan.rounds)]
        self._random.shuffle(victims)
        async with ControlClient(self._layout) as control:
            for victim in victims:
                await asyncio.sleep(self._random.uniform(*PAUSE_S))
                if victim == "supervisor":
                    yield await self._kill_supervisor(control)
                else:
                    yield await self._kill(control, victim)

    async def _kill(self, control: ControlClient, victim: str) -> Recovery:
        status = await control.status()
        candidates = [one for one in status.processes if one.name.split("-")[0] == victim and one.pid]
        process = self._random.choice(candidates)
        assert process.pid is not None
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await self._recovered(control, {process.pid})
        return Recovery(
            victim=victim, process=process.name, pid=process.pid, seconds=round(time.monotonic() - began, 3)
        )

    async def _kill_supervisor(self, control: ControlClient) -> Recovery:
        status = await control.status()
        children = {process.pid for process in status.processes if process.pid}
        began = time.monotonic()
        os.kill(status.supervisor_pid, signal.SIGKILL)
        end = time.monotonic() + ORPHAN_LIMIT_S
        while alive := [pid for pid in children if _lives(pid)]:
            if time.monotonic() > end:
                raise StackFailure(f"Processes live on {ORPHAN_LIMIT_S:.0f} s after their supervisor: {alive}.")
            await asyncio.sleep(POLL_S)
        await self._start()
        await self._recovered(control, children)
        return Recovery(
            victim="supervisor",
            process="supervisor",
            pid=status.supervisor_pid,
            seconds=round(time.monotonic() - began, 3),
        )

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

    async def _traffic(self) -> list[TrafficRun]:
        """Runs of the simulator, one after the other, until the kills are over; each is checked."""
        runs: list[TrafficRun] = []
        while not runs or not self._done.is_set():
            run = await self._simulate(self._plan.seed * 1000 + len(runs))
            runs.append(run)
            self._say(f"traffic, seed {run.seed}: {run.deliveries} deliveries, {run.differences} differences")
            for line in run.shown:
                self._say(f"  {line}")
            if not run.clean:
                break
        return runs

    async def _simulate(self, seed: int) -> TrafficRun:
        arguments = ("--calls", str(self._plan.calls), "--seed", str(seed), *PACE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "askpro_console", "simulate", "--patient", "--check", "--json", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environment},
        )
        try:
            async with asyncio.timeout(TRAFFIC_LIMIT_S):
                output, errors = await process.communicate()
        except TimeoutError:
            return TrafficRun(seed=seed, code=-1, shown=(f"did not end within {TRAFFIC_LIMIT_S:.0f} s",))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _traffic_run(seed, process.returncode or 0, output, errors)

    def _living(self) -> list[str]:
        """Every process of this system that still lives, by its environment; servers by their data's place."""
        marks = {self._environment["ASKPRO_HOME"], str(self._layout.postgres_data.resolve())}
        marks.add(str(self._layout.valkey_data.resolve()))
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                words = [process.environ().get("ASKPRO_HOME", ""), *process.cmdline()]
                if any(word.startswith(mark) for word in words for mark in marks):
                    found.append(f"{process.name()} ({process.pid})")
        return found


def _traffic_run(seed: int, code: int, output: bytes, errors: bytes) -> TrafficRun:
    try:
        told = json.loads(output)
        return TrafficRun(
            seed=seed,
            code=code,
            deliveries=told["deliveries"],
            retries=told["retries"],
            differences=told["differences"],
            shown=tuple(told["shown"]),
        )
    except (ValueError, KeyError, TypeError):
        words = (output + errors).decode("utf-8", "replace").strip()[-2000:]
        return TrafficRun(seed=seed, code=code or 1, shown=(words,))


def summary(recoveries: Sequence[Recovery]) -> Mapping[str, tuple[int, float, float]]:
    """Kills of each victim with the median and the longest recovery in seconds."""
    seconds: dict[str, list[float]] = {}
    for recovery in recoveries:
        seconds.setdefault(recovery.victim, []).append(recovery.seconds)
    return {victim: (len(times), sorted(times)[len(times) // 2], max(times)) for victim, times in seconds.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
