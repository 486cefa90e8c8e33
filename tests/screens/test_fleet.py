"""The Fleet screen and the log of a process."""

from __future__ import annotations

import time

import msgspec

from askpro_console.local_stack import StackTrouble
from backend.domain.vocabulary import NodeState, OrderState
from backend.postgres.address import PostgresAddress, Role
from backend.services.fleet.registry import Self, beat
from backend.watch.snapshots import CacheFigures, OrderRow
from screens.fleet import parts_of, state_cell
from screens.machines import cache_line, machine_lines, rest_line
from screens.process import log_lines
from tests.databases import OpenConnection
from tests.screens import samples
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import DatabaseStack, value
from widgets.pieces import line, text_of
from widgets.table import VirtualTable


def test_machines_and_cache_at_a_glance() -> None:
    shown = text_of(machine_lines(samples.fleet_snapshot(), 120, 4))
    assert "── Machines  1 ──" in shown
    assert "node-1" in shown
    assert "mem 2.1 GB of 8.0 GB" in shown
    assert "evicted 0" in shown
    assert "publisher on node-1" in shown


def test_at_80_columns_the_least_important_figures_go() -> None:
    lines = machine_lines(samples.fleet_snapshot(), 80, 4)
    assert all(line.width <= 80 for line in lines)
    assert "disk 41 %" in lines[1].plain


def test_a_dead_cache_says_so_and_that_nothing_is_lost() -> None:
    assert "✖ does not answer" in cache_line(CacheFigures(up=False), 100).plain


def test_workers_stand_with_their_processes_and_unsupervised_ones_after_them() -> None:
    parts = parts_of(samples.fleet_snapshot())
    webhooks = next(part for part in parts if part.process.name == "worker-webhooks")
    assert webhooks.worker is not None
    assert webhooks.worker.concurrency == 30
    assert [part.node.split()[0] for part in parts if not part.supervised] == ["node-2"] * 4


async def test_trouble_stands_out_and_silence_is_unknown_rather_than_well() -> None:
    reader = GivenReader(samples.fleet_snapshot(now=time.time()))
    async with console(reader, first="fleet") as shown:
        await shown.until_shows("▲ backoff", "? silent", "● ready")


async def test_a_restart_asks_first_and_names_what() -> None:
    async with console(GivenReader(samples.fleet_snapshot()), first="fleet") as shown:
        await shown.until_shows("worker-webhooks")
        await shown.press("down", "down", "R")
        await shown.until_shows("Restart api?")
        await shown.press("escape")
        await shown.until_gone("Restart api?")


def test_a_drained_machine_says_by_whom_and_a_vanished_one_since_when_and_what_it_had() -> None:
    shown = text_of(machine_lines(samples.fleet_of_three(), 120, 8, chosen="node-2"))
    assert "● node-1" in shown
    assert "▌▲ node-2" in shown
    assert "drained by bert 5 m ago: new kernel; 8 still in work" in shown
    assert "✖ node-3" in shown
    assert "vanished: not heard of for 12 s  12 jobs it had run elsewhere  box-3:/data" in shown


def test_two_homes_with_one_name_and_orders_that_nobody_takes_up_are_told() -> None:
    fleet = samples.fleet_of_three()
    nodes = (msgspec.structs.replace(fleet.nodes[0], rival="shed:/one"), *fleet.nodes[1:])
    waiting = OrderRow(
        id=1, node="node-2", process="api", action="restart", state=OrderState.WAITING, ordered_by="anna",
        ordered_at=fleet.taken_at - 8,
    )  # fmt: skip
    done = msgspec.structs.replace(waiting, id=2, process="", state=OrderState.DONE)
    shown = text_of(machine_lines(msgspec.structs.replace(fleet, nodes=nodes, orders=(done, waiting)), 120, 8))
    assert "shed:/one wants the same name" in shown
    assert "anna told node-2: restart everything  done" in shown
    assert "anna told node-2: restart api  ▲ not taken up" in shown


