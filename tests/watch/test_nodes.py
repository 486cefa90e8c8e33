"""The register of nodes: one home for each name, who falls silent has vanished, orders reach whom they are for."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from backend.domain.vocabulary import NodeOrder, NodeState, OrderState, PauseKind
from backend.postgres.address import PostgresAddress, Role
from backend.services.fleet.orders import became, order
from backend.services.fleet.registry import NameTaken, Self, back_soon, beat, claim, forget, leave
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause
from backend.services.operating.refusals import NotPossible
from backend.services.operating.slots import scale
from backend.stack.control import Control, ControlServer
from backend.stack.layout import Layout
from backend.stack.status import Phase, ProcessState, ProcessStatus, Status
from backend.watch.collect import Sources
from backend.watch.collect.fleet import collect
from backend.watch.connection import Connection
from backend.watch.findings import find
from backend.watch.node_desk import DeskTrouble, NodeDesk
from backend.watch.nodes import NodeGauge
from backend.watch.own_node import process_rows
from backend.watch.snapshots import FleetSnapshot, NodeRow, ProcessRow
from tests.databases import OpenConnection, OwnConnection

ANNA = By("anna", "node-1")
N2 = Self(node="node-2", home="box:/two", version="0.1.0", is_joined=True)
WORKER = ProcessRow(name="worker-webhooks", pid=7, state="ready", rss_bytes=1, cpu_ratio=0.0, restarts=0, since=1.0)


@pytest.fixture
async def desk(open_connection: OpenConnection) -> OwnConnection:
    """Works on the register as publishers do."""
    return await open_connection(Role.WORKER)


@pytest.fixture
def row(tmp_path: Path) -> NodeRow:
    """What a node tells of itself."""
    return NodeGauge("node-2", "0.1.0", tmp_path).look((WORKER,))


def told(row: NodeRow) -> str:
    return msgspec.json.encode(row).decode()


async def fleet(watch: Connection) -> FleetSnapshot:
    return await collect(watch, Sources())


async def silent_for(desk: OwnConnection, node: str, seconds: float) -> None:
    """As if the node had not been heard of for so long."""
    await desk.execute("update nodes set seen_at = now() - make_interval(secs => $2) where node = $1", node, seconds)


async def test_a_node_is_in_the_fleet_with_what_it_tells_until_it_leaves(
    desk: OwnConnection, watch: Connection, row: NodeRow
) -> None:
    await claim(desk, N2)
    (claimed,) = (await fleet(watch)).nodes
    assert (claimed.node, claimed.state, claimed.processes) == ("node-2", NodeState.UP, ())

    await beat(desk, N2, told(row))
    (working,) = (await fleet(watch)).nodes
    assert (working.processes, working.home, working.is_joined) == ((WORKER,), "box:/two", True)
    assert working.memory_total_bytes == row.memory_total_bytes

    await leave(desk, N2)
    assert [node.state for node in (await fleet(watch)).nodes] == [NodeState.LEFT]


async def test_who_missed_three_beats_has_vanished_and_keeps_its_last_words(
    desk: OwnConnection, watch: Connection, row: NodeRow
) -> None:
    await beat(desk, N2, told(row))
    await silent_for(desk, "node-2", 2.0)
    assert (await fleet(watch)).nodes[0].state is NodeState.UP
    await silent_for(desk, "node-2", 7.0)
    (gone,) = (await fleet(watch)).nodes
    assert (gone.state, gone.processes) == (NodeState.VANISHED, (WORKER,))
    assert 7.0 <= gone.silent_s < 60.0

    await beat(desk, N2, told(row))
    assert (await fleet(watch)).nodes[0].state is NodeState.UP


async def test_a_node_whose_workers_beat_has_not_vanished_with_its_publisher(
    desk: OwnConnection, watch: Connection, row: NodeRow
) -> None:
    await beat(desk, N2, told(row))
    await desk.execute(
        "insert into workers (id, node, queue, pid, version, concurrency, heartbeat_at)"
        " values (uuidv7(), 'node-2', 'default', 1, '', 9, now() + interval '1 h')"
    )
    await silent_for(desk, "node-2", 20.0)
    snapshot = await fleet(watch)
    assert snapshot.nodes[0].state is NodeState.UP
    (text,) = (finding.text for finding in find({"fleet": snapshot}) if "publisher" in finding.text)
    assert re.fullmatch(r"its publisher is silent for [2-5]\d s: no order is taken up there", text)
    with pytest.raises(NameTaken):
        await claim(desk, replace(N2, home="shed:/two"))
    with pytest.raises(NotPossible, match="has not been heard of"):
        await order(desk, ANNA, "node-2", "", NodeOrder.RESTART)

    # One that starts afresh in good order is not missed meanwhile.
    await desk.execute("delete from workers")
    await back_soon(desk, N2)
    assert (await fleet(watch)).nodes[0].state is NodeState.UP


async def test_a_name_belongs_to_one_home_and_the_other_is_named_as_a_rival(
    desk: OwnConnection, watch: Connection, row: NodeRow
) -> None:
    await beat(desk, N2, told(row))
    other = replace(N2, home="shed:/two")
    with pytest.raises(NameTaken, match="node named node-2 already, at box:/two"):
        await claim(desk, other)
    with pytest.raises(NameTaken):
        await beat(desk, other, told(row))
    (owner,) = (await fleet(watch)).nodes
    assert (owner.home, owner.rival) == ("box:/two", "shed:/two")

    # The same home after a crash, and another one after the owner fell silent or left.
    await claim(desk, N2)
    await silent_for(desk, "node-2", 7.0)
    await claim(desk, other)
    assert (await fleet(watch)).nodes[0].home == "shed:/two"
    await leave(desk, other)
    await beat(desk, N2, told(row))
    (back,) = (await fleet(watch)).nodes
    assert (back.home, back.rival, back.state) == ("box:/two", "", NodeState.UP)


async def test_only_who_is_gone_is_forgotten(desk: OwnConnection, watch: Connection, row: NodeRow) -> None:
    await beat(desk, N2, told(row))
    with pytest.raises(NotPossible, match="node-2 works"):
        await forget(desk, ANNA, "node-2")
    await silent_for(desk, "node-2", 100.0)
    await pause(desk, ANNA, PauseKind.NODE, "node-2", reason="smoke")
    await scale(desk, ANNA, "default", 3, node="node-2", reason="")
    await scale(desk, ANNA, "default", 4, reason="")
    await forget(desk, ANNA, "node-2", reason="scrapped")
    assert (await fleet(watch)).nodes == ()
    assert await desk.fetchval("select count(*) from pauses where resumed_at is null") == 0, "the next is not drained"
    assert [row["node"] for row in await desk.fetch("select node from queue_slots")] == [""]
    with pytest.raises(NotPossible, match="no node node-2"):
        await forget(desk, ANNA, "node-2")
    assert await desk.fetchval("select reason from audit_log where action = 'node.forget'") == "scrapped"


async def test_a_drained_node_says_who_drained_it_and_why(desk: OwnConnection, watch: Connection, row: NodeRow) -> None:
    await beat(desk, N2, told(row))
    await desk.execute(
        "insert into pauses (kind, name, reason, paused_by) values ($1, 'node-2', 'new kernel', 'anna')",
        PauseKind.NODE.value,
    )
    (drained,) = (await fleet(watch)).nodes
    assert (drained.drained_by, drained.drain_reason) == ("anna", "new kernel")
    assert drained.drained_at is not None
    assert abs(drained.drained_at - time.time()) < 60


@pytest.mark.parametrize(
    ("process", "action", "silent_s", "why"),
    [
        ("worker-webhooks", NodeOrder.RESTART, 7.0, "has not been heard of"),
        ("worker-mail", NodeOrder.RESTART, 0.0, "no process worker-mail on node-2"),
    ],
)
async def test_an_order_that_nobody_would_take_up_is_refused(
    desk: OwnConnection, row: NodeRow, process: str, action: NodeOrder, silent_s: float, why: str
) -> None:
    with pytest.raises(NotPossible, match="no node node-2"):
        await order(desk, ANNA, "node-2", process, action)
    await beat(desk, N2, told(row))
    await silent_for(desk, "node-2", silent_s)
    with pytest.raises(NotPossible, match=why):
        await order(desk, ANNA, "node-2", process, action)


async def test_the_node_with_the_database_is_not_stopped_from_afar(desk: OwnConnection, row: NodeRow) -> None:
    await beat(desk, replace(N2, is_joined=False), told(row))
    with pytest.raises(NotPossible, match="holds the database"):
        await order(desk, ANNA, "node-2", "", NodeOrder.STOP)


class Supervisor:
    """A control socket that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def status(self) -> Status:
        names = ("api", "publisher", "worker-webhooks")
        processes = tuple(ProcessStatus(name=name, pid=1, state=ProcessState.READY) for name in names)
        return Status(
            ready=True, phase=Phase.READY, api_url="http://127.0.0.1:1", version="0.1.0", supervisor_pid=1, demo=False,
            started_at=0.0, processes=processes,
        )  # fmt: skip

    def restart(self, name: str) -> bool:
        self.told.append(name)
        return True

    def stop(self) -> None:
        self.told.append("stop")


