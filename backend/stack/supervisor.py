"""The supervisor: brings the system up, keeps it up, takes it down in order, and says how it stands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

import msgspec

from backend.stack.config import StackConfig
from backend.stack.control import Control, ControlServer
from backend.stack.credentials import ensure_credentials
from backend.stack.exits import first_of
from backend.stack.failures import StackFailure
from backend.stack.joined_start import JoinedStart
from backend.stack.lock import SupervisorLock
from backend.stack.logs import LogStore
from backend.stack.measure import INTERVAL_S, Gauge
from backend.stack.places import make_places
from backend.stack.process import SupervisedProcess
from backend.stack.records import ChildRecords
from backend.stack.start import Start
from backend.stack.startup import Startup
from backend.stack.status import Phase, ProcessState, Status

LINGER_S = 3.0
"""After a failed start: so long the control socket still tells why."""

TIDY_EVERY_S = 3600.0

TELL_EVERY_S = 0.1


class Supervisor:
    """One system, from its start to its end."""

    def __init__(self, config: StackConfig, *, on_change: Callable[[Status], None] | None = None) -> None:
        """`on_change` hears of each change within a tenth of a second. Raises StackFailure.

        Makes directories and passwords and takes the lock, so that of two supervisors only one exists.
        """
        layout = config.layout
        make_places(layout, with_database=config.join is None)
        self._config = config
        self._lock = SupervisorLock(layout.pid_file)
        self._lock.acquire()
        try:
            self._logs = LogStore(layout.logs, config.logs)
            self._log = self._logs.log("supervisor")
            self._startup = _start_of(config, self._logs)
        except BaseException:
            self._lock.release()
            raise
        self._on_change = on_change
        self._started_at = time.time()
        self._failure: StackFailure | None = None
        self._was_ready = False
        self._stopping = asyncio.Event()
        self._tasks: dict[SupervisedProcess, asyncio.Task[None]] = {}
        self._gauges = [Gauge(process) for process in self._startup.processes]
        self._control = ControlServer(
            layout.control_socket, Control(status=self.status, stop=self.stop, restart=self._restart)
        )

    def status(self) -> Status:
        """How the system stands."""
        for gauge in self._gauges:
            gauge.look_first()
        phase = self._phase()
        error, hint = self._trouble()
        return Status(
            ready=phase is Phase.READY,
            phase=phase,
            api_url=self._startup.listener.url,
            version=self._config.version,
            supervisor_pid=os.getpid(),
            demo=self._config.demo,
            started_at=self._started_at,
            processes=tuple(process.status() for process in self._startup.processes),
            steps=self._startup.steps.told(),
            error=error,
            hint=hint,
        )

    def _phase(self) -> Phase:
        if self._stopping.is_set():
            return Phase.STOPPING
        if self._failure is not None:
            return Phase.FAILED
        if all(one.ready.is_set() for one in self._startup.processes if one.plan.needed_for_ready):
            return Phase.READY
        return Phase.DEGRADED if self._was_ready else Phase.STARTING

    def _trouble(self) -> tuple[str, str]:
        """What is wrong, and what to do about it."""
        if self._failure is not None:
            return self._failure.message, self._failure.hint
        for process in self._startup.processes:
            if process.state is ProcessState.FAILED:
                return f"{process.name}: {process.detail}", f"`askpro logs {process.name}`; `askpro up` tries again."
        return "", ""

    def stop(self) -> None:
        """Begin to take the system down."""
        self._stopping.set()

    def _restart(self, name: str) -> bool:
        for process in self._startup.processes:
            if process.name == name:
                process.restart("restarted by the operator")
                return True
        return False

    def _launch(self, process: SupervisedProcess) -> None:
        self._tasks[process] = asyncio.create_task(process.supervise(), name=process.name)

    async def run(self) -> int:
        """Supervise until `stop`, SIGTERM or SIGINT. The result is the exit code: 1 when the start failed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._log.line(_stamped(f"starts, version {self._config.version}, process {os.getpid()}"))
        watching = asyncio.create_task(self._watch())
        starting = asyncio.create_task(self._start())
        try:
            await self._control.open()
            await first_of(self._stopping.wait(), self._failed(starting))
            if self._failure is not None:
                self._remember_failure()
                await first_of(self._stopping.wait(), asyncio.sleep(LINGER_S))
        except StackFailure as failure:
            self._failure = failure
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self._shut_down()
            watching.cancel()
            await self._control.close()
            self._log.line(_stamped("ended"))
            self._logs.close()
            self._lock.release()
        return 0 if self._failure is None else 1

    async def _start(self) -> None:
        began = time.monotonic()
        self._config.layout.last_failure_file.unlink(missing_ok=True)
        try:
            await self._startup.run(self._launch)
        except StackFailure as failure:
            self._log.line(_stamped(f"the start failed: {failure.message}"))
            self._failure = failure
        else:
            self._was_ready = True
            self._log.line(_stamped(f"ready after {time.monotonic() - began:.1f} s"))

    async def _failed(self, starting: asyncio.Task[None]) -> None:
        """Return when the start has failed; never when it has not."""
        await asyncio.shield(starting)
        if self._failure is None:
            await asyncio.Event().wait()

    def _remember_failure(self) -> None:
        """Keep the story for `askpro status` after the end."""
        with contextlib.suppress(OSError):
            self._config.layout.last_failure_file.write_bytes(msgspec.json.encode(self.status()))

    async def _watch(self) -> None:
        """Look after what nothing else notices: memory, the listener of a failed API, old logs."""
        api = next(one for one in self._startup.processes if one.plan.listener is not None)
        next_look = next_tidy = time.monotonic()
        told: Status | None = None
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + INTERVAL_S
                for gauge in self._gauges:
                    gauge.look()
                if not self._lock.holds():
                    self._log.line(_stamped(f"{self._config.layout.pid_file} is gone: nobody can reach this system"))
                    self.stop()
                if api.state is ProcessState.FAILED:
                    self._startup.listener.close()
            if now >= next_tidy:
                next_tidy = now + TIDY_EVERY_S
                await asyncio.to_thread(self._logs.tidy)
            if self._on_change is not None and (status := self.status()) != told:
                told = status
                self._on_change(status)
            await asyncio.sleep(TELL_EVERY_S if self._on_change else next_look - time.monotonic())

    async def _shut_down(self) -> None:
        """Drain in the order of the data's way: nobody asks, nobody works, then the stores close."""
        self._stopping.set()
        self._log.line(_stamped("stops"))
        self._startup.listener.close()
        layout = self._config.layout
        with contextlib.suppress(OSError):
            layout.endpoints_file.unlink(missing_ok=True)
        outside = {"api", "simulator"}
        stores = set(self._startup.stores)
        waves = (
            [one for one in self._tasks if one.name in outside],
            [one for one in self._tasks if one not in stores],
            [one for one in self._tasks if one in stores],
        )
        for wave in waves:
            for process in wave:
                process.stop()
            await asyncio.gather(*(self._tasks[process] for process in wave), return_exceptions=True)


def _start_of(config: StackConfig, logs: LogStore) -> Start:
    """The start that the configuration asks for. Raises StackFailure."""
    records = ChildRecords(config.layout.children_file)
    if config.join is not None:
        return JoinedStart(config, config.join, logs=logs, records=records)
    passwords, new_superuser = ensure_credentials(config.layout.credentials_file)
    return Startup(config, passwords=passwords, new_superuser=new_superuser, logs=logs, records=records)


def _stamped(text: str) -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z {text}"


async def run_supervisor(config: StackConfig, *, on_change: Callable[[Status], None] | None = None) -> int:
    """Run one system until it is told to stop; what the process `askpro process supervisor` does.

    The result is the exit code. Raises StackFailure when it cannot even begin (AlreadyRunning among them).
    """
    return await Supervisor(config, on_change=on_change).run()
