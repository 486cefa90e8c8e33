"""The Fleet screen and the log of a process."""

from __future__ import annotations

import time

import msgspec

from backend.watch.snapshots import CacheFigures
from screens.fleet import cache_line, machine_lines, parts_of
from screens.process import log_lines
from tests.screens import samples
from tests.screens.consoles import GivenReader, console
from widgets.pieces import text_of


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
