"""The start of a system with servers of its own, step by step; what can happen at the same time does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable

import msgspec

from backend.stack.config import StackConfig
from backend.stack.credentials import SUPERUSER
from backend.stack.failures import StackFailure
from backend.stack.logs import LogStore
from backend.stack.once import OneShot
from backend.stack.plans import postgres_plan, python_environment, valkey_plan
from backend.stack.postgres_server import PORT, PostgresServer
from backend.stack.prepare_database import DATABASE, Order, Told
from backend.stack.privileges import remove_abandoned_homes, service_account
from backend.stack.process import SupervisedProcess
from backend.stack.records import ChildRecords
from backend.stack.spawn import ProcessSpec
from backend.stack.start import LEFTOVERS, LOOK_S, Start, gather_all, settle
from backend.stack.steps import RunningStep
from backend.stack.valkey_server import ValkeyServer

FILES = "database files"
SCHEMA = "schema"

SCHEMA_LIMIT_S = 900.0
"""For roles and migrations; a migration of much data may take long."""

OWNER_LIMIT_S = 15.0
"""For a PostgreSQL that somebody else runs on the data directory to go away."""


class Startup(Start):
    """The start of a system with servers of its own."""

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
        super().__init__(config, logs=logs, records=records)
        self._passwords = passwords
        self._new_superuser = new_superuser
        self._postgres_server = PostgresServer(config.layout, passwords[SUPERUSER], settings=config.postgres)
        self._valkey_server = ValkeyServer(config.layout, settings=config.valkey)
        self.postgres = self._process(postgres_plan(self._postgres_server))
        self.valkey = self._process(valkey_plan(self._valkey_server))
        self._make_python(requires=(self.postgres,))
        self._name_steps([FILES, self.postgres.name, SCHEMA, self.valkey.name])

    @property
    def stores(self) -> tuple[SupervisedProcess, ...]:
        """PostgreSQL and Valkey."""
        return (self.postgres, self.valkey)

    async def run(self, launch: Callable[[SupervisedProcess], None]) -> None:
        """Servers first, then what needs them."""
        with self.steps.running(LEFTOVERS) as step:
            if service_account() is not None:
                # Nothing waits for it: it may delete much.
                self._tidying = asyncio.create_task(asyncio.to_thread(remove_abandoned_homes))
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
        self._tell_endpoints(
            postgres=(str(self._postgres_server.sockets), PORT, DATABASE), valkey_url=self._valkey_server.url
        )
        await self._start_python(launch)

    async def _start_valkey(self, launch: Callable[[SupervisedProcess], None]) -> None:
        with self.steps.running(self.valkey.name) as step:
            self._valkey_server.initialise()
            launch(self.valkey)
            await settle(self.valkey, step)

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
            await settle(self.postgres, step)
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
