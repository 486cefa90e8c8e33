"""The start of a system, step by step; what can happen at the same time does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine

import msgspec

from backend.stack.config import StackConfig
from backend.stack.credentials import SUPERUSER
from backend.stack.endpoints import Endpoints
from backend.stack.exits import first_of
from backend.stack.failures import StackFailure, place_unusable
from backend.stack.listener import Listener
from backend.stack.logs import LogStore
from backend.stack.once import OneShot
from backend.stack.plans import postgres_plan, python_environment, python_plans, valkey_plan
from backend.stack.postgres_server import PostgresServer
from backend.stack.prepare_database import DATABASE, Order, Told
from backend.stack.privileges import remove_abandoned_homes, service_account
from backend.stack.process import ProcessPlan, SupervisedProcess
from backend.stack.records import ChildRecords
from backend.stack.spawn import ProcessSpec
from backend.stack.status import ProcessState
from backend.stack.steps import RunningStep, Steps
from backend.stack.valkey_server import ValkeyServer

LEFTOVERS = "leftovers"
FILES = "database files"
SCHEMA = "schema"

SCHEMA_LIMIT_S = 900.0
"""For roles and migrations; a migration of much data may take long."""

OWNER_LIMIT_S = 15.0
"""For a PostgreSQL that somebody else runs on the data directory to go away."""

LOOK_S = 0.1


class Startup:
    """One start. Makes the processes' objects; the supervisor runs and ends them."""

    def __init__(
        self,
        config: StackConfig,
        *,
        passwords: dict[str, str],
        new_superuser: bool,
        logs: LogStore,
        records: ChildRecords,
    ) -> None:
        """`new_superuser`: the administrator's password was made just now, so an existing database has another."""
        self._config = config
        self._logs = logs
        self._records = records
        self._passwords = passwords
        self._new_superuser = new_superuser
        self._postgres_server = PostgresServer(config.layout, passwords[SUPERUSER], settings=config.postgres)
        self._valkey_server = ValkeyServer(config.layout, settings=config.valkey)
        self.listener = Listener(config.api_host, config.api_port, config.api_port_tries)
        self.postgres = self._process(postgres_plan(self._postgres_server))
        self.valkey = self._process(valkey_plan(self._valkey_server))
        self.python = tuple(
            self._process(plan, requires=(self.postgres,)) for plan in python_plans(config, self.listener)
        )
        names = [LEFTOVERS, FILES, self.postgres.name, SCHEMA, self.valkey.name, *(one.name for one in self.python)]
        self.steps = Steps(names)
        self._watches: set[asyncio.Task[None]] = set()

    def _process(self, plan: ProcessPlan, *, requires: tuple[SupervisedProcess, ...] = ()) -> SupervisedProcess:
        return SupervisedProcess(plan, log=self._logs.log(plan.name), records=self._records, requires=requires)

    @property
    def processes(self) -> tuple[SupervisedProcess, ...]:
        """All of them, in the order of their start."""
        return (self.postgres, self.valkey, *self.python)

    async def run(self, launch: Callable[[SupervisedProcess], None]) -> None:
        """Bring everything up; `launch` begins to supervise a process.

        Returns when every process that readiness needs is ready or has failed for good; the steps tell which.
        Raises StackFailure when one fails that all others need.
        """
        with self.steps.running(LEFTOVERS) as step:
            await self._end_leftovers(step)
        schema = OneShot(
            ProcessSpec(
                name=SCHEMA,
                command=(sys.executable, "-m", "backend.stack.prepare_database"),
                environment=python_environment(self._config),
            ),
            errors=self._logs.log(SCHEMA).descriptor(),
        )
        try:
            await gather_all(self._start_valkey(launch), self._start_database(launch, schema))
        finally:
            schema.abandon()
        self._open_listener()
        await self._start_python(launch)

    async def _end_leftovers(self, step: RunningStep) -> None:
        if service_account() is not None:
            # Nothing waits for it: it may delete much.
            self._tidying = asyncio.create_task(asyncio.to_thread(remove_abandoned_homes))
        orphans = self._records.orphans()
        if not orphans:
            return
        step.detail = "ends " + ", ".join(f"{record.name} ({record.pid})" for record in orphans)
        left = await self._records.end_orphans()
        if left:
            names = ", ".join(f"{record.name} ({record.pid})" for record in left)
            raise StackFailure(f"Processes of an earlier start do not end: {names}.", "End them by hand, then start.")

    async def _start_valkey(self, launch: Callable[[SupervisedProcess], None]) -> None:
        with self.steps.running(self.valkey.name) as step:
            self._valkey_server.initialise()
            launch(self.valkey)
            await _settle(self.valkey, step)

    async def _start_database(self, launch: Callable[[SupervisedProcess], None], schema: OneShot) -> None:
        server = self._postgres_server
        with self.steps.running(FILES) as step:
            server.prepare()
            existed = server.is_initialised
            step.detail = "found" if existed else "being created"
            await self._wait_for_owner(step)
            await asyncio.to_thread(server.initialise)
            if existed and self._new_superuser:
                await asyncio.to_thread(server.set_superuser_password)
            step.detail = "found" if existed else "created"
        with self.steps.running(self.postgres.name) as step:
            launch(self.postgres)
            await _settle(self.postgres, step)
        with self.steps.running(SCHEMA) as step:
            step.detail = await self._prepare(schema)

    async def _wait_for_owner(self, step: RunningStep) -> None:
        """Never a second server on one data directory."""
        end = time.monotonic() + OWNER_LIMIT_S
        while (pid := self._postgres_server.owner()) is not None:
            if time.monotonic() > end:
                raise StackFailure(
                    f"Another PostgreSQL (process {pid}) runs on {self._postgres_server.data}.",
                    f"Stop it: kill -INT {pid}",
                )
            step.detail = f"waits for the end of process {pid}"
            await asyncio.sleep(LOOK_S)

    async def _prepare(self, schema: OneShot) -> str:
        address = self._postgres_server.superuser
        order = Order(
            host=address.host,
            port=address.port,
            superuser_password=self._passwords[SUPERUSER],
            passwords={name: word for name, word in self._passwords.items() if name != SUPERUSER},
        )
        try:
            finished = await schema.finish(msgspec.json.encode(order), limit_s=SCHEMA_LIMIT_S)
        except TimeoutError:
            raise StackFailure(
                f"Setting up the schema took longer than {SCHEMA_LIMIT_S:.0f} s.", "`askpro logs postgres` may say why."
            ) from None
        told = Told()
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.json.decode((finished.output.splitlines() or [b"{}"])[-1], type=Told)
        if finished.code != 0:
            raise StackFailure(
                told.error or f"Setting up the schema ended with exit code {finished.code}.",
                told.hint or f"`askpro logs {SCHEMA}` shows what it wrote.",
            )
        return told.detail

    def _open_listener(self) -> None:
        """Listen for the API and tell where everything is. Raises StackFailure."""
        self.listener.open()
        path = self._config.layout.endpoints_file
        try:
            Endpoints(
                postgres_host=str(self._postgres_server.sockets),
                postgres_database=DATABASE,
                valkey_url=self._valkey_server.url,
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
            await _settle(process, step)
            if process.plan.listener is not None and self.listener.moved:
                step.detail = f"port {self._config.api_port} is taken, listens on {self.listener.port}"


async def _settle(process: SupervisedProcess, step: RunningStep) -> None:
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