@pytest.fixture
async def supervisor(short_layout: Layout) -> AsyncIterator[Supervisor]:
    """Answers on the layout's control socket."""
    supervisor = Supervisor()
    control = Control(status=supervisor.status, stop=supervisor.stop, restart=supervisor.restart)
    server = ControlServer(short_layout.control_socket, control)
    await server.open()
    yield supervisor
    await server.close()


@pytest.fixture
def short_layout(engines_directory: Path) -> Layout:
    """A layout whose sockets have short paths."""
    layout = Layout.from_environment({"ASKPRO_HOME": str(engines_directory / "n2")})
    layout.run.mkdir(parents=True, exist_ok=True)
    return layout


async def test_who_only_wants_a_name_obeys_nothing_that_is_meant_for_its_owner(
    desk: OwnConnection, database: PostgresAddress, row: NodeRow, supervisor: Supervisor, short_layout: Layout
) -> None:
    rival = NodeDesk(database, replace(N2, home="shed:/two"), short_layout)
    try:
        await beat(desk, N2, told(row))
        number = await order(desk, ANNA, "node-2", "", NodeOrder.RESTART)
        with pytest.raises(DeskTrouble, match="already, at box:/two"):
            await rival.beat(row)
        await rival.take_orders()
        waits = await became(desk, number)
        assert waits is not None
        assert (waits.state, supervisor.told) == (OrderState.WAITING, [])
    finally:
        await rival.aclose()


