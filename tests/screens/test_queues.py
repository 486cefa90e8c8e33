"""Queues in the console: what is asked for is done, shown at once, and written down; at any size, with any data."""

from __future__ import annotations

import time
from functools import partial

import msgspec

from backend.postgres.address import PostgresAddress
from backend.watch.snapshots import PauseRow, QueuesSnapshot
from tests.screens.consoles import Console, GivenReader, console
from tests.screens.held_console import DatabaseStack, asked, value
from tests.screens.queue_samples import night, well

ACTIONS = "select array_agg(action || ' ' || subject || ' ' || reason order by id) from audit_log where actor = 'anna'"


def with_slots(queue: str, **changes: object) -> QueuesSnapshot:
    """All is well, but for the slots of one queue."""
    snapshot = well()
    slots = tuple(msgspec.structs.replace(row, **changes) if row.queue == queue else row for row in snapshot.slots)
    return msgspec.structs.replace(snapshot, slots=slots)


def has_rule(shown: Console, title: str) -> bool:
    """Whether a list of that title is shown."""
    return any(line.startswith(f"── {title}") for line in shown.lines)


async def row_of(shown: Console, name: str) -> str:
    """The line of a queue."""
    return next(line for line in shown.lines if line.strip().startswith(name))


async def test_scaling_tells_the_effect_first_and_shows_it_at_once(database: PostgresAddress) -> None:
    reader = GivenReader(well())
    async with console(reader, first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("notifications", "● works")
        await shown.press("down", "down", "plus", "plus", "pageup")
        await shown.until_shows("Scale default", "20 → 27", "5 to 40", "until `=` gives the queue back")
        assert await value(database, "select count(*) from queue_slots") == 0
        await shown.press("y")
        await shown.until_shows("→ 27", "default has 27 slots")
        assert await value(database, "select slots from queue_slots where queue = 'default' and is_pinned") == 27

        reader.put(with_slots("default", slots=27, is_pinned=True))
        await shown.until_shows("pinned")
        assert "2/27" in await row_of(shown, "default")
        await shown.press("equals_sign")
        await shown.until_shows("Give default back to the balancer?", "20 slots again")
        await shown.press("y")
        await shown.until_shows("default is the balancer's again.")
        assert await value(database, "select count(*) from queue_slots") == 0
        assert await value(database, ACTIONS) == ["slots.pin default ", "slots.unpin default "]

        await shown.press("minus", "pagedown", "pagedown", "pagedown")
        await shown.until_shows("Scale default", "below its floor of 5")
        await shown.press("escape", "B")
        await shown.until_shows("Stop the balancer?")
        await shown.press("y")
        await shown.until_shows("Slots stay as they are.")
        assert await value(database, "select is_on from balancing") is False


async def test_a_pause_has_a_reason_and_an_end_and_a_resume_a_ramp(database: PostgresAddress) -> None:
    reader = GivenReader(well())
    async with console(reader, first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("● works")
        await shown.press("P")
        await shown.until_shows("queue webhooks", "to the question")
        await shown.press(*"why not", "tab", *"soon")
        await shown.until_shows("`soon` is no moment")
        await shown.press("tab", "tab", "y")
        assert await value(database, "select count(*) from pauses") == 0, "nothing happens while it makes no sense"
        await shown.press("tab", "tab", *["backspace"] * 4, *"30 m", "tab", *"2 m", "enter")
        await shown.until_shows("in 30 m", "speed over 2 m", "recorded as anna")
        await shown.press("y")
        await shown.until_shows("Paused queue webhooks until")
        kept = await asked(database, lambda look: look.fetchrow("select * from pauses"))
        assert kept is not None
        assert (kept["kind"], kept["name"], kept["reason"], kept["paused_by"], kept["ramp_s"]) == (
            "queue", "webhooks", "why not", "anna", 120,
        )  # fmt: skip
        assert round((kept["until"] - kept["paused_at"]).total_seconds() / 60) == 30

        pause = PauseRow(
            id=kept["id"], kind="queue", name="webhooks", reason="why not", paused_by="anna",
            paused_at=kept["paused_at"].timestamp(), until=kept["until"].timestamp(), ramp_s=120,
        )  # fmt: skip
        reader.put(msgspec.structs.replace(well(), pauses=(pause,)))
        await shown.until_shows("▲ paused", "In force  1", "why not", "P resume")
        await shown.press("P")
        await shown.until_shows("Resume: queue webhooks", "Paused by", "why not", "speed over 2 m")
        await shown.press("y")
        await shown.until_shows("Resumed queue webhooks.")
        assert await value(database, "select resumed_by || ' ' || ramp_s from pauses") == "anna 120"
        assert await value(database, ACTIONS) == ["queue.pause webhooks why not", "queue.resume webhooks "]


async def test_a_refusal_is_told_in_words_and_what_was_shown_is_taken_back(database: PostgresAddress) -> None:
    async with console(GivenReader(well()), first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("● works")
        await shown.press("P", "tab", "tab", "tab", "left")
        await shown.until_shows("a company …", "Which company?")
        await shown.press("tab", *"nrod", "enter")
        await shown.until_shows("until somebody resumes")
        await shown.press("y")
        await shown.until_shows("There is no company nrod.")
        assert await value(database, "select count(*) from pauses") == 0


async def test_providers_quarantines_and_bulk_actions_are_taken_back_from_their_lists(
    database: PostgresAddress,
) -> None:
    async with console(GivenReader(night(now=time.time())), first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("held back", "In force  4")
        await shown.press("tab", "tab")
        await shown.until_shows("P cancel")
        await shown.press("P")
        await shown.until_shows("Cancel the retry of 10 000 held jobs?", "5 888 jobs stay")
        await shown.press("escape", "end")
        await shown.until_shows("P lift")
        await shown.press("enter")
        await shown.until_shows("Lift the quarantine of webhooks.retell_call of physio-sued?", "stay held until")
        await shown.press("y")
        await shown.until_shows("There is no quarantine 3 in force.")
        await shown.press("tab", "tab")
        await shown.until_shows("O close breaker")
        await shown.press("O")
        await shown.until_shows("Close the breaker: provider calcom")
        await shown.press("y")
        await shown.until_shows("The breakers of calcom are closed.")
        await shown.press("down", "O")
        await shown.until_shows("provider retell", "in 10 m", "none is lost")
        await shown.press("enter", "y")
        await shown.until_shows("Paused provider retell")
        assert await value(database, ACTIONS) == ["breaker.close calcom ", "provider.pause retell "]


async def test_at_80x24_the_verdicts_stay_and_every_list_is_a_key_away() -> None:
    async with console(GivenReader(night()), first="queues", size=(80, 24)) as shown:
        await shown.until_shows("✖ default.report eats memory, job 4711", "oldest", "drain", "pinned", "P pause")
        assert "Providers" not in "".join(line for line in shown.lines if line.startswith("──"))
        for title in ("Held, by cause", "In force", "Decisions and troubles", "Providers", "Job types"):
            await shown.press("tab")
            await shown.until(partial(has_rule, shown, title), title)
        assert all(len(line) <= 80 for line in shown.lines)


async def test_nothing_can_be_changed_when_it_is_read_only() -> None:
    async with console(GivenReader(night()), first="queues", read_only=True) as shown:
        await shown.until_shows("READ ONLY", "● works")
        for key, name in (("P", "pause"), ("plus", "more"), ("equals_sign", "auto"), ("B", "balancer")):
            await shown.press(key)
            await shown.until_shows(f"Read only: {name} is not possible.")
        assert "Scale" not in shown.text


async def test_old_data_leaves_room_for_why_it_is_old() -> None:
    reader = GivenReader(night())
    async with console(reader, first="queues", size=(80, 24)) as shown:
        await shown.until_shows("LIVE", "Held, by cause")
        reader.fail("queues", "Valkey: connection refused", age_s=42.0)
        await shown.until_shows("▲ STALE", "▲ Valkey: connection refused")
        await shown.until_shows("default.calendar_sync")


async def test_a_screen_is_painted_once_it_is_laid_out_and_not_after_a_fixed_time() -> None:
    async with console(GivenReader(well()), first="calls") as shown:
        await shown.until_shows("Calls")
        shown.app.delay_update(3600.0)
        await shown.press("5")
        await shown.until(lambda: not shown.app._batch_count, "the repaint")
        await shown.until_shows("● works")
        assert shown.app.screen._css_update_count == shown.app._css_update_count
