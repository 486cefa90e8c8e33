"""Three homes on one database: seen and told from one of them; one vanishes, and the others do its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from askpro_console.joining import accept
from askpro_console.system import System
from backend.domain.vocabulary import NodeState
from backend.postgres.address import PostgresAddress, Role
from backend.queue.port import JobQueue, NewJob
from backend.services.fleet.registry import BEAT_S, Self, beat
from backend.stack.check_join import Question, Unfit, check
from backend.stack.client import follow_start, is_running, start_detached, take_down
from backend.stack.endpoints import Endpoints
from backend.stack.join import Join, read_join
from backend.stack.layout import Layout
from backend.stack.status import Status
from backend.watch.findings import find
from backend.watch.lane import Lane
from backend.watch.snapshots import FleetSnapshot
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection
from tests.home import Shell
from tests.queue.scenes import until
from tests.stack.systems import LIMIT_S, SmallSystem
from tests.watch.links import Link, linked

COMMAND = (sys.executable, "-m", "tests.stack.node_program", "supervisor")


def join_of(database: PostgresAddress, valkey_url: str, **changes: object) -> Join:
    """What a node needs to join this test's database, but for the changes."""
    return msgspec.structs.replace(
        Join(
            postgres_host=database.host,
            postgres_port=database.port,
            postgres_database=database.database,
            valkey_url=valkey_url,
            passwords=dict(database.passwords),
        ),
        **changes,
    )


class Node(SmallSystem):
    """One home that joined."""

    def __init__(self, base: Path, name: str) -> None:
        super().__init__(
            base / name,
            {"ASKPRO_STACK_NODE": name, "ASKPRO_SECRETS_KEYRING": "off", "ASKPRO_API_PORT": "0", "ASKPRO_PROFILE": ""},
        )
        self.name = name

    async def start(self, *, limit_s: float = LIMIT_S) -> Status:
        """Start it and follow the start to its end."""
        self.supervisor = start_detached(self.layout, command=COMMAND, environment=self.environment)
        told = [status async for status in follow_start(self.layout, self.supervisor, limit_s=limit_s)]
        return told[-1]

    async def pull_the_plug(self) -> None:
        """Kill everything at once, as when the machine loses its power."""
        status = await self.status()
        for pid in (status.supervisor_pid, *(process.pid for process in status.processes)):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    async def away(self) -> None:
        """Stop it if it runs, and whatever is left of it."""
        if is_running(self.layout):
            async for _ in take_down(self.layout, limit_s=LIMIT_S):
                pass
        for process in self.living():
            with contextlib.suppress(Exception):
                process.kill()
        if self.supervisor is not None:
            self.supervisor.wait(10)


@pytest.fixture
async def wire(database: PostgresAddress) -> AsyncIterator[Link]:
    """The second node's way to the database: over TCP, and it can be cut."""
    async with linked(None, Path(database.host) / f".s.PGSQL.{database.port}") as link:
        yield link


