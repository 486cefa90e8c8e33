"""The start of a node without servers of its own: is the other system there, does this node fit, is its name free?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import msgspec

from backend.stack.check_join import Question
from backend.stack.config import StackConfig
from backend.stack.failures import StackFailure
from backend.stack.join import Join
from backend.stack.logs import LogStore
from backend.stack.once import OneShot
from backend.stack.plans import python_environment
from backend.stack.prepare_database import Told
from backend.stack.process import SupervisedProcess
from backend.stack.records import ChildRecords
from backend.stack.spawn import ProcessSpec
from backend.stack.start import LEFTOVERS, Start

JOINING = "joining"

SLACK_S = 30.0
"""For the check itself, beyond the wait for the database."""


class JoinedStart(Start):
    """The start of a node on another system's stores."""

    def __init__(self, config: StackConfig, join: Join, *, logs: LogStore, records: ChildRecords) -> None:
        super().__init__(config, logs=logs, records=records)
        self._join = join
        self._make_python()
        self._name_steps([JOINING])

    async def run(self, launch: Callable[[SupervisedProcess], None]) -> None:
        """First whether it may, then everything at once."""
        with self.steps.running(LEFTOVERS) as step:
            await self._end_leftovers(step)
        with self.steps.running(JOINING) as step:
            step.detail = f"asks the database at {self._join.where}"
            step.detail = await self._check()
        join = self._join
        self._tell_endpoints(
            postgres=(join.postgres_host, join.postgres_port, join.postgres_database), valkey_url=join.valkey_url
        )
        await self._start_python(launch)

    async def _check(self) -> str:
        """What was found. Raises StackFailure when the node must not start."""
        config = self._config
        check = OneShot(
            ProcessSpec(
                name=JOINING,
                command=(sys.executable, "-m", "backend.stack.check_join"),
                environment=python_environment(config),
            ),
            errors=self._logs.log(JOINING).descriptor(),
        )
        question = Question(
            join=self._join,
            node=config.node,
            home=config.layout.home,
            version=config.version,
            wait_s=config.join_wait_s,
        )
        try:
            finished = await check.finish(msgspec.json.encode(question), limit_s=config.join_wait_s + SLACK_S)
        except TimeoutError:
            raise StackFailure(
                f"The database at {self._join.where} did not answer within {config.join_wait_s + SLACK_S:.0f} s.",
                "Is the system there well? `askpro status` on it says more.",
            ) from None
        finally:
            check.abandon()
        told = Told()
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.json.decode((finished.output.splitlines() or [b"{}"])[-1], type=Told)
        if finished.code != 0:
            raise StackFailure(
                told.error or f"Joining ended with exit code {finished.code}.",
                told.hint or f"`askpro logs {JOINING}` shows what it wrote.",
            )
        return told.detail
