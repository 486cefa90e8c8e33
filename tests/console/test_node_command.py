"""`askpro node`: looks, asks, changes nothing on a dry run, and says what would be right."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.services.fleet.registry import Self, beat
from tests.databases import OpenConnection, OwnConnection
from tests.home import Shell, settle_home
from tests.screens import samples


@pytest.fixture
async def desk(
    open_connection: OpenConnection, database: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OwnConnection:
    """A home on a database that knows three nodes, each with a worker."""
    settle_home(tmp_path, database, monkeypatch)
    monkeypatch.setenv("ASKPRO_STACK_NODE", "node-1")
    connection = await open_connection(Role.WORKER)
    for node in samples.fleet_of_three().nodes:
        me = Self(node=node.node, home=node.home, version=node.version, is_joined=node.is_joined)
        await beat(connection, me, msgspec.json.encode(node).decode())
        await connection.execute(
            "insert into workers (id, node, queue, pid, version, concurrency)"
            " values (uuidv7(), $1, 'webhooks', 1, '', 30)",
            node.node,
        )
    # The third is silent; the others are heard of all the while, however long a test takes.
    for told, heard in (("nodes", "seen_at"), ("workers", "heartbeat_at")):
        await connection.execute(
            f"update {told} set {heard} = now()"
            " + case node when 'node-3' then interval '-90 min' else interval '1 h' end"
        )
    return connection


async def test_nodes_are_listed_and_told_and_nothing_is_done_on_a_dry_run(
    desk: OwnConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    askpro = Shell(capsys, "node")
    listed = await askpro("ls")
    assert "node-3  vanished 1h 30m" in listed
    assert "0/30" in listed

    assert "Would: Drain node-2" in await askpro("drain", "node-2", "--dry-run")
    assert json.loads(await askpro("scale", "node-2", "webhooks", "12", "--dry-run", "--json"))["is_dry_run"]
    assert "there is nobody to ask" in await askpro("drain", "node-2", code=2)
    written = (
        "select (select count(*) from pauses) + (select count(*) from queue_slots) + (select count(*) from audit_log)"
    )
    assert await desk.fetchval(written) == 0

    await askpro("drain", "node-2", "--yes", "--reason", "kernel")
    assert "drained by" in await askpro("ls")
    assert "is not paused" in await askpro("resume", "node-1", "--yes", code=1)
    await askpro("scale", "node-2", "webhooks", "12", "--yes")
    assert await desk.fetchval("select slots from queue_slots where node = 'node-2'") == 12
    await askpro("scale", "node-2", "webhooks", "auto", "--yes")
    assert "there is no node node-22" in (await askpro("scale", "node-22", "webhooks", "12", "--yes", code=1)).lower()
    for wrong in ("many", "+5", "1.5", "1e2", "\uff11\uff12", "", "9" * 5000):
        answer = await askpro("scale", "node-2", "webhooks", wrong, "--yes", code=2)
        assert "no number of slots" in answer
        assert "a whole number such as 20, or `auto`" in answer
        assert len(answer) < 200
    assert "has not been heard of" in await askpro("restart", "node-3", "--yes", code=1)
    # What is said of a machine that is gone holds when it is back, and nobody is told that it works.
    assert "has not been heard of for 1h 30m now" in await askpro("drain", "node-3", "--yes")
    assert "has not been heard of for 1h 30m now" in await askpro("resume", "node-3", "--yes")
    for verb in ("restart", "stop", "forget"):
        assert "Did you mean node-2?" in await askpro(verb, "node-22", "--yes", code=1)
    for wrong in ("-1", "1.5", "nan", "999999"):
        assert "no number of seconds" in await askpro("drain", "node-2", f"--wait={wrong}", "--yes", code=2)
    assert "holds the database" in await askpro("stop", "node-1", "--yes", code=1)
    await askpro("forget", "node-3", "--yes")
    assert "node-3" not in await askpro("ls")
    assert "No node was told anything" in await askpro("orders")
