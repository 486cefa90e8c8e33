"""The publisher: one process in the whole fleet that collects snapshots, so that any number of readers cost as one.

Every node runs one; an advisory lock elects. The others stand by, tell of their node, and take over within two
seconds when the elected one's connection ends. While PostgreSQL or Valkey is away the publisher goes on trying.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS
from backend.services.fleet.registry import BEAT_S, Self
from backend.stack.child import announce_ready, stop_event
from backend.stack.layout import Layout
from backend.valkey.client import ValkeyUnavailable, in_few_words, open_valkey
from backend.valkey.notices import CHANGED_CHANNEL, listen
from backend.valkey.store import SnapshotStore
from backend.watch.balancer import Balancer, BalancingFailed
from backend.watch.collect import Sources
from backend.watch.connection import Connection, open_watch_connection
from backend.watch.counter import Counter, CountingFailed
from backend.watch.lane import CollectionFailed, Lane
from backend.watch.node_desk import DeskTrouble, NodeDesk
from backend.watch.own_node import OwnNode
from backend.watch.schedule import NOTICED, noticed_rest_s, rest_s
from backend.watch.snapshots import DOMAINS, QueuesSnapshot, Snapshot
from backend.watch.timetable import Timetable, TimetableFailed

logger = logging.getLogger(__name__)

ELECTION_LOCK = 7_236_010
"""The advisory lock of the elected publisher, in the system's database."""

STAND_BY_S = 1.0
"""Time between two attempts to be elected, and between two proofs that the lock is still held."""

TIMETABLE_S = 1.0
"""Time between two looks at which periodic jobs are due."""

BALANCING_S = 1.0
"""Time between two looks at whether slots should follow the load."""

COUNTING_S = (0.1, 5.0)
"""Shortest pause between two pieces of counting, and the pause after one that failed."""

ORDERS_PAUSE_S = 0.2
"""Between two looks for orders; each waits for the bell itself."""

LAST_WAIT_S = 1.0
"""How long one who is no longer elected waits for what it began."""

USUAL = 3
"""Collections of which the shortest tells what one usually takes."""

RETRY_S = (0.1, 1.0)
"""First and longest pause between two attempts to reach PostgreSQL."""

APPLICATION = "askpro-publisher"


@dataclass(frozen=True, slots=True)
class PublisherConfig:
    """What a publisher needs to know."""

    postgres: PostgresAddress
    valkey_url: str
    node: str
    """Name of this machine in the fleet."""
    version: str
    control: Layout | None = None
    """Where this node's supervisor answers; None on a node without one."""
    is_joined: bool = False
    """Whether it works on another system's stores."""


async def run_publisher(config: PublisherConfig) -> None:
    """Publish until the process is told to stop. Says that it is ready once it published or stands by."""
    publisher = Publisher(config)
    stop = stop_event()
    running = asyncio.create_task(publisher.run(), name="publisher")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


