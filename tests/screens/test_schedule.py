"""The schedule and the policies in the console: how it went, run now, pause; where each value comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.policies import BUILT_IN, PolicyLine
from backend.queue.policies_in_force import PolicyInForce
from backend.queue.schedule import ScheduledRun, SchedulePause, ScheduleRow
from screens.policies import MEANINGS, meaning, source_tone
from screens.schedule import COLUMNS, ScheduleScreen, run_lines
from tests.databases import OpenConnection
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import DatabaseStack, held_console, value
from tests.screens.queue_samples import NOW, well
from widgets.pieces import Tone, text_of

AT = datetime.fromtimestamp(NOW, UTC)
WELL = ScheduleRow(
    entrypoint="default.retention", expression="every 1 h", next_run=AT + timedelta(minutes=9), last_run=AT,
    last_outcome="done", last_took_s=0.25, is_waiting=False, is_running=False,
    runs=(ScheduledRun(AT, "done", 0.25), ScheduledRun(AT - timedelta(hours=1), "retry", 9.0)), paused=None,
)  # fmt: skip


def shown(row: ScheduleRow, now: float = NOW) -> str:
    """The row as text."""
    return " | ".join(column.text(row, now) for column in COLUMNS)


def test_a_periodic_job_tells_when_it_comes_and_how_it_went() -> None:
    assert shown(WELL) == "default.retention | ● | every 1 h | in 9 m | 14:00:00 | 250 ms | ▲·"
    late = shown(WELL, NOW + 800)
    assert "▲ late" in late
    failed = msgspec.structs.replace(WELL, last_outcome="held", runs=(ScheduledRun(AT, "held", 1.0),))
    assert "✖ last held" in shown(failed)
    assert text_of(run_lines(failed, NOW, 3)).strip() == "✖ held      14:00:00         1.0 s"


def test_a_pause_of_it_says_who_and_why() -> None:
    until = AT + timedelta(minutes=30)
    paused = msgspec.structs.replace(
        WELL, paused=SchedulePause(paused_by="anna", paused_at=AT, reason="a long import", until=until)
    )
    assert "▲ paused 14:30 | every 1 h | –" in shown(paused)
    assert "▲ paused by anna since 14:00:00: a long import" in text_of(run_lines(paused, NOW, 3))


async def test_it_is_run_now_and_paused_as_asked(database: PostgresAddress) -> None:
    async with console(GivenReader(well()), first="queues", stack=DatabaseStack(database)) as look:
        await look.until_shows("● works")
        await look.press("colon", *"schedule", "enter")
        await look.until_shows("default.release_holds", "every 30 s", "every 10 min", "never", "has not run within")
        await look.press("R")
        await look.until_shows("Run default.release_holds now?")
        await look.press("y")
        await look.until_shows("default.release_holds put in.", "waits")
        assert await value(database, "select count(*) from pgqueuer where entrypoint = 'default.release_holds'") == 1
        await look.press("R")
        await look.until_shows("Run default.release_holds now?")
        await look.press("y")
        await look.until_shows("default.release_holds waits or runs already.")
        await look.press("P")
        await look.until_shows("schedule default.release_holds", "does not come round")
        await look.press("enter", "y")
        await look.until_shows("is not to be paused, its")
        await look.press("down", "P")
        await look.until_shows("schedule default.reminders_due")
        await look.press(*"rest", "enter", "y")
        await look.until_shows("▲ paused by anna since", ": rest", "P resume")
        await look.press("P")
        await look.until_shows("Resume: schedule default.reminders_due")
        await look.press("y")
        await look.until_shows("default.reminders_due comes round again.")
        await look.until_gone("▲ paused by anna")
    done = "select array_agg(action order by id) from audit_log where actor = 'anna'"
    assert await value(database, done) == ["schedule.run", "schedule.pause", "schedule.resume"]


async def test_a_slow_database_is_waited_for_instead_of_being_asked_anew(
    database: PostgresAddress, open_connection: OpenConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screens.schedule.RENEW_S", 0.0)
    migrator = await open_connection(Role.MIGRATE)
    held_up = migrator.transaction()
    await held_up.start()
    await migrator.execute("set local role askpro_owner")
    await migrator.execute("lock table job_runs in access exclusive mode")
    screen = ScheduleScreen()
    async with held_console(database, screen) as look:
        reading = {each for each in look.app.workers if each.group == "schedule"}
        assert len(reading) == 1
        screen.tick()
        screen.tick()
        assert {each for each in look.app.workers if each.group == "schedule"} == reading
        await held_up.rollback()
        await look.until_shows("default.release_holds")


@pytest.mark.parametrize("word", ["schedule", "policies"])
async def test_a_first_read_that_fails_says_why_instead_of_that_there_is_nothing(word: str) -> None:
    async with console(GivenReader(well()), first="queues") as look:
        await look.until_shows("● works")
        await look.press("colon", *word, "enter")
        await look.until_shows("✖ The database is not known: no system runs here.")
        assert "Nothing comes round" not in look.text
        assert "No worker lives" not in look.text


async def test_policies_tell_where_each_value_comes_from(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    lines = [
        PolicyLine("webhooks", "timeout_s", "30 s", "built in"),
        PolicyLine("webhooks", "attempts", "7", "askpro.toml:4 [profiles.local.queues.webhooks]"),
    ]
    worker = await open_connection(Role.WORKER)
    await worker.execute(
        """insert into workers (id, node, queue, pid, version, concurrency, state, policies)
           values (gen_random_uuid(), 'node-1', 'webhooks', 7, '1', 30, 'running', $1::jsonb)""",
        json.dumps({"lines": [msgspec.to_builtins(line) for line in lines]}),
    )
    async with console(GivenReader(well()), first="queues", stack=DatabaseStack(database)) as look:
        await look.until_shows("● works")
        await look.press("colon", *"policies", "enter")
        await look.until_shows("Policies in force  2", "askpro.toml:4", "every node")
        await look.until_shows("[profiles.….queues.webhooks] timeout_s")


def test_every_policy_has_a_meaning_and_a_place_in_the_settings() -> None:
    assert {line.name for line in BUILT_IN.lines()} <= set(MEANINGS)
    row = PolicyInForce(subject="default.retention", name="timeout_s", value="9 s", source="queue default")
    assert source_tone(row) is Tone.DIM
    assert source_tone(msgspec.structs.replace(row, source="set by anna")) is Tone.ACCENT
    assert '[profiles.….jobs."default.retention"] timeout_s' in "".join(piece.text for piece in meaning(row))
