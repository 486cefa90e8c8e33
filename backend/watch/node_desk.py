"""The node's desk: tells the database that this node works, and takes up what the node is told to do.

Every publisher runs one, elected or not. It works as the workers do, for the role that watches may change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from backend.domain.vocabulary import NodeOrder, OrderState
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS, connect
from backend.services.fleet import orders, registry
from backend.services.fleet.registry import NameTaken, Self
from backend.stack.client import ControlClient
from backend.stack.failures import StackFailure
from backend.stack.status import Phase
from backend.valkey.client import in_few_words
from backend.watch.connection import Connection, is_gone

if TYPE_CHECKING:
    from backend.stack.layout import Layout
    from backend.watch.snapshots import NodeRow

logger = logging.getLogger(__name__)

COMMAND_S = 3.0
"""Longest wait for an answer."""

ORDERS_S = 2.0
"""Longest pause between two looks for orders; a notice brings one at once."""

OWN = "publisher"
"""The process that the desk is part of: it is told last."""


class DeskTrouble(Exception):
    """The database does not answer, or another node has the name; the message says which."""


class NodeDesk:
    """One node's desk; `beat` and `take_orders` are called again and again."""

    def __init__(self, address: PostgresAddress, me: Self, control: Layout | None) -> None:
        self._address = address
        self.me = me
        self._control = ControlClient(control, timeout_s=2.0) if control is not None else None
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self.rung = asyncio.Event()
        """Set when there may be orders."""
        self._has_name = False
        """Whether the name is this home's: who only wants it obeys nothing that is meant for its owner."""

    async def beat(self, row: NodeRow) -> None:
        """Tell that the node works. Raises DeskTrouble."""
        told = msgspec.json.encode(row).decode()
        async with self._turn:
            try:
                await registry.beat(await self._connected(), self.me, told)
                self._has_name = True
            except NameTaken as taken:
                self._has_name = False
                raise DeskTrouble(str(taken)) from taken
            except DATABASE_ERRORS as error:
                raise self._failed(error) from error

    async def take_orders(self) -> None:
        """Wait for orders at most two seconds and obey those that wait. Raises DeskTrouble."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ORDERS_S):
                await self.rung.wait()
        self.rung.clear()
        if not self._has_name:
            return
        async with self._turn:
            try:
                connection = await self._connected()
                for taken in await orders.waiting(connection, self.me.node):
                    await self._obey(connection, taken)
            except DATABASE_ERRORS as error:
                raise self._failed(error) from error

    async def leave(self) -> None:
        """Say goodbye if the whole node stops, else that this process is back in a moment. Never raises."""
        if not self._has_name:
            return
        try:
            async with asyncio.timeout(COMMAND_S):
                phase = await self._phase()
                if phase is Phase.STOPPING:
                    await registry.leave(await self._connected(), self.me)
                elif phase is not None:
                    await registry.back_soon(await self._connected(), self.me)
        except DATABASE_ERRORS as error:
            logger.info("left without a goodbye: %s", in_few_words(error))

    async def aclose(self) -> None:
        """Drop the connections."""
        self.close()
        if self._control is not None:
            await self._control.close()

    def close(self) -> None:
        """Drop the database's connection without waiting for anybody; the next use opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._address, Role.WORKER, application="askpro-node", command_timeout=COMMAND_S
            )
            await self._connection.add_listener(orders.CHANNEL, self._heard)
            self.rung.set()
        return self._connection

    def _heard(self, _connection: object, _pid: int, _channel: str, node: object) -> None:
        if node == self.me.node:
            self.rung.set()

    def _failed(self, error: Exception) -> DeskTrouble:
        if is_gone(error):
            self.close()
        return DeskTrouble(in_few_words(error))

    async def _obey(self, connection: Connection, order: orders.Order) -> None:
        """Do what one order says; what became of it is written down before it can end this process."""
        if order.is_late:
            await orders.end(connection, order.id, OrderState.EXPIRED, "taken up too late to be obeyed")
            return
        try:
            processes = await self._named(order)
        except StackFailure as failure:
            await orders.end(connection, order.id, OrderState.FAILED, failure.message)
            return
        what = order.process or ("the node" if order.action is NodeOrder.STOP else "all processes")
        logger.info("%s %s, as %s said: %s", order.action, what, order.ordered_by, order.reason or "no reason given")
        await orders.end(connection, order.id, OrderState.DONE, "told to its supervisor")
        assert self._control is not None
        try:
            if order.action is NodeOrder.STOP:
                await self._control.stop()
            for name in processes:
                await self._control.restart(name)
        except StackFailure as failure:
            await orders.end(connection, order.id, OrderState.FAILED, failure.message)

    async def _named(self, order: orders.Order) -> list[str]:
        """The processes that are to start afresh, this one last. Raises StackFailure."""
        if self._control is None:
            raise StackFailure("This node has no supervisor.")
        there = [process.name for process in (await self._control.status()).processes]
        if order.action is NodeOrder.STOP:
            return []
        if order.process:
            if order.process not in there:
                raise StackFailure(f"There is no process {order.process} on {order.node}.")
            return [order.process]
        return sorted((name for name in there if name not in orders.STORES), key=lambda name: name == OWN)

    async def _phase(self) -> Phase | None:
        """How the node stands; None when its supervisor does not answer any more. Without one it stops with this."""
        if self._control is None:
            return Phase.STOPPING
        try:
            return (await self._control.status()).phase
        except StackFailure:
            return None