@pytest.fixture
async def nodes(
    database: PostgresAddress,
    valkey_url: str,
    wire: Link,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[list[Node]]:
    """Three nodes that joined by an invitation, ready; this process is the console of the first."""
    base = Path(tempfile.mkdtemp(prefix="askpro-"))
    made = [Node(base, f"node-{number}") for number in (1, 2, 3)]
    try:
        host = _inviting_home(base / "host", database, valkey_url)
        for name, value in host.items():
            monkeypatch.setenv(name, value)
        near, far = base / "near", base / "far"
        askpro, place = Shell(capsys, "node"), f"127.0.0.1:{wire.port}"
        keys = {near: await askpro.read("invite", str(near))}
        keys[far] = await askpro.read("invite", str(far), "--postgres", place)
        for node in made:
            file = far if node.name == "node-2" else near
            told = msgspec.convert(keys[file], dict[str, str])
            accept(System.load({**node.environment, "ASKPRO_SECRET_JOIN_KEY": told["key"]}), file, input)
            assert read_join(node.layout.join_file) is not None
        statuses = await asyncio.gather(*(node.start() for node in made))
        assert [status.ready for status in statuses] == [True] * 3, statuses
        for name, value in made[0].environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        yield made
    finally:
        await asyncio.gather(*(node.away() for node in made), return_exceptions=True)
        shutil.rmtree(base, ignore_errors=True)


def _inviting_home(home: Path, database: PostgresAddress, valkey_url: str) -> dict[str, str]:
    """A home as a running system with these stores leaves it; the environment that points at it."""
    environment = {"ASKPRO_HOME": str(home), "ASKPRO_SECRETS_KEYRING": "off", "ASKPRO_QUEUES_WEBHOOKS_TIMEOUT_S": "25"}
    layout = Layout.from_environment(environment)
    for directory in (layout.run, layout.data):
        directory.mkdir(parents=True)
    layout.credentials_file.write_text(json.dumps(dict(database.passwords)))
    Endpoints(
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_database=database.database,
        valkey_url=valkey_url,
        api_url="http://127.0.0.1:1",
    ).write(layout.endpoints_file)
    return environment


async def fleet_of(database: PostgresAddress) -> FleetSnapshot:
    """The fleet as a console sees it now."""
    lane = Lane(database, Role.CONSOLE, application="test")
    try:
        snapshot = await lane.collect("fleet")
    finally:
        lane.close()
    assert isinstance(snapshot, FleetSnapshot)
    return snapshot


@pytest.mark.timeout(300)
async def test_three_homes_work_as_one_fleet_and_two_go_on_when_one_loses_its_power(
    nodes: list[Node],
    wire: Link,
    database: PostgresAddress,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    askpro, worker = Shell(capsys, "node"), await open_connection(Role.WORKER)
    await _all_are_seen(askpro, database, nodes)

    # Told from the first: drain the others, so that the third has the job.
    await askpro("drain", "node-1", "--yes", "--reason", "look at the third")
    await askpro("drain", "node-2", "--yes")

    async def drained() -> bool:
        return bool(await worker.fetchval("select count(*) = 2 from workers where concurrency = 0"))

    await until(drained, "the others take nothing more")
    before = (await nodes[1].process("worker-webhooks")).pid
    await askpro("restart", "node-2", "worker-webhooks", "--yes")

    async def restarted() -> bool:
        process = await nodes[1].process("worker-webhooks")
        return process.pid not in {None, before} and process.state == "ready"

    await until(restarted, "the second's worker starts afresh")
    await askpro("scale", "node-3", "webhooks", "12", "--yes")

    async def scaled() -> bool:
        slots: str = await worker.fetchval("select in_force ->> 'slots' from workers where node = 'node-3'")
        return slots == "12"

    await until(scaled, "the third's worker has 12 slots")
    job, lock = await _job_in_work(worker, await superuser_connection())

    async def in_work() -> bool:
        return "node-3" in await _ran_on(worker, job)

    await until(in_work, "the third has the job")
    await nodes[2].pull_the_plug()
    await lock.rollback()

    # Time passes: the node misses its beats, and the job's lease is over.
    await _third_is_missed(worker, database)
    await worker.execute("update pgqueuer set heartbeat = heartbeat - interval '1 min' where id = $1", job)
    fleet = await fleet_of(database)
    assert any(finding.subject == "node-3" and "vanished" in finding.text for finding in find({"fleet": fleet}))
    await askpro("resume", "node-1", "--yes")

    async def elsewhere() -> bool:
        ended = "select count(*) from job_runs where job_id = $1 and ended_at is not null"
        return "node-1" in await _ran_on(worker, job) and await worker.fetchval(ended, job) > 0

    await until(elsewhere, "the first does the job")
    assert "has not been heard of" in await askpro("restart", "node-3", "--yes", code=1)

    await _a_node_without_its_network_comes_back(wire, worker, database)

    # An order from afar takes a node down in good order: it says goodbye.
    await askpro("stop", "node-2", "--yes")

    async def left() -> bool:
        return (await fleet_of(database)).nodes[1].state is NodeState.LEFT

    await until(left, "the second says goodbye")
    actions = await worker.fetch("select action from audit_log order by id")
    told = [row["action"] for row in actions if row["action"].startswith("node.")]
    assert told == [
        "node.invite",
        "node.invite",
        "node.pause",
        "node.pause",
        "node.restart",
        "node.resume",
        "node.stop",
    ]


async def _third_is_missed(worker: OwnConnection, database: PostgresAddress) -> None:
    """Until the third node has vanished and the others stand there as up; they may be slow to beat meanwhile."""

    async def only_the_third() -> bool:
        await _seconds_pass(worker, "node-3")
        states = [node.state for node in (await fleet_of(database)).nodes]
        return states == [NodeState.UP, NodeState.UP, NodeState.VANISHED]

    await until(only_the_third, "the third is missed")


async def _all_are_seen(askpro: Shell, database: PostgresAddress, nodes: list[Node]) -> None:
    expected = [(node.name, "up", True) for node in nodes]

    async def listed() -> bool:
        told = await askpro.read("ls")
        assert isinstance(told, list)
        return [(one["node"], one["state"], one["is_joined"]) for one in told] == expected

    async def have_workers() -> bool:
        workers = (await fleet_of(database)).workers
        return sorted(worker.node for worker in workers) == ["node-1", "node-2", "node-3"]

    await until(listed, "all are listed as up")
    await until(have_workers, "each has its worker")

    async def told() -> bool:
        return all(
            {process.name for process in node.processes} == {"api", "worker-webhooks", "publisher"}
            for node in (await fleet_of(database)).nodes
        )

    await until(told, "each tells of its processes")
    # What the inviting system set holds on the nodes as well, and no node can do what needs the owner's roles.
    joined = System.load(nodes[0].environment)
    assert joined.loaded.policies.job("webhooks.retell_call").timeout_s == 25.0
    assert Role.SETUP.value not in joined.passwords()


async def _a_node_without_its_network_comes_back(wire: Link, worker: OwnConnection, database: PostgresAddress) -> None:
    async def tells_again() -> bool:
        second = (await fleet_of(database)).nodes[1]
        return second.state is NodeState.UP and second.untold_s < BEAT_S

    async def missed() -> bool:
        # What was on its way when the wire was cut may still arrive.
        await _seconds_pass(worker, "node-2")
        return (await fleet_of(database)).nodes[1].state is NodeState.VANISHED

    await wire.cut()
    await until(missed, "the second is missed")
    await wire.mend()
    await until(tells_again, "the second comes back by itself")


async def _seconds_pass(worker: OwnConnection, node: str) -> None:
    """As if a node that says nothing any more had been silent for seven seconds."""
    await worker.execute("update nodes set seen_at = now() - interval '7 s' where node = $1", node)
    await worker.execute("update workers set heartbeat_at = now() - interval '7 s' where node = $1", node)


async def _job_in_work(worker: OwnConnection, superuser: OwnConnection) -> tuple[int, asyncpg.transaction.Transaction]:
    """A job that whoever takes it cannot end before the transaction is over."""
    lock = superuser.transaction()
    await lock.start()
    await superuser.execute("lock table askpro.webhook_inbox in access exclusive mode")
    payload = json.dumps({"inbox_id": str(uuid4()), "subject": "call-1"}).encode()
    (job,) = await JobQueue().enqueue(worker, [NewJob("webhooks.retell_call", payload, uuid4())])
    assert job is not None
    return job, lock


async def _ran_on(worker: OwnConnection, job: int) -> list[str]:
    rows = await worker.fetch(
        "select w.node from job_runs r join workers w on w.id = r.worker_id where r.job_id = $1", job
    )
    return [row["node"] for row in rows]


# What keeps a node from starting -------------------------------------------------------------------------------------


async def refusal(join: Join, name: str = "node-9", wait_s: float = 0.0) -> Unfit:
    """Why a node of this name must not start."""
    with pytest.raises(Unfit) as unfit:
        await check(Question(join=join, node=name, home="box:/nine", version="0.1.0", wait_s=wait_s))
    return unfit.value


async def test_a_node_that_fits_takes_its_name_and_one_that_does_not_says_why(
    database: PostgresAddress,
    valkey_url: str,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
) -> None:
    join = join_of(database, valkey_url)
    worker, superuser = await open_connection(Role.WORKER), await superuser_connection()
    me = Self(node="node-9", home="shed:/nine", version="0.1.0", is_joined=True)
    await beat(worker, me, "{}")
    taken = await refusal(join)
    assert "a node named node-9 already, at shed:/nine" in str(taken)
    assert "stack.node" in taken.hint
    # One that missed beats may be gone for good: that is waited for.
    await worker.execute("update nodes set seen_at = now() - interval '5.8 s'")
    await check(Question(join=join, node="node-9", home="box:/other", version="0.1.0", wait_s=20.0))
    await worker.execute("update nodes set left_at = now()")
    found = await check(Question(join=join, node="node-9", home="box:/nine", version="0.1.0", wait_s=0.0))
    assert found == f"found at {database.host}"
    assert "Valkey does not answer" in await check(
        Question(
            join=msgspec.structs.replace(join, valkey_url="unix:///nowhere"), node="node-9", home="box:/nine",
            version="0.1.0", wait_s=0.0,
        )
    )  # fmt: skip

    passwords = {**join.passwords, Role.WORKER.value: "wrong"}
    assert "refuses this node's passwords" in str(await refusal(msgspec.structs.replace(join, passwords=passwords)))
    nowhere = await refusal(msgspec.structs.replace(join, postgres_host="127.0.0.1", postgres_port=1), wait_s=0.6)
    assert "127.0.0.1:1 cannot be reached: nothing listens there." in str(nowhere)
    gone = await refusal(msgspec.structs.replace(join, postgres_host="/nowhere"))
    assert "/nowhere cannot be reached: nothing listens there: no such socket." in str(gone)
    assert "no database elsewhere" in str(await refusal(msgspec.structs.replace(join, postgres_database="elsewhere")))

    await superuser.execute(
        "insert into askpro.schema_migrations (number, name, checksum) values (9999, '9999_x.sql', '')"
    )
    newer = await refusal(msgspec.structs.replace(join, version="9.0"))
    assert "is older than the system it joins (9.0): it does not know the database's 9999_x.sql" in str(newer)
    assert newer.hint == "Install the version that runs there."
    await superuser.execute("delete from askpro.schema_migrations where number >= 17")
    assert "This node is newer than the system it joins" in str(await refusal(join))
