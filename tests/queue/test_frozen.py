"""A job that keeps the interpreter to itself is known to the next worker, and held after one try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.frozen import UNKNOWN_KEPT_S, bearing, hold_frozen, read_stack, stack_file
from tests.databases import OpenConnection, OpenPool, SuperuserConnection
from tests.queue.bad_scenes import kept_alive
from tests.queue.scenes import QUICK, config_for, job, put, until
from tests.queue.worker_process import TRACES

LIMIT_S = 60.0

LOOP = """Current thread 0x00007f6924c67b80 (most recent call first):
  File "/usr/lib/rules.py", line 166 in match
  File "/srv/handlers.py", line 7 in read_note
  File "/srv/executor.py", line 194 in job 4711
  File "/usr/lib/python3.11/asyncio/events.py", line 80 in _run
  File "/srv/main.py", line 8 in <module>
"""
WAITING = """Thread 0x00007f69236bb6c0 (most recent call first):
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 81 in _worker
  File "/usr/lib/python3.11/threading.py", line 982 in run

"""
WATCHING = """Thread 0x00007f69236bb6c1 (most recent call first):
  File "/usr/lib/python3.11/logging/__init__.py", line 331 in emit
  File "/srv/backend/queue/watchdog.py", line 112 in _watch

"""
WITHOUT_PYTHON = "Thread 0x00007f69236bb6c2 (most recent call first):\n  <no Python frame>\n\n"
SENDING = """Thread 0x00007f69236bb6c3 (most recent call first):
  File "/usr/lib/python3.11/ssl.py", line 1100 in write
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 58 in run

"""


def names_in(directory: Path) -> set[str]:
    """What stands in a directory."""
    return {path.name for path in directory.iterdir()}


def test_the_job_is_read_from_what_the_threads_were_at() -> None:
    found = read_stack(WAITING + WATCHING + WITHOUT_PYTHON + LOOP)
    assert found is not None
    assert (found.job_id, found.place) == (4711, "rules.py:166 match")
    lines = [line.strip() for line in found.stack.splitlines()]
    assert lines[0] == 'File "/srv/main.py", line 8, in <module>'
    assert lines[-1] == 'File "/usr/lib/rules.py", line 166, in match'


def test_nobody_is_accused_when_another_thread_was_at_work_or_no_job_was() -> None:
    assert read_stack(SENDING + LOOP) is None
    assert read_stack(LOOP.replace("job 4711", "_call")) is None
    assert read_stack(WAITING) is None
    assert read_stack("") is None
    assert read_stack("\0\n  File" + LOOP[:30]) is None


def test_a_process_that_is_frozen_before_its_watch_came_round_tells_what_it_was_at(tmp_path: Path) -> None:
    script = (
        "import asyncio, re, sys\n"
        "from backend.queue.frozen import bearing\n"
        "from backend.queue.watchdog import Watchdog\n"
        "async def call():\n"
        "    re.match('(a+)+$', 'a' * 80 + 'b')\n"
        "async def main():\n"
        "    await asyncio.to_thread(int)\n"
        "    with open(sys.argv[1], 'w') as to, Watchdog(60.0, str, tick_s=30.0, stacks=to, frozen_cpu_s=0.5):\n"
        "        await asyncio.create_task(bearing(12, call)())\n"
        "asyncio.run(main())\n"
    )
    file = tmp_path / "stack"
    ended = subprocess.run([sys.executable, "-c", script, file], capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGPROF
    found = read_stack(file.read_text())
    assert found is not None
    assert found.job_id == 12
    assert ", in job 12" in found.stack


async def test_a_function_bears_the_id_and_does_what_it_did() -> None:
    async def same(value: object) -> object:
        return value

    named = bearing(7, same)
    assert named.__code__.co_name == "job 7"
    assert await named(self := object()) is self


async def test_a_job_that_freezes_its_worker_is_held_after_one_try_and_those_beside_it_are_no_suspects(
    database: PostgresAddress,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
    tmp_path: Path,
) -> None:
    await (await superuser_connection()).execute("set search_path = askpro; " + TRACES)
    connection = await open_connection(Role.WORKER)
    stacks = tmp_path / "stacks"
    config = config_for(database, policy=replace(QUICK, timeout_s=60.0), lease_s=600.0, stacks=stacks)
    beside = await put(connection, *[job("webhooks.hang") for _ in range(3)])
    async with kept_alive(config, tmp_path) as ended:
        begun = "select count(*) >= $2 from traces where job_id = any($1)"
        await until(lambda: connection.fetchval(begun, beside, 3), "the others run", LIMIT_S)
        (bad,) = await put(connection, job("webhooks.freeze"))
        held = "select exists (select from held_jobs where job_id = $1)"
        await until(lambda: connection.fetchval(held, bad), "it is held", LIMIT_S)
        await until(lambda: connection.fetchval(begun, beside, 6), "the others run again", LIMIT_S)
        assert ended == [-signal.SIGPROF]
        assert await connection.fetchval("select count(*) from traces where job_id = $1", bad) == 1
        outcomes = "select outcome from job_runs where job_id = any($1) and ended_at is not null"
        assert {row["outcome"] for row in await connection.fetch(outcomes, beside)} == {"released"}
        assert len(names_in(stacks)) == 1, "the living worker's"
    row = await connection.fetchrow("select error_type, message, traceback from held_jobs where job_id = $1", bad)
    assert row is not None
    assert row["error_type"] == "WorkerBlocked"
    assert "froze its worker" in row["message"]
    assert "worker_process.py" in row["message"]
    assert f"in job {bad}\n" in row["traceback"]
    assert 're.match("(a+)+$"' in row["traceback"]
    trouble = await connection.fetchrow("select kind, job_id from job_troubles")
    assert trouble is not None
    assert tuple(trouble) == ("blocks", bad)


async def test_files_of_workers_that_nobody_knows_go_when_they_are_old(
    open_role_pool: OpenPool, tmp_path: Path
) -> None:
    pool = await open_role_pool(Role.WORKER, 1)
    old, young, living, dead, others = (uuid4() for _ in range(5))
    for worker in (old, young, living, dead):
        (tmp_path / f"webhooks-{worker}").write_text(LOOP)
    (tmp_path / f"default-{others}").write_text(LOOP)
    (tmp_path / "webhooks-of nobody").write_text(LOOP)
    long_ago = time.time() - UNKNOWN_KEPT_S - 60
    for worker in (old, living):
        os.utime(tmp_path / f"webhooks-{worker}", (long_ago, long_ago))

    assert await hold_frozen(pool, tmp_path, QueueName.WEBHOOKS, {dead}, {living}) == (), "there is no such job"
    left = names_in(tmp_path)
    assert left == {f"webhooks-{young}", f"webhooks-{living}", f"default-{others}", "webhooks-of nobody"}


def test_a_worker_without_a_place_for_its_file_works_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with stack_file(tmp_path / "file" / "below", QueueName.WEBHOOKS, uuid4()) as none:
        assert none is None
    with stack_file(tmp_path / "there", QueueName.WEBHOOKS, uuid4()) as file:
        assert file is not None
        assert len(list((tmp_path / "there").iterdir())) == 1
    assert not list((tmp_path / "there").iterdir())
