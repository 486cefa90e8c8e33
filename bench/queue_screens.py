"""How soon the queue screens stand there when the queue is full of records, and what a key costs during a bulk retry.

`python -m bench.queue_screens [--jobs 700000] [--rounds 5]`: a whole system of its own with half of the jobs held, half
finished; the real console on a pty of 160×48. Each screen is opened again and again: told are the milliseconds from its
key to the first byte of its paint, to the end of that paint (nothing more for 30 ms), and until something stands there
that had to be read from the database for it. Then all held jobs of one cause are retried, and the cursor is moved
meanwhile: told is how long a key waits. The anchor of the same run is a key that moves the cursor while nothing runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from askpro_console.system import System
from backend.postgres.address import Role
from backend.postgres.pools import connect
from bench.table import press, quiet
from tests.terminal.terminals import KEYS, Terminal
from tests.whole_system import Running, running_system

RESULTS = Path(__file__).parent / "results"

PAUSE_S = 0.03
"""Nothing written for so long ends a paint."""

HELD = """
with put_in as (
    insert into pgqueuer (priority, status, entrypoint, payload, headers, created, updated, attempts, execute_after)
    select 0, 'failed', (array['webhooks.retell_call', 'default.calendar_sync', 'notifications.reminder'])[1 + i % 3],
           convert_to('{"subject": "call_' || md5('c' || i) || '"}', 'UTF8'),
           jsonb_build_object('company', $2::uuid), now(), now(), 3, now()
    from generate_series(1, $1::integer) i
    returning id, entrypoint, payload
)
insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback, payload,
                       attempts, enqueued_at, held_at)
select id, split_part(entrypoint, '.', 1), entrypoint, $2::uuid, 'f' || id % 30,
       (array['ValueError', 'TimeoutError', 'Refused'])[1 + id % 3],
       'the calendar of branch ' || id % 1000 || ' has no room for caller ' || md5(id::text), 'traceback', payload, 4,
       now() - make_interval(secs => id % 600000), now() - make_interval(secs => id % 600000)
from put_in
"""

RUNS = """
insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, waited_ms, outcome)
select 10000000 + i, 1, 'webhooks.retell_call', gen_random_uuid(), now() - make_interval(secs => i % 3000),
       now() - make_interval(secs => i % 3000 - 1), 3, 'done'
