"""`askpro up`, `status`, `logs` and `down` on the whole real system."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from backend.stack.layout import Layout

ROOT = Path(__file__).parents[2]


class Askpro:
    """The command line, for one system of its own."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "ASKPRO_HOME": str(home), "ASKPRO_API_PORT": "18400"}
        self.layout = Layout.from_environment(self.environment)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "askpro_console", *arguments]


@pytest.fixture
def askpro() -> Iterator[Askpro]:
    """A command line without a running system."""
    home = Path(tempfile.mkdtemp(prefix="askpro-"))
    command = Askpro(home)
    try:
        yield command
    finally:
        command("down")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Askpro]:
    """A running system."""
    home = Path(tempfile.mkdtemp(prefix="askpro-"))
    command = Askpro(home)
    try:
        up = command("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield command
    finally:
        down = command("down")
        shutil.rmtree(home, ignore_errors=True)
        assert down.returncode == 0, down.stdout + down.stderr


def test_status_has_what_scripts_rely_on(running: Askpro) -> None:
    told = running("status", "--json")
    assert told.returncode == 0
    status = json.loads(told.stdout)
    assert status["ready"] is True
    assert status["api_url"].startswith("http://127.0.0.1:")
    names = {process["name"] for process in status["processes"]}
    assert names == {
        "postgres", "valkey", "api", "publisher",
        "worker-webhooks", "worker-appointments", "worker-default", "worker-notifications",
    }  # fmt: skip
    for process in status["processes"]:
        assert {"name", "pid", "state", "rss_bytes", "restarts"} <= process.keys()
        assert process["state"] == "ready"
        assert 0 < process["rss_bytes"] < 512 * 2**20
        assert psutil.pid_exists(process["pid"])


def test_status_for_a_person_is_a_table(running: Askpro) -> None:
    lines = running("status").stdout.splitlines()
    assert lines[0].startswith("ready, http://127.0.0.1:")
    assert lines[1].split() == ["PROCESS", "STATE", "PID", "MEMORY", "CPU", "RESTARTS", "SINCE"]
    assert len(lines) == 10


def test_a_second_up_attaches_and_says_so_by_success(running: Askpro) -> None:
    before = json.loads(running("status", "--json").stdout)["supervisor_pid"]
    again = running("up", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["supervisor_pid"] == before


def test_logs_print_hostile_bytes_harmlessly(running: Askpro) -> None:
    hostile = running.layout.logs / "hostile.log"
    hostile.write_bytes(b"caller \x1b]52;c;QUJD\x07 \xff\xfe \x9b31m\x00 end\n")
    try:
        told = running("logs", "hostile")
        assert told.returncode == 0
        [line] = told.stdout.splitlines()
        assert line.isprintable()
        assert line.startswith("caller ")
        assert line.endswith(" end")
        assert json.loads(running("logs", "hostile", "--json").stdout)["process"] == "hostile"
    finally:
        hostile.unlink()


def test_logs_of_all_processes_name_each(running: Askpro) -> None:
    told = running("logs", "-n", "1000").stdout
    assert any(line.startswith("postgres ") and "ready to accept connections" in line for line in told.splitlines())
    assert any(line.startswith("supervisor ") and "ready after" in line for line in told.splitlines())


def test_logs_of_an_unknown_process_suggest_the_nearest(running: Askpro) -> None:
    told = running("logs", "postgre")
    assert told.returncode == 2
    assert "Did you mean `postgres`?" in told.stderr


def test_nothing_runs_is_an_answer_and_not_an_error(askpro: Askpro) -> None:
    status = askpro("status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout) == {
        "ready": False, "api_url": None, "phase": "stopped", "processes": [], "error": "",
    }  # fmt: skip
    down = askpro("down")
    assert (down.returncode, down.stdout) == (0, "The system does not run.\n")


def test_up_refuses_a_place_that_is_no_directory(askpro: Askpro) -> None:
    (askpro.layout.data).write_text("")
    up = askpro("up")
    assert up.returncode == 1
    assert f"{askpro.layout.data} is not a directory." in up.stderr
    assert "ASKPRO_HOME" in up.stderr
    assert "Traceback" not in up.stderr


def test_up_in_the_foreground_stops_by_an_interrupt_and_leaves_nothing(askpro: Askpro) -> None:
    with subprocess.Popen(
        askpro.command("up", "--foreground"),
        env=askpro.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines: list[str] = []
        end = time.monotonic() + 100
        while not (lines and lines[-1].startswith("ready: ")):
            assert time.monotonic() < end
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended before it was ready"
        assert sum(line.startswith("  ok") for line in lines) == 11
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert [child for child in children if child.is_running()] == []
