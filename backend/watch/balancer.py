"""The balancer: the elected publisher lets slots follow the load, and writes down which pauses ended by themselves.

What to change is decided by `backend/domain/balancing.py` on what the latest snapshot says; here it is read out of the
snapshot and written to the database, where every worker hears of it. A person's word always wins, also one that comes
while a shift is on its way.
"""

from __future__ import annotations

import logging
import time

from backend.domain.balancing import COOLDOWN_S, UNKNOWN_RUN_S, Load, Shift, decide, loads_by_node
from backend.domain.vocabulary import BreakerState, PauseKind
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS, connect
from backend.queue.policies import Policies, in_force
from backend.services.operating.pauses import end_due
from backend.services.operating.slots import shift
from backend.valkey.client import in_few_words
from backend.watch.collect.queue_control import paused_now
from backend.watch.connection import Connection, is_gone
from backend.watch.snapshots import JobTypeRow, QueuesSnapshot

logger = logging.getLogger(__name__)

COMMAND_S = 2.0
"""Longest wait for an answer."""

FRESH_S = 15.0
"""Nothing is decided on a snapshot older than this."""


class BalancingFailed(Exception):
    """The database did not take a decision; the message says why, in a few words."""


class Balancer:
    """Decides and writes on one connection with the worker's role: the role that watches may change nothing."""

    def __init__(
        self, address: PostgresAddress, *, application: str, node: str = "", policies: Policies | None = None
    ) -> None:
        self._address = address
        self._application = application
        self._node = node
        self._policies = policies or in_force()
        self._connection: Connection | None = None
        self._shifted: dict[str, float] = {}
        """When slots were last shifted on a node, Unix seconds."""

    async def keep(self, snapshot: QueuesSnapshot | None, now: float | None = None) -> tuple[Shift, ...]:
        """Do what is due by this snapshot at `now` (Unix seconds); what was changed.

        Raises BalancingFailed; the next call tries again.
        """
        moment = time.time() if now is None else now
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(
                    self._address, Role.WORKER, application=self._application, command_timeout=COMMAND_S
                )
            await self._end_pauses(self._connection)
            if snapshot is None or not snapshot.is_balancing or moment - snapshot.taken_at > FRESH_S:
                return ()
            done: list[Shift] = []
            for node, loads in loads_by_node(loads_of(snapshot, self._policies)).items():
                # Only what is seen after the last shift tells whether it was enough.
                if snapshot.taken_at < self._shifted.get(node, 0.0) + COOLDOWN_S:
                    continue
                if (shifts := decide(loads)) and await self._write(self._connection, shifts):
                    self._shifted[node] = moment
                    done += shifts
            return tuple(done)
        except DATABASE_ERRORS as error:
            if is_gone(error):
                self.close()
            raise BalancingFailed(in_few_words(error)) from error

    async def _end_pauses(self, connection: Connection) -> None:
        if await connection.fetchval("select exists (select from pauses where resumed_at is null and until <= now())"):
            async with connection.transaction():
                for ended in await end_due(connection, node=self._node):
                    logger.info("the pause of %s %s is over", ended.pause.kind, ended.pause.name)

    async def _write(self, connection: Connection, shifts: tuple[Shift, ...]) -> bool:
        transaction = connection.transaction()
        await transaction.start()
        try:
            is_done = await shift(connection, shifts)
        except BaseException:
            await transaction.rollback()
            raise
        if not is_done:
            await transaction.rollback()
            return False
        await transaction.commit()
        logger.info("%s", shifts[0].why)
        return True

    def close(self) -> None:
        """Drop the connection without waiting for anybody."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def loads_of(snapshot: QueuesSnapshot, policies: Policies) -> tuple[Load, ...]:
    """Every queue on every node as the balancer sees it; a drained node is left out, and does no share of the work."""
    held_back = {(row.kind, row.name) for row in snapshot.pauses}
    waiting = [kind for kind in snapshot.job_types if _may_start(kind, snapshot, policies)]
    working = [row for row in snapshot.slots if (PauseKind.NODE, row.node) not in held_back]
    total: dict[str, int] = {}
    for row in working:
        total[row.queue] = total.get(row.queue, 0) + row.slots
    found = []
    for row in working:
        kinds = [kind for kind in waiting if kind.queue == row.queue]
        share = row.slots / total[row.queue] if total[row.queue] else 1.0
        found.append(
            Load(
                queue=row.queue,
                node=row.node,
                slots=row.slots,
                floor=row.floor,
                base=min(max(row.base, row.floor), row.ceiling),
                ceiling=row.ceiling,
                work_s=share * sum(kind.ready * _run_s(kind) for kind in kinds),
                ready=sum(kind.ready for kind in kinds),
                is_fixed=row.is_pinned or (PauseKind.QUEUE, row.queue) in held_back,
            )
        )
    return tuple(found)


def _run_s(kind: JobTypeRow) -> float:
    return UNKNOWN_RUN_S if kind.run_p50_s is None else kind.run_p50_s


def _may_start(kind: JobTypeRow, snapshot: QueuesSnapshot, policies: Policies) -> bool:
    """More slots are of no use to jobs whose type or provider is paused, or whose provider does not answer."""
    paused = paused_now(snapshot.pauses)
    if kind.entrypoint in paused[PauseKind.JOB_TYPE]:
        return False
    try:
        provider = policies.job(kind.entrypoint).provider
    except (ValueError, KeyError):
        return True
    if provider is None:
        return True
    silent = {row.provider for row in snapshot.providers if row.breaker == BreakerState.OPEN}
    return provider.value not in paused[PauseKind.PROVIDER] | silent