class Publisher:
    """One publisher; `run` until cancelled."""

    def __init__(self, config: PublisherConfig, *, ready: Callable[[], None] = announce_ready) -> None:
        self._config = config
        self._ready = ready
        self._store = SnapshotStore(open_valkey(config.valkey_url, size=8))
        self._own = OwnNode(config.node, config.version, config.control)
        home = config.control.home if config.control is not None else ""
        me = Self(node=config.node, home=home, version=config.version, is_joined=config.is_joined)
        self._desk = NodeDesk(config.postgres, me, config.control)
        quick = self._lane()
        slow = self._lane()
        self._lanes = {domain: quick if domain in NOTICED else slow for domain in DOMAINS}
        self._timetable = Timetable(config.postgres, application=f"{APPLICATION}-timetable")
        self._counter = Counter(config.postgres, application=f"{APPLICATION}-counter")
        self._balancer = Balancer(config.postgres, application=f"{APPLICATION}-balancer", node=config.node)
        self._latest: dict[str, Snapshot] = {}
        self._took: dict[str, deque[float]] = {}
        self._wake = {domain: asyncio.Event() for domain in NOTICED}
        self._troubles: dict[str, str] = {}
        self.elected = asyncio.Event()
        """Set while this publisher is the elected one."""

    async def run(self) -> None:
        """Stand by, be elected, publish; for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._for_ever("node", self._tell_of_node, BEAT_S))
                tasks.create_task(self._for_ever("orders", self._desk.take_orders, ORDERS_PAUSE_S))
                tasks.create_task(self._for_ever("notices", self._hear_notices, 0.5))
                tasks.create_task(self._stand_for_election())
        finally:
            self.elected.clear()
            self._drop_connections()
            await self._desk.leave()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._desk.aclose()
                    await self._own.aclose()
                    await self._store.aclose()

    def _drop_connections(self) -> None:
        self._timetable.close()
        self._counter.close()
        self._balancer.close()
        for lane in self._lanes.values():
            lane.close()

    def _lane(self) -> Lane:
        return Lane(self._config.postgres, Role.WATCH, application=APPLICATION)

    async def _stand_for_election(self) -> None:
        pause = RETRY_S[0]
        while True:
            connection: Connection | None = None
            try:
                connection = await open_watch_connection(
                    self._config.postgres, Role.WATCH, application=f"{APPLICATION}-election"
                )
                pause = RETRY_S[0]
                self._over("election")
                while not await connection.fetchval("select pg_try_advisory_lock($1)", ELECTION_LOCK):
                    self._ready()
                    await asyncio.sleep(STAND_BY_S)
                await self._reign(connection)
            except DATABASE_ERRORS as error:
                self._trouble("election", in_few_words(error))
            finally:
                self.elected.clear()
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads load, guards nothing
            pause = min(2 * pause, RETRY_S[1])

    async def _reign(self, connection: Connection) -> None:
        """Publish while `connection` holds the lock; raises what ended that."""
        logger.info("elected as the publisher")
        await self._remember()
        loops = [asyncio.create_task(self._keep_publishing(domain), name=f"publish-{domain}") for domain in DOMAINS]
        loops.append(asyncio.create_task(self._keep_timetable(), name="timetable"))
        loops.append(asyncio.create_task(self._keep_counting(), name="counting"))
        loops.append(asyncio.create_task(self._keep_balance(), name="balance"))
        loops.append(asyncio.create_task(self._prove(connection), name="prove-election"))
        self.elected.set()
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Without their connections the loops end at once; asked politely they would wait for a dead link.
            self.elected.clear()
            self._drop_connections()
            for task in loops:
                task.cancel()
            await asyncio.wait(loops, timeout=LAST_WAIT_S)

    async def _prove(self, connection: Connection) -> None:
        """Ask for proof that the lock's connection lives; raises when it does not."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STAND_BY_S):
                    await ended.wait()
            await connection.fetchval("select 1")

    async def _remember(self) -> None:
        """Go on where the publisher before stopped, so that trends have no gap."""
        for domain in DOMAINS:
            try:
                stored = await self._store.get(domain)
            except ValkeyUnavailable:
                return
            if stored is not None and domain not in self._latest:
                self._latest[domain] = stored.snapshot

    async def _keep_publishing(self, domain: str) -> None:
        wake = self._wake.get(domain)
        due = 0.0
        while True:
            await self._until(due, wake)
            began = time.monotonic()
            if wake is not None:
                # Before the collection: what changes while it runs may be unseen by it and must bring another.
                wake.clear()
            took_s = await self._publish(domain)
            due = began + rest_s(domain, took_s)
            if wake is not None:
                await asyncio.sleep(began + noticed_rest_s(took_s) - time.monotonic())

    @staticmethod
    async def _until(due: float, wake: asyncio.Event | None) -> None:
        """Wait until `due` (monotonic), or until woken."""
        left = due - time.monotonic()
        if left <= 0:
            return
        if wake is None:
            await asyncio.sleep(left)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await wake.wait()

    async def _publish(self, domain: str) -> float:
        """Collect and publish once; how long that takes the database at its best lately, seconds."""
        sources = Sources(
            valkey=self._store.client if "valkey" not in self._troubles else None,
            previous=self._latest.get(domain),
            node=self._config.node,
        )
        if domain == "fleet":
            sources.own = self._own.row
        if domain == "business":
            sources.changes = self._own.changes
            sources.watching_ratio = self._own.watching_ratio()
        try:
            snapshot = await self._lanes[domain].collect(domain, sources)
        except CollectionFailed as error:
            self._trouble(domain, str(error))
            return 0.0
        self._over(domain)
        took_s = self._usually(domain, snapshot.took_ms / 1000.0)
        snapshot = msgspec.structs.replace(snapshot, due_s=rest_s(domain, took_s))
        self._latest[domain] = snapshot
        try:
            await self._store.put(snapshot)
        except ValkeyUnavailable as error:
            self._trouble("valkey", str(error))
        else:
            self._over("valkey")
            self._ready()
        return took_s

    def _usually(self, domain: str, took_s: float) -> float:
        """What a collection of this domain takes: the shortest of the last few, for one may be slow by chance."""
        lately = self._took.setdefault(domain, deque(maxlen=USUAL))
        lately.append(took_s)
        return min(lately)

    async def _keep_timetable(self) -> None:
        while True:
            try:
                await self._timetable.keep()
                self._over("timetable")
            except TimetableFailed as error:
                self._trouble("timetable", str(error))
            await asyncio.sleep(TIMETABLE_S)

    async def _keep_balance(self) -> None:
        while True:
            latest = self._latest.get("queues")
            try:
                await self._balancer.keep(latest if isinstance(latest, QueuesSnapshot) else None)
                self._over("balance")
            except BalancingFailed as error:
                self._trouble("balance", str(error))
            await asyncio.sleep(BALANCING_S)

    async def _keep_counting(self) -> None:
        while True:
            try:
                pause_s = max(COUNTING_S[0], await self._counter.keep())
                self._over("counting")
            except CountingFailed as error:
                pause_s = COUNTING_S[1]
                self._trouble("counting", str(error))
            await asyncio.sleep(pause_s)

    async def _tell_of_node(self) -> None:
        await self._desk.beat(await self._own.look())

    async def _hear_notices(self) -> None:
        async with contextlib.aclosing(listen(self._store.client, CHANGED_CHANNEL)) as messages:
            async for message in messages:
                self._over("notices")
                for domain in (message or "").split(","):
                    if domain in self._wake:
                        self._wake[domain].set()

    async def _for_ever(self, name: str, once: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Do it again and again, whatever the stores say."""
        while True:
            try:
                await once()
                self._over(name)
            except (ValkeyUnavailable, DeskTrouble) as error:
                self._trouble(name, str(error))
            await asyncio.sleep(pause_s)

    def _trouble(self, what: str, why: str) -> None:
        """Log a trouble when it begins, not each time."""
        if what not in self._troubles:
            logger.warning("%s: %s", what, why)
        self._troubles[what] = why

    def _over(self, what: str) -> None:
        """Log that a trouble is over."""
        if self._troubles.pop(what, None) is not None:
            logger.info("%s: well again", what)