from generate_series(1, $1::integer) i
"""


TO_CAUSES = "to the list of causes"

SAID = "measured meanwhile"
"""A reason in the record."""


@dataclass(frozen=True)
class Shown:
    """One screen: how to come near it, the key that opens it, and what stands there that had to be read."""

    name: str
    before: Sequence[str]
    key: str
    read: str


SCREENS = (
    Shown("Queues", ("1",), "5", "branch"),
    Shown("Held jobs of a cause", ("5", TO_CAUSES), "enter", "no room for caller"),
    Shown("Find jobs", ("5",), "f", "find ›"),
    Shown("Job", ("5", "f", "branch 17 has"), "enter", "Attempts"),
    Shown("Policies", ("5", ":", "policies"), "enter", "jobs at once"),
    Shown("Schedule", ("5", ":", "schedule"), "enter", "default.retention"),
    Shown("History", ("5", ":", "history"), "enter", "all queues"),
    Shown("Audit", ("5", ":", "audit"), "enter", SAID),
)


async def fill(system: System, jobs: int) -> None:
    """Half of the jobs held, half finished."""
    reader = await connect(system.postgres(), Role.CONSOLE, application="bench")
    company = await reader.fetchval("select id from companies limit 1")
    await reader.close()
    worker = await connect(system.postgres(), Role.WORKER, application="bench", command_timeout=900)
    await worker.execute("set statement_timeout = 0")
    await worker.execute(HELD, jobs // 2, company, timeout=900)
    await worker.execute(RUNS, jobs - jobs // 2, timeout=900)
    await worker.close()


def paint(terminal: Terminal, key: str) -> tuple[float, float]:
    """Milliseconds from a key to the first and the last byte of what it paints."""
    size = quiet(terminal)
    begun = time.monotonic()
    terminal.write(KEYS.get(key, key).encode())
    first = last = 0.0
    while not first or time.monotonic() - begun - last < PAUSE_S:
        if len(terminal.raw) != size:
            size, last = len(terminal.raw), time.monotonic() - begun
            first = first or last
        assert time.monotonic() - begun < 10, f"nothing comes of {key!r}:\n{terminal.text}"
        time.sleep(0.0005)
    return 1000 * first, 1000 * last


def to_causes(terminal: Terminal) -> None:
    """Go to the list of causes: enter on a cause opens it, on a job type it goes to the causes of that type."""
    for _ in range(8):
        quiet(terminal, 0.2)
        if "Q quarantine" in terminal.text:
            terminal.press("enter")
            quiet(terminal, 0.5)
            if "Held, by cause" not in terminal.text:
                terminal.press("esc")
                terminal.until_shows("Held, by cause")
            return
        terminal.press("\t")
    raise AssertionError(f"there is no list of causes:\n{terminal.text}")


def opened(terminal: Terminal, shown: Shown) -> tuple[float, float, float]:
    """Milliseconds to the first byte, to the end of the paint, and until what was read stands there."""
    for key in shown.before:
        quiet(terminal, 0.4)
        if key == TO_CAUSES:
            to_causes(terminal)
        else:
            terminal.press(key)
    quiet(terminal, 0.6)
    begun = time.monotonic()
    first, last = paint(terminal, shown.key)
    terminal.until_shows(shown.read)
    read = max(last, 1000 * (time.monotonic() - begun)) if last else 0.0
    for _ in range(3):
        quiet(terminal, 0.3)
        terminal.press("esc")
    return first, last, read


def screens(terminal: Terminal, rounds: int) -> dict[str, dict[str, float]]:
    """Every screen, opened so many times; the first opening imports its module and is told apart."""
    told = {}
    for shown in SCREENS:
        each = [opened(terminal, shown) for _ in range(rounds + 1)]
        later = each[1:]
        told[shown.name] = {
            "first_byte_ms": round(statistics.median(first for first, _, _ in later), 1),
            "painted_ms": round(statistics.median(last for _, last, _ in later), 1),
            "painted_most_ms": round(max(last for _, last, _ in later), 1),
            "read_ms": round(statistics.median(read for _, _, read in later)),
            "first_time_painted_ms": round(each[0][1], 1),
        }
    return told


def keys(terminal: Terminal, count: int) -> dict[str, float]:
    """How long a cursor key waits for its effect."""
    times = sorted(1000 * press(terminal, ("down", "up")[number % 2])[0] for number in range(count))
    return {"p50_ms": round(statistics.median(times), 1), "most_ms": round(times[-1], 1), "keys": count}


def retried(terminal: Terminal, running: Running) -> dict[str, object]:
    """Keys while the jobs of one cause are retried from the console, 10,000 of them or all there are."""
    terminal.press("5")
    quiet(terminal, 0.5)
    to_causes(terminal)
    terminal.press("enter")
    terminal.until_shows("no room for caller")
    terminal.press("r")
    terminal.until_shows("retry")
    terminal.press("a")
    terminal.until(lambda: re.search("Retry [0-9][^?]{2,8} held jobs", terminal.text) is not None, "the dry run")
    terminal.press("y")
    quiet(terminal, 0.1)
    for _ in range(2):
        # Out of the dialog, which goes on in the background, and back to the list of causes.
        terminal.press("esc")
        quiet(terminal, 0.2)
    meanwhile = keys(terminal, 60)
    begun = time.monotonic()
    while (last := json.loads(running.askpro("queue", "bulk", "--json").stdout)[0])["state"] == "running":
        assert time.monotonic() - begun < 120, "the retry comes to no end"
    return {"meanwhile": meanwhile, "matched": last["matched"], "done": last["done"], "skipped": last["skipped"]}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=700_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with running_system() as running:
        system = System.load(running.environment)
        asyncio.run(fill(system, options.jobs))
        said = running.askpro("queue", "scale", "webhooks", "20", "--yes", "--reason", SAID)
        assert said.returncode == 0, said.stderr
        command = [sys.executable, "-m", "askpro_console"]
        with Terminal(command, columns=160, rows=48, environment=running.environment) as terminal:
            terminal.until_shows("LIVE")
            time.sleep(3)
            terminal.press("5")
            terminal.until_shows("branch")
            anchor = keys(terminal, 40)
            result = {
                "jobs": options.jobs,
                "anchor: a key while nothing happens": anchor,
                "screens": screens(terminal, options.rounds),
                "during a retry": retried(terminal, running),
            }
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "queue_screens.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