async def test_whatever_a_process_said_before_it_ended_can_be_told(desk: OwnConnection, watch: Connection) -> None:
    failed = ProcessStatus(name="api", pid=None, state=ProcessState.FAILED, detail='died: \0 \\u0000 "x"')
    status = msgspec.structs.replace(Supervisor().status(), processes=(failed,))
    gauge = NodeGauge("node-2", "0.1.0", Path("/"))
    await beat(desk, N2, told(gauge.look(process_rows(status))))
    assert (await fleet(watch)).nodes[0].processes[0].detail == 'died:   \\u0000 "x"'


async def test_a_node_obeys_its_own_orders_and_says_what_became_of_them(
    desk: OwnConnection, database: PostgresAddress, row: NodeRow, supervisor: Supervisor, short_layout: Layout
) -> None:
    nodes_desk = NodeDesk(database, N2, short_layout)
    try:
        await nodes_desk.beat(row)
        one = await order(desk, ANNA, "node-2", "worker-webhooks", NodeOrder.RESTART, reason="leaks")
        await beat(desk, replace(N2, node="node-3", home="x"), told(row))
        await silent_for(desk, "node-2", -3_600.0)  # whatever the orders take
        others = await order(desk, ANNA, "node-3", "", NodeOrder.RESTART)
        await nodes_desk.take_orders()
        assert supervisor.told == ["worker-webhooks"]
        ended = await became(desk, one)
        assert ended is not None
        assert ended.state is OrderState.DONE
        waits = await became(desk, others)
        assert waits is not None
        assert waits.state is OrderState.WAITING

        # All of them, the desk's own process last; then the whole node. The bell rings without anybody's waiting.
        everything = await order(desk, ANNA, "node-2", "", NodeOrder.RESTART)
        async with asyncio.timeout(10):
            await nodes_desk.rung.wait()
        await nodes_desk.take_orders()
        assert supervisor.told == ["worker-webhooks", "api", "worker-webhooks", "publisher"]
        late = await order(desk, ANNA, "node-2", "", NodeOrder.STOP)
        await desk.execute("update node_orders set ordered_at = now() - interval '1 min' where id = $1", late)
        await nodes_desk.take_orders()
        gone_by = await became(desk, late)
        assert gone_by is not None
        assert gone_by.state is OrderState.EXPIRED
        await order(desk, ANNA, "node-2", "", NodeOrder.STOP)
        await nodes_desk.take_orders()
        assert supervisor.told[-1] == "stop"
        assert everything > one
        said = await desk.fetch("select actor, action, subject, reason from audit_log order by id limit 1")
        assert [tuple(each) for each in said] == [("anna", "node.restart", "node-2 worker-webhooks", "leaks")]
    finally:
        await nodes_desk.aclose()
