"""What the kill loop looks at must be able to find something."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from askpro_console.commands.bench import victims
from askpro_console.refusal import WrongUsage
from backend.stack.kill_checks import living
from backend.stack.kill_report import Inspection, KillReport, Recovery, Servers, TrafficRun, summary
from backend.stack.layout import Layout
from backend.stack.records import ChildRecords

CLEAN = KillReport(
    seed=1,
    recoveries=(),
    traffic=(TrafficRun(seed=1000, code=0, deliveries=10),),
    inspections=(Inspection(name="askpro db verify", clean=True, detail=""),),
    servers=Servers(looks=10, most=1),
    outlived_s=0.1,
    left_over=(),
    seconds=10.0,
)


@contextmanager
def waiting_process(arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process that has started and waits; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout.from_environment({"ASKPRO_HOME": str(tmp_path)})
    found.run.mkdir(parents=True, exist_ok=True)
    return found


def test_nothing_is_left_over_of_a_system_that_never_ran(layout: Layout, tmp_path: Path) -> None:
    assert living(layout, str(tmp_path)) == ()


def test_a_process_is_found_by_the_home_in_its_environment(layout: Layout, tmp_path: Path) -> None:
    with waiting_process(environment={"ASKPRO_HOME": str(tmp_path)}) as pid:
        assert [found.endswith(f"({pid})") for found in living(layout, str(tmp_path))] == [True]


def test_a_server_is_found_by_the_data_in_its_command_line(layout: Layout, tmp_path: Path) -> None:
    with waiting_process(("-D", str(layout.postgres_data / "cluster"))) as pid:
        assert [found.endswith(f"({pid})") for found in living(layout, str(tmp_path))] == [True]


def test_a_recorded_child_is_found_whatever_it_looks_like(layout: Layout, tmp_path: Path) -> None:
    with waiting_process() as pid:
        ChildRecords(layout.children_file).add("valkey", pid)
        assert living(layout, str(tmp_path)) == (f"valkey ({pid})",)


def test_a_neighbour_whose_home_begins_alike_is_not_ours(layout: Layout, tmp_path: Path) -> None:
    with waiting_process(environment={"ASKPRO_HOME": f"{tmp_path}-other"}):
        assert living(layout, str(tmp_path)) == ()


def test_a_report_is_clean_when_all_went_well() -> None:
    assert CLEAN.wrong == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"traffic": ()}, "no run"),
        ({"traffic": (TrafficRun(seed=7, code=1, differences=2, shown=("calls: 0 rows",)),)}, "seed 7: 2 differences"),
        ({"inspections": (Inspection(name="pg_amcheck", clean=False, detail="damaged"),)}, "pg_amcheck: damaged"),
        ({"servers": Servers(looks=10, most=2)}, "2 database servers"),
        ({"left_over": ("postgres (7)",)}, "left over: postgres (7)"),
        ({"error": "The system did not recover."}, "did not recover"),
    ],
    ids=["no traffic", "differences", "damage", "two servers", "left over", "ended early"],
)
def test_whatever_is_wrong_is_said(change: dict[str, object], word: str) -> None:
    report = msgspec.structs.replace(CLEAN, **change)
    assert word in "\n".join(report.wrong)
    assert not report.clean


def test_the_summary_has_the_median_and_the_worst_of_each_victim() -> None:
    recoveries = [
        Recovery(victim=victim, round=1, pid=1, seconds=seconds)
        for victim, seconds in (("api", 1.0), ("api", 5.0), ("api", 2.0), ("valkey", 0.5))
    ]
    assert summary(recoveries) == {"api": (3, 2.0, 5.0), "valkey": (1, 0.5, 0.5)}


def test_every_worker_and_the_console_die_unless_only_some_are_named() -> None:
    workers = {"worker-webhooks", "worker-appointments", "worker-default", "worker-notifications"}
    assert workers | {"api", "publisher", "valkey", "postgres", "supervisor", "console"} == set(victims(None))
    assert set(victims("worker, console")) == workers | {"console"}
    with pytest.raises(WrongUsage):
        victims("elephant")
