"""What every start has: leftovers ended, the API's listener opened, our own processes launched and watched."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence

from backend.stack.config import StackConfig
from backend.stack.endpoints import Endpoints
from backend.stack.exits import first_of
from backend.stack.failures import StackFailure, place_unusable
from backend.stack.listener import Listener
from backend.stack.logs import LogStore
from backend.stack.plans import python_plans
from backend.stack.process import ProcessPlan, SupervisedProcess
from backend.stack.records import ChildRecords
from backend.stack.status import ProcessState
from backend.stack.steps import RunningStep, Steps

LEFTOVERS = "leftovers"

LOOK_S = 0.1


class Start(ABC):
    """One start. Makes the processes' objects; the supervisor runs and ends them."""

    steps: Steps

    def __init__(self, config: StackConfig, *, logs: LogStore, records: ChildRecords) -> None:
        self._config = config
        self._logs = logs
        self._records = records
        self.listener = Listener(config.api_host, config.api_port, config.api_port_tries)
        self.python: tuple[SupervisedProcess, ...] = ()
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def stores(self) -> tuple[SupervisedProcess, ...]:
        """The servers among the processes, which start first and end last."""
        return ()

    @property
    def processes(self) -> tuple[SupervisedProcess, ...]:
        """All of them, in the order of their start."""
        return (*self.stores, *self.python)

    @abstractmethod
    async def run(self, launch: Callable[[SupervisedProcess], None]) -> None:
        """Bring everything up; `launch` begins to supervise a process.

        Returns when every process that readiness needs is ready or has failed for good; the steps tell which.
        Raises StackFailure when one fails that all others need.
        """

    def _process(self, plan: ProcessPlan, *, requires: tuple[SupervisedProcess, ...] = ()) -> SupervisedProcess:
        return SupervisedProcess(plan, log=self._logs.log(plan.name), records=self._records, requires=requires)

    def _make_python(self, *, requires: tuple[SupervisedProcess, ...] = ()) -> None:
        self.python = tuple(
            self._process(plan, requires=requires) for plan in python_plans(self._config, self.listener)
        )

    def _name_steps(self, before: Sequence[str]) -> None:
        self.steps = Steps([LEFTOVERS, *before, *(one.name for one in self.python)])

    async def _end_leftovers(self, step: RunningStep) -> None:
        orphans = self._records.orphans()
        if not orphans:
            return
        step.detail = "ends " + ", ".join(f"{record.name} ({record.pid})" for record in orphans)
        left = await self._records.end_orphans()
        if left:
            names = ", ".join(f"{record.name} ({record.pid})" for record in left)
            raise StackFailure(f"Processes of an earlier start do not end: {names}.", "End them by hand, then start.")

    def _tell_endpoints(self, *, postgres: tuple[str, int, str], valkey_url: str) -> None:
        """Listen for the API and tell where everything is. Raises StackFailure."""
        self.listener.open()
        host, port, database = postgres
        path = self._config.layout.endpoints_file
        try:
            Endpoints(
                postgres_host=host,
                postgres_port=port,
                postgres_database=database,
                valkey_url=valkey_url,
                api_url=self.listener.url,
            ).write(path)
        except OSError as error:
            raise place_unusable(path, error) from error

    async def _start_python(self, launch: Callable[[SupervisedProcess], None]) -> None:
        needed = []
        for process in self.python:
            launch(process)
            watch = asyncio.create_task(self._watch(process))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
            if process.plan.needed_for_ready:
                needed.append(watch)
        await asyncio.gather(*needed)

    async def _watch(self, process: SupervisedProcess) -> None:
        with contextlib.suppress(StackFailure), self.steps.running(process.name) as step:
            await settle(process, step)
            if process.plan.listener is not None and self.listener.moved:
                step.detail = f"port {self._config.api_port} is taken, listens on {self.listener.port}"


async def settle(process: SupervisedProcess, step: RunningStep) -> None:
    """Wait until it is ready, telling how it goes. Raises StackFailure when it has failed for good."""
    while not process.settled.is_set():
        step.detail = process.detail
        await first_of(process.settled.wait(), asyncio.sleep(LOOK_S))
    if process.state is ProcessState.FAILED:
        raise StackFailure(
            f"{process.name} does not start: {process.detail}", f"`askpro logs {process.name}` shows what it wrote."
        )
    step.detail = ""


async def gather_all(*waits: Coroutine[object, object, None] | asyncio.Task[None]) -> None:
    """Wait for all; when one raises, cancel the others and raise that."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