def test_of_many_machines_those_in_trouble_stay_in_sight() -> None:
    fleet = samples.fleet_of_three()
    well = [msgspec.structs.replace(fleet.nodes[0], node=f"well-{number}") for number in range(9)]
    shown = text_of(machine_lines(msgspec.structs.replace(fleet, nodes=(*well, *fleet.nodes)), 120, 3))
    assert "node-2" in shown
    assert "node-3" in shown
    assert "and 9 more, all well" in shown


def test_machines_without_room_are_well_only_if_they_are() -> None:
    fleet = samples.fleet_of_three()
    well, drained, vanished = fleet.nodes
    stopped = msgspec.structs.replace(well, node="old", state=NodeState.LEFT)
    assert rest_line([well, stopped], 120).plain.startswith(" and 2 more, 1 stopped: ")
    assert rest_line([well, drained, vanished], 120).plain.startswith(" and 3 more, ▲ 2 in trouble: ")


async def test_the_drain_key_says_resume_where_a_machine_is_drained_and_asks_for_no_ramp() -> None:
    async with console(GivenReader(samples.fleet_of_three()), first="fleet") as shown:
        await shown.until_shows("worker-webhooks", "P drain")
        shown.app.screen.query_one(VirtualTable).go_to("node-2/worker-webhooks")
        await shown.until_shows("P resume")
        await shown.press("P")
        await shown.until_shows("Resume: node node-2", "new kernel")
        assert "Ramp" not in shown.text


class OneThatFails(DatabaseStack):
    """A system whose API cannot be restarted."""

    async def restart(self, process: str) -> None:
        """Raises StackTrouble for the API."""
        if process == "api":
            raise StackTrouble("it does not answer", "")


async def test_only_what_was_restarted_is_in_the_record(database: PostgresAddress) -> None:
    async with console(GivenReader(samples.fleet_snapshot()), first="fleet", stack=OneThatFails(database)) as shown:
        await shown.until_shows("worker-webhooks")
        table = shown.app.screen.query_one(VirtualTable)
        for name in ("api", "worker-webhooks"):
            table.go_to(f"node-1/{name}")
            await shown.press("space")
        await shown.press("R")
        await shown.until_shows("Restart 2 processes: api, worker-webhooks?")
        await shown.press("y")
        await shown.until_shows("api: it does not answer", "worker-webhooks drains and")

        async def kept() -> bool:
            return await value(database, "select count(*) from audit_log") == 1

        while not await kept():
            await shown.pilot.pause()
    assert await value(database, "select string_agg(subject, '') from audit_log") == "node-1 worker-webhooks"


def test_what_a_vanished_machine_ran_is_unknown_rather_than_well() -> None:
    parts = {part.key: part for part in parts_of(samples.fleet_of_three(), "node-1")}
    assert text_of([line(state_cell(parts["node-3/api"], 0.0))]) == "? vanished"
    assert text_of([line(state_cell(parts["node-2/api"], 0.0))]) == "● ready"
    assert [part.here for part in parts.values()].count(True) == 8


