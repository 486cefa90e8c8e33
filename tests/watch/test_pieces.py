"""The small parts of watching: trends, lists, timings, nodes, this node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.stack.layout import Layout
from backend.stack.status import Phase, ProcessState, ProcessStatus, Status
from backend.watch.cache import cache_figures
from backend.watch.collect.rows import figures_wanted, horizon_of, is_due, merge
from backend.watch.collect.trend import STEPS, extend
from backend.watch.connection import is_gone
from backend.watch.disk import disk_space
from backend.watch.histogram import Histogram
from backend.watch.nodes import NodeGauge
from backend.watch.own_node import OwnNode
from backend.watch.schedule import live_s, rest_s
from backend.watch.snapshots import DOMAINS, CacheFigures, CallsSnapshot, FleetSnapshot, Trend
from backend.watch.timings import TIMINGS_KEY, RouteTimings, TimingReport, error_ratio, read_reports, timing_rows

if TYPE_CHECKING:
    from redis.asyncio import Redis


CALLS = CallsSnapshot(
    taken_at=0.0,
    ongoing=0,
    started_last_hour=0,
    started_today=0,
    median_duration_s=None,
    by_outcome_today={},
    per_minute=Trend(values=(0.0,) * 60, step_s=60.0),
    rows=(),
)


def fleet_at(taken_at: float) -> FleetSnapshot:
    return FleetSnapshot(taken_at=taken_at, nodes=(), workers=(), cache=CacheFigures(up=False), publisher="")


def grown(values: list[tuple[float, float]], step_s: float = 10.0) -> tuple[float, ...]:
    """The trend after looks at these times (seconds) with these values."""
    trend: Trend | None = None
    before = 0.0
    for at, value in values:
        trend = extend(trend, before, at, value, step_s=step_s, unit="jobs")
        before = at
    assert trend is not None
    return trend.values


def test_a_trend_starts_with_nothing_behind_it() -> None:
    assert grown([(1000.0, 7.0)]) == (0.0,) * (STEPS - 1) + (7.0,)


def test_within_a_step_the_largest_value_counts() -> None:
    assert grown([(1000.0, 3.0), (1004.0, 9.0), (1009.9, 4.0)])[-2:] == (0.0, 9.0)


def test_steps_without_a_look_repeat_the_last_value() -> None:
    assert grown([(1000.0, 3.0), (1030.0, 8.0)])[-5:] == (0.0, 3.0, 3.0, 3.0, 8.0)


def test_a_trend_starts_anew_after_a_long_silence_or_a_clock_that_went_back() -> None:
    assert sum(grown([(1000.0, 3.0), (1600.0, 8.0)])) == 8.0
    assert sum(grown([(1000.0, 3.0), (900.0, 8.0)])) == 8.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e3)), min_size=1, max_size=50))
def test_a_trend_always_has_sixty_steps(looks: list[tuple[float, float]]) -> None:
    assert len(grown(sorted(looks))) == STEPS


def test_everything_is_read_anew_now_and_then_and_when_in_doubt() -> None:
    assert is_due(None, 1000.0, 10.0)
    assert not is_due(fleet_at(1001.0), 1009.9, 10.0)
    assert is_due(fleet_at(1009.9), 1010.0, 10.0)
    assert is_due(fleet_at(1001.0), 1000.5, 10.0)
    assert is_due(fleet_at(1001.0), 5000.0, 10.0)


def test_changes_are_asked_for_from_the_transaction_that_the_snapshot_before_had_not_seen() -> None:
    before = msgspec.structs.replace(CALLS, taken_at=1000.0, horizon=2**32 + 7)
    assert horizon_of(before, 1001.0) == "7"
    assert horizon_of(before, 1100.0) is None
    assert horizon_of(None, 1001.0) is None
    assert horizon_of(msgspec.structs.replace(before, horizon=None), 1001.0) is None


def test_slow_figures_are_taken_when_something_changed_and_on_busy_days_less_often() -> None:
    before = fleet_at(1001.0)
    assert figures_wanted(None, 1001.0, is_busy=True) is True
    assert figures_wanted(before, 1002.0, is_busy=False) is None
    assert figures_wanted(before, 1002.0, is_busy=True) is False
    assert figures_wanted(before, 1010.0, is_busy=True) is True


@dataclass(frozen=True)
class Row:
    id: str
    what: str


def test_a_list_is_renewed_by_what_changed() -> None:
    before = (Row("a", "old"), Row("b", "old"), Row("c", "old"))
    merged = merge(("d", "b", "a", "x"), (Row("b", "new"), Row("d", "new")), before)
    assert merged == (Row("d", "new"), Row("b", "new"), Row("a", "old"))


def test_what_is_dear_is_looked_at_less_often_and_promised_so() -> None:
    assert rest_s("calls", 0.001) == 1.0
    assert rest_s("calls", 0.03) == 3.0
    assert rest_s("calls", 5.0) == 10.0
    assert live_s("calls") == 3.0
    assert live_s("calls", 10.0) == 21.0
    assert all(live_s(domain) >= 3 * 1.0 for domain in DOMAINS)


def report(seconds: list[float], **changes: float) -> TimingReport:
    histogram = Histogram()
    for value in seconds:
        histogram.add(value)
    timings = RouteTimings(count=len(seconds), total_s=sum(seconds), buckets=histogram.buckets, errors=1, refused=2)
    return TimingReport(routes={"GET /a": timings}, **changes)


def test_timings_of_processes_add_up() -> None:
    rows = timing_rows([report([0.010] * 99), report([0.500], window_s=10.0)])
    (row,) = rows
    assert (row.route, row.errors, row.refused) == ("GET /a", 2, 4)
    assert row.per_s == pytest.approx(99 / 60 + 1 / 10)
    assert row.p50_ms == pytest.approx(10, rel=0.02)
    assert timing_rows([]) == ()
    assert error_ratio([report([0.1] * 10), report([0.1] * 10)]) == 2 / 20
    assert error_ratio([]) is None


async def test_reports_are_read_from_all_processes_and_broken_ones_left_out(valkey: Redis) -> None:
    await valkey.set(TIMINGS_KEY + "n1:1", msgspec.json.encode(report([0.1])), ex=10)
    await valkey.set(TIMINGS_KEY + "n1:2", msgspec.json.encode(report([0.2])), ex=10)
    await valkey.set(TIMINGS_KEY + "n1:3", b"{broken", ex=10)
    await valkey.set(TIMINGS_KEY + "n1:4", b"\xff", ex=10)
    reports = await read_reports(valkey)
    assert len(reports) == 2
    assert error_ratio(reports) == 1.0


def test_a_node_looks_at_itself(tmp_path: Path) -> None:
    gauge = NodeGauge("n1", "0.1.0", tmp_path)
    row = gauge.look(())
    assert row.cores >= 1
    assert 0.0 <= row.cpu_ratio <= 1.0
    assert row.memory_total_bytes > row.memory_used_bytes > 0
    assert row.disk_total_bytes > row.disk_used_bytes > 0
    assert row.uptime_s > 0
    assert row.net_in_bytes_per_s >= 0


def test_a_disk_that_cannot_be_asked_is_unknown(tmp_path: Path) -> None:
    assert disk_space(tmp_path / "nowhere") is None
    known = disk_space(tmp_path)
    assert known is not None
    assert known.total == known.used + known.free


async def test_valkeys_figures_are_told(valkey: Redis) -> None:
    figures, unknown = await cache_figures(valkey)
    assert figures.up
    assert figures.used_bytes is not None
    assert figures.clients is not None
    assert figures.clients >= 1
    assert unknown is None or "memory limit" in unknown
    assert await cache_figures(None) == (
        CacheFigures(up=False),
        "Valkey is not reachable: its figures are unknown",
    )


def status_of(restarts: int) -> bytes:
    process = ProcessStatus(name="worker-webhooks", pid=7, state=ProcessState.READY, restarts=restarts)
    return msgspec.json.encode(
        Status(
            ready=True,
            phase=Phase.READY,
            api_url="",
            version="0.1.0",
            supervisor_pid=1,
            demo=False,
            started_at=0.0,
            processes=(process,),
        )
    )


async def test_this_node_tells_of_its_processes_and_of_those_that_restarted(engines_directory: Path) -> None:
    base = engines_directory / "own"
    layout = Layout(config=base, data=base, state=base, run=base)
    base.mkdir()
    answers = [status_of(0), status_of(2)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = answers.pop(0)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    own = OwnNode("n1", "0.1.0", layout)
    async with await asyncio.start_unix_server(answer, layout.control_socket):
        first = await own.look()
        second = await own.look()
    last = await own.look()
    await own.aclose()
    assert [(process.name, process.state) for process in first.processes] == [("worker-webhooks", "ready")]
    assert second.processes[0].restarts == 2
    assert last.processes == second.processes
    assert [change.what for change in own.changes] == ["worker-webhooks was restarted"]


def test_a_failed_statement_does_not_cost_the_connection_and_a_dead_server_does() -> None:
    assert not is_gone(asyncpg.QueryCanceledError())
    assert not is_gone(asyncpg.LockNotAvailableError())
    assert not is_gone(asyncpg.UndefinedTableError())
    for error in (asyncpg.AdminShutdownError(), asyncpg.TooManyConnectionsError(), TimeoutError(), ConnectionError()):
        assert is_gone(error)
