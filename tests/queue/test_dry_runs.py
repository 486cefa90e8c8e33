"""Every verb of `askpro queue` that changes something: a dry run is refused what the real run is, and changes nothing.

The verbs are found in the command's own parser, so that a new one cannot be forgotten here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from askpro_console.cli import main
from askpro_console.commands import queue
from backend.postgres.address import PostgresAddress
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection
from tests.home import settle_home
from tests.services.held_scenes import hold
from tests.watch.scenery import company_scenery

BULK = UUID(int=7)

KIND = "webhooks.retell_call"

WHY = ("--reason", "x")


@dataclass(frozen=True, slots=True)
class Line:
    """A command line, and what becomes of it."""

    arguments: tuple[str, ...]
    code: int = 0
    has_effect: bool = True


def done(*arguments: str) -> Line:
    """It does something."""
    return Line(arguments)


def idle(*arguments: str) -> Line:
    """It does nothing, and that is right."""
    return Line(arguments, has_effect=False)


def refused(*arguments: str) -> Line:
    """It cannot be done."""
    return Line(arguments, 1, has_effect=False)


def wrong(*arguments: str) -> Line:
    """The command line is wrong."""
    return Line(arguments, 2, has_effect=False)


def lines_about_held_jobs(*more: str) -> tuple[Line, ...]:
    """Of retry, discard and move; `more` stands in each."""
    return (
        wrong(*more),
        wrong("--all", "--rate", "0", *more),
        wrong("--all", "--queue", "nowhere", *more),
        wrong("99999999999999999999", *more),
        wrong("-3", *more),
        refused("999999", *more),
        refused("--all", "--company", "nobody", *more),
        idle("--cause", "nothing", *more),
        done("--cause", "cause-1", *more),
        idle("--cause", "cause-1", *more),
    )


# In this order on one system each: what an earlier line did stays done.
CHANGING: dict[str, tuple[Line, ...]] = {
    "retry": lines_about_held_jobs(),
    "discard": lines_about_held_jobs(),
    "move": (wrong("--all"), *lines_about_held_jobs("--to", "notifications")),
    "edit": (
        wrong("{keyed}"),
        wrong("99999999999999999999", "--payload", "{good}"),
        refused("999999", "--payload", "{good}"),
        refused("{keyed}", "--payload", "{missing}"),
        refused("{keyed}", "--payload", "{broken}"),
        refused("{keyed}", "--payload", "{large}"),
        refused("{keyed}", "--payload", "{same}"),
        refused("{twin}", "--payload", "{good}"),
        done("{keyed}", "--payload", "{good}"),
        refused("{keyed}", "--payload", "{good}"),
    ),
    "bulk": (refused(str(UUID(int=8))), wrong("seven"), done(str(BULK))),
    "pause": (
        wrong(*WHY),
        wrong("webhooks"),
        wrong("webhooks", "--reason", " "),
        wrong("webhooks", "--company", "nord", *WHY),
        wrong("webhooks", "--until", "soon", *WHY),
        refused("webhoks", *WHY),
        refused("--company", "nobody", *WHY),
        refused("--node", "nowhere", *WHY),
        refused("--schedule", KIND, *WHY),
        refused("default.release_holds", *WHY),
        refused("webhooks", "--ramp", "2d", *WHY),
        done("webhooks", "--until", "30m", "--ramp", "5m", *WHY),
        done("default", *WHY),
        done(KIND, *WHY),
        done("--company", "nord", *WHY),
        done("--provider", "calcom", *WHY),
        done("--schedule", "default.retention", *WHY),
    ),
    "resume": (
        wrong(),
        refused("webhooks"),
        refused("webhoks"),
        refused("--node", "nowhere"),
        refused("default", "--ramp", "2d"),
        done("default", "--ramp", "5m"),
        refused("default"),
    ),
    "scale": (
        wrong("nowhere", "40"),
        wrong("webhooks", "many"),
        wrong("webhooks", "-1"),
        refused("webhooks", "0"),
        refused("webhooks", "61"),
        refused("webhooks", "40"),
        refused("webhooks", "20", "--node", "nowhere"),
        refused("appointments", "auto"),
        done("webhooks", "20"),
        done("webhooks", "auto"),
        refused("webhooks", "auto"),
    ),
    "balance": (
        wrong("upside-down"),
        idle("on"),
        done("off"),
        idle("off"),
        idle("reset"),
    ),
    "quarantine": (
        wrong(KIND),
        wrong("--company", "nord", *WHY),
        wrong("--lift", "1", "--company", "nord"),
        wrong("--lift", "99999999999999999999"),
        refused("webhooks.x", *WHY),
        refused(KIND, "--company", "nobody", *WHY),
        refused(KIND, "--contains", "x" * 501, *WHY),
        refused("--cause", "nothing", *WHY),
        refused(KIND, "--contains", "call_bad", *WHY),
        refused("--lift", "4711"),
        done("--cause", "cause-1", "--until", "2h", *WHY),
        done("--lift", "1"),
        refused("--lift", "1"),
    ),
    "breaker": (
        wrong("calcom", "--until", "30m"),
        wrong("calcom", "ajar"),
        wrong("calcom", "open"),
        wrong("calcom", "close", "--until", "30m"),
        refused("calcon", "open", *WHY),
        refused("calcon", "close"),
        refused("calcom", "close", "--ramp", "2d"),
        done("calcom", "open", "--until", "30m", *WHY),
        done("calcom", "close"),
    ),
    "schedule": (
        wrong("run"),
        wrong("run", "default.retention", "--ramp", "5m"),
        wrong("pause", "default.retention"),
        refused("run", KIND),
        refused("resume", "default.retention"),
        refused("pause", "default.purge_rejects", *WHY),
        done("run", "default.retention"),
        idle("run", "default.retention"),
        done("pause", "default.retention", *WHY),
        done("resume", "default.retention"),
    ),
}

READING: dict[str, tuple[tuple[str, ...], ...]] = {
    "ls": ((),),
    "held": ((), ("--causes",), ("--cause", "nothing")),
    "show": (("{keyed}",), ("{keyed}", "--reveal", *WHY)),
    "find": (("room",), ("nothing-like-it",)),
    "history": ((), ("webhooks", "--steps")),
    "policies": ((), ("webhooks", "--set")),
    "pauses": ((), ("--all",)),
}

OF_CHANGING = {"bulk": ((),), "balance": ((),), "quarantine": ((),), "breaker": ((),), "schedule": ((),)}
"""Verbs that list what they change when nothing is to be changed."""


def verbs() -> dict[str, argparse.ArgumentParser]:
    """All verbs of the command."""
    parser = argparse.ArgumentParser()
    queue.configure(parser)
    (action,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return cast("dict[str, argparse.ArgumentParser]", action.choices)


@pytest.fixture
async def server(
    database: PostgresAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
) -> OwnConnection:
    """A system in which something of everything is there, seen by who sees all of it."""
    settle_home(tmp_path / "home", database, monkeypatch)
    scenery = await company_scenery(open_connection)
    worker = scenery.worker
    for _ in range(3):
        await scenery.job(payload={"subject": "call_bad"})
    await hold(worker, 3, entrypoint=KIND, company=scenery.company)
    await hold(worker, 1, entrypoint=KIND, payload='{"n": 1}', key="keyed", cause="cause-2")
    await hold(worker, 1, entrypoint=KIND, payload='{"n": 1}', key="twin", cause="cause-2")
    await JobQueue().enqueue(worker, [NewJob(KIND, dedupe_key="twin")])
    for statement in (
        "insert into pauses (kind, name, paused_by) values ('queue', 'default', 'anna')",
        f"insert into quarantines (entrypoint, contains, made_by) values ('{KIND}', 'call_bad', 'anna')",
        "insert into queue_slots (queue, node, slots, is_pinned, decided_by) values ('webhooks', '', 40, true, 'anna')",
        f"insert into bulk_actions (id, action, filter, reason, started_by, node, matched) values ('{BULK}', 'retry',"
        " '{}', '', 'anna', 'front', 9)",
    ):
        await worker.execute(statement)
    server = await superuser_connection()
    await server.execute("set search_path = askpro")
    return server


async def everything(server: OwnConnection) -> dict[str, str]:
    """What stands in every table, in one word each."""
    tables = await server.fetch("select tablename from pg_tables where schemaname = 'askpro' order by 1")
    assert len(tables) > 20
    words = ", ".join(
        f"(select md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from {row['tablename']} t)"
        for row in tables
    )
    row = await server.fetchrow(f"select {words}")
    assert row is not None
    return dict(zip((each["tablename"] for each in tables), row, strict=True))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    error: str


class Command:
    """`askpro queue`, with what the lines have in braces filled in."""

    def __init__(self, capsys: pytest.CaptureFixture[str], names: dict[str, str]) -> None:
        self._capsys = capsys
        self._names = names

    async def __call__(self, verb: str, *arguments: str) -> Ended:
        words = [self._names.get(word, word) for word in arguments]
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, ["queue", verb, *words])
        printed = self._capsys.readouterr()
        return Ended(code, printed.out, printed.err)


@pytest.fixture
async def command(server: OwnConnection, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    files = {"good": '{"n": 2}', "same": '{"n": 1}', "broken": "{", "large": json.dumps("x" * 1_000_001)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ids = await server.fetch("select dedupe_key, job_id from held_jobs where dedupe_key in ('keyed', 'twin')")
    names = {f"{{{row['dedupe_key']}}}": str(row["job_id"]) for row in ids}
    return Command(capsys, {**names, **{f"{{{name}}}": str(tmp_path / name) for name in (*files, "missing")}})


def test_every_verb_prints_json_and_is_known_here_as_changing_or_reading() -> None:
    known = verbs()
    assert {name for name, parser in known.items() if "--dry-run" in parser._option_string_actions} == set(CHANGING)
    assert set(known) == {*CHANGING, *READING}
    assert all("--json" in parser._option_string_actions for parser in known.values())
    assert all("--reason" in known[name]._option_string_actions for name in CHANGING)


@pytest.mark.parametrize("verb", list(CHANGING))
async def test_a_dry_run_is_refused_what_the_real_run_is_and_changes_nothing(
    server: OwnConnection, command: Command, verb: str
) -> None:
    agreed = () if verb == "bulk" else ("--yes",)
    for line in CHANGING[verb]:
        told = f"{verb} {line.arguments}"
        before = await everything(server)
        dry = await command(verb, *line.arguments, "--dry-run")
        dry_json = await command(verb, *line.arguments, "--dry-run", "--json")
        assert await everything(server) == before, told
        real = await command(verb, *line.arguments, *agreed, "--json")
        assert (dry.code, dry_json.code, real.code) == (line.code,) * 3, (told, dry, dry_json, real)
        json.loads(dry_json.out)
        json.loads(real.out)
        after = await everything(server)
        assert (after != before) == line.has_effect, (told, real)
        if line.code == 0:
            assert dry.out.strip(), told
            assert "Traceback" not in dry.error, told
        else:
            assert not dry.out, told
            plain = await command(verb, *line.arguments, *agreed)
            assert plain == dry, told
            assert real == dry_json, told


@pytest.mark.parametrize("verb", [*READING, *OF_CHANGING])
async def test_a_verb_that_only_looks_prints_json_alone(server: OwnConnection, command: Command, verb: str) -> None:
    for arguments in READING.get(verb) or OF_CHANGING[verb]:
        before = {**await everything(server), "audit_log": ""}
        looked = await command(verb, *arguments, "--json")
        assert looked.code == 0, (verb, arguments, looked)
        json.loads(looked.out)
        assert {**await everything(server), "audit_log": ""} == before, (verb, arguments)