async def test_machines_are_told_what_to_do_from_one_console(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    fleet = samples.fleet_of_three(now=time.time())
    for node in fleet.nodes:
        me = Self(node=node.node, home=node.home, version=node.version, is_joined=node.is_joined)
        await beat(worker, me, msgspec.json.encode(node).decode())
        await worker.execute(
            "insert into workers (id, node, queue, pid, version, concurrency)"
            " values (uuidv7(), $1, 'webhooks', 1, '', 1)",
            node.node,
        )
    await worker.execute("update nodes set seen_at = now() - interval '12 s' where node = 'node-3'")
    await worker.execute("update workers set heartbeat_at = now() - interval '12 s' where node = 'node-3'")
    # The others are heard of all the while, however long the keys take.
    await worker.execute("update nodes set seen_at = now() + interval '1 h' where node <> 'node-3'")
    await worker.execute("update workers set heartbeat_at = now() + interval '1 h' where node <> 'node-3'")
    well = tuple(msgspec.structs.replace(node, drained_by="", drained_at=None) for node in fleet.nodes)

    async with console(
        GivenReader(msgspec.structs.replace(fleet, nodes=well)), first="fleet", stack=DatabaseStack(database)
    ) as shown:
        table = shown.app.screen.query_one(VirtualTable)
        await shown.until_shows("worker-webhooks")
        table.go_to("node-2/worker-webhooks")
        await shown.press("R")
        await shown.until_shows("Restart worker-webhooks on node-2?")
        await shown.press("y")
        await shown.until_shows("Told node-2: worker-webhooks.")
        assert await worker.fetchval("select process from node_orders where node = 'node-2'") == "worker-webhooks"

        await shown.press("P")
        await shown.until_shows("node node-2", "take nothing more")
        await shown.press(*"kernel", "tab", "tab", "y")
        await shown.until_shows("Paused node node-2.")
        assert await worker.fetchval("select reason from pauses where kind = 'node' and name = 'node-2'") == "kernel"

        await shown.press("plus")
        await shown.until_shows("Scale webhooks on node-2")
        await shown.press("plus", "y")
        await shown.until_shows("webhooks has 32 slots on node-2")
        slots = await worker.fetchrow("select slots, is_pinned, decided_by from queue_slots where node = 'node-2'")
        assert slots is not None
        assert tuple(slots) == (32, True, "anna")
        await shown.press("equals_sign")
        await shown.until_shows("Give webhooks on node-2 back to the balancer?")
        assert await worker.fetchval("select count(*) from queue_slots where node = 'node-2'") == 1
        await shown.press("y")
        await shown.until_shows("webhooks on node-2 follows its")
        assert await worker.fetchval("select count(*) from queue_slots where node = 'node-2'") == 0

        table.go_to("node-3/api")
        await shown.press("R")
        await shown.until_shows("node-3 does not work")
        await shown.press("F")
        await shown.until_shows("Forget node-3?")
        await shown.press("y")
        await shown.until_shows("node-3 is forgotten.")
        assert await worker.fetchval("select count(*) from nodes") == 2


async def test_read_only_refuses_to_restart() -> None:
    async with console(GivenReader(samples.fleet_snapshot()), first="fleet", read_only=True) as shown:
        await shown.until_shows("READ ONLY", "worker-webhooks")
        await shown.press("R")
        await shown.until_shows("Read only: restart is not possible.")
        assert "Restart postgres?" not in shown.text


def test_logs_of_every_kind_are_taken_apart_newest_first() -> None:
    lines = log_lines(
        [
            '{"at": "2026-11-24T06:51:26.028Z", "level": "error", "message": "ends", "exception": "T\\nKeyError: x"}',
            "2026-11-24 06:51:20.301 UTC [12] LOG:  database system is ready",
            "2026-11-24 06:51:21.302 UTC [12] askpro-api askpro_api: ERROR:  no such thing",
            "\tat character 7",
            "28278:M 24 Nov 2026 06:43:42.100 * Ready to accept connections",
            "something else",
        ]
    )
    assert [(line.time, line.level, line.text) for line in lines] == [
        ("", "", "something else"),
        ("06:43:42", "", "Ready to accept connections"),
        ("06:51:21", "error", "askpro-api askpro_api: no such thing at character 7"),
        ("06:51:20", "log", "database system is ready"),
        ("06:51:26", "error", "ends  KeyError: x"),
    ]


def test_lines_keep_their_identity_when_older_ones_are_no_longer_read() -> None:
    raw = ["a", "b", "a", "c"]
    before = {line.key for line in log_lines(raw)}
    after = {line.key for line in log_lines(raw[1:])}
    assert {"b#1", "c#1"} <= before & after


def test_a_broken_worker_record_does_not_break_the_screen() -> None:
    snapshot = msgspec.structs.replace(samples.fleet_snapshot(), nodes=(), publisher="")
    assert "no publisher" in machine_lines(snapshot, 100, 3)[0].plain
    assert len(parts_of(snapshot)) == 8
