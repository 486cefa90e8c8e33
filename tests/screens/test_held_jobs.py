"""Held jobs from the console: dry run, retry, discard, move, quarantine; and keys that are answered all the while."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from textual import events

from backend.postgres.address import PostgresAddress, Role
from backend.queue.port import JobQueue, NewJob
from backend.services.held_jobs.selecting import CauseCount
from screens.bulk import BulkDialog
from screens.bulk_lines import Stand, preview_lines, progress_lines, result_lines, scope_line, share_text
from screens.bulk_run import RUNNING
from screens.cause import CauseScreen
from screens.find import FindScreen
from screens.forms import Field
from screens.job import JobScreen
from screens.quarantine import QuarantineDialog
from tests.databases import OpenConnection
from tests.screens.held_console import GROUP, PREVIEW, held_console, value
from tests.services.held_scenes import hold, states
from tests.watch.well import queues
from widgets.pieces import text_of

MANY = 10_000


async def test_the_marked_jobs_are_retried_after_a_dry_run_and_with_a_reason(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    jobs = await hold(worker, 12)
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows(f"{jobs[-1]}", "Jobs  12", "no room in branch")
        await shown.press("space", "space", "space", "r")
        await shown.until_shows("Retry 3 held jobs?", "3 marked jobs", "webhooks.a", "ValueError: no room")
        assert await states(worker) == {"held": 12}, "a dry run touches nothing"
        await shown.press("tab", "tab", "y", "y", "tab")
        assert await states(worker) == {"held": 12}, "y is a letter while one types"
        await shown.press("y")
        await shown.until_shows("Retried: 3 marked jobs", "3 of 3", "Skipped", "esc")
        assert await states(worker) == {"held": 9, "retried": 3}
        await shown.press("escape")
        await shown.until_shows("Jobs  9")
        # Somebody else decides about the one under the cursor just before it is asked about.
        await worker.execute("update held_jobs set state = 'discarded' where job_id = $1", jobs[-4])
        await shown.press("r")
        await shown.until_shows("None of them is held any more")
        await shown.press("a")
        await shown.until_shows("Retry 8 held jobs?", "all 12 of this cause")
        await shown.press("escape")
        await shown.until_gone("Retry 8 held jobs?")
    assert await value(database, "select actor || ' ' || reason from audit_log order by id limit 1") == "anna yy"


async def test_every_key_is_answered_while_ten_thousand_are_retried(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, MANY)
    group = msgspec.structs.replace(GROUP, held_total=MANY)
    async with held_console(database, CauseScreen(group), group=group) as shown:
        await shown.until_shows("the latest 500")
        await shown.press("r", "a")
        await shown.until_shows("Retry 10 000 held jobs?")
        await shown.press("tab", *"100", "tab", "tab")
        await shown.until_shows("at 100 /s: about 2 m")
        await shown.press("y")
        await shown.until_shows("Retrying: all 10 000 of this cause", " of 10 000", "what was done stays done")
        (run,) = RUNNING
        await shown.until(lambda: run.done > 0)
        await shown.press("escape")
        await shown.until_shows("It goes on in the background", "the latest 500")
        await shown.press("down", "enter")
        await shown.until_shows("Payload")
        await shown.press("escape", "escape", "2")
        await shown.until_shows("Started")
        await shown.press("5", "question_mark")
        await shown.until_shows("Help: Queues")
        await shown.press("escape")
        assert not run.is_over, "all these keys were answered while it ran"
        assert 0 < run.done < MANY
        await shown.press("q")
        await shown.until_shows("Leave while this console is at work: retry of 10 000")
        await shown.press("escape", "q", "y")
    assert not RUNNING
    left = await states(worker)
    assert left["retried"] == run.done
    assert left["held"] == MANY - run.done
    assert await value(database, "select state from bulk_actions") == "cancelled"


async def test_discarding_wants_the_number_and_moving_wants_a_queue(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 4)
    async with worker.transaction():
        await JobQueue().enqueue(worker, [NewJob("default.b"), NewJob("default.b")])
    async with held_console(database, CauseScreen(GROUP), size=(80, 24)) as shown:
        await shown.until_shows("Jobs  4")
        await shown.press("space", "space", "D")
        await shown.until_shows("Discard 2 held jobs?", "deleted for good", "Type number")
        await shown.press("y")
        await shown.until_shows("Type how many they are")
        await shown.press("tab", "tab", "tab", "3", "enter")
        await shown.until_shows("Type how many they are")
        assert await states(worker) == {"held": 4}
        await shown.press("backspace", "2", "enter")
        await shown.until_shows("Discarded: 2 marked jobs", "2 of 2")
        await shown.press("enter", "m")
        await shown.until_shows("Move 1 held job to another queue?")
        await shown.press("y")
        await shown.until_shows("To which queue?")
        await shown.press("1")
        await shown.until_shows("They stand in webhooks already.")
        await shown.press("3")
        await shown.until_shows("to default?", "▸ default", "2 jobs wait in default already")
        await shown.press("y")
        await shown.until_shows("Moved: job", "1 of 1")
        await shown.press("escape")
        await shown.until_shows("Jobs  1")
    assert await states(worker) == {"held": 1, "discarded": 2, "replaced": 1}
    moved = "select entrypoint from pgqueuer where status = 'queued' and entrypoint <> 'default.b'"
    assert await value(database, moved) == "default.webhooks.a"


async def test_what_is_held_after_it_was_counted_is_not_decided_about(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    counted = await hold(worker, 3)
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows("Jobs  3")
        await shown.press("D", "a")
        await shown.until_shows("Discard 3 held jobs?", "all 12 of this cause")
        later = await hold(worker, 2, ago_s=0)
        await shown.press("tab", "tab", "tab", "3", "enter")
        await shown.until_shows("Discarded: all 12 of this cause", "3 of 3")
        await shown.press("enter")
        await shown.until_shows("Jobs  2")
    left = await worker.fetch("select job_id from held_jobs where state = 'held' order by 1")
    assert [row["job_id"] for row in left] == later
    assert not set(later) & set(counted)


async def test_a_move_says_which_jobs_stand_in_the_target_queue_already(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 3)
    there = await hold(worker, 2, entrypoint="default.webhooks.a")
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows("Jobs  5")
        await shown.press("m", "a")
        await shown.until_shows("Move 5 held jobs to another queue?")
        assert "Would skip" not in shown.text, "nothing is said of a queue before it is chosen"
        await shown.press("3")
        await shown.until_shows("to default?", "2 stand in default already")
        await shown.press("2")
        await shown.until_gone("2 stand in")
        await shown.press("3")
        await shown.until_shows("2 stand in default already")
        await shown.press("y")
        await shown.until_shows("Moved: all", "3 of 5", "2: it stands in that queue already")
        await shown.press("escape", "m")
        await shown.until_shows("Move 1 held job to another queue?")
        await shown.press("3")
        await shown.until_shows("They stand in default already.")
    left = await worker.fetch("select job_id from held_jobs where state = 'held' order by 1")
    assert [row["job_id"] for row in left] == there


async def test_a_cause_is_quarantined_for_a_company_until_a_moment(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker)
    async with worker.transaction():
        await JobQueue().enqueue(worker, [NewJob("webhooks.a", b'{"n": 7}'), NewJob("webhooks.a", b'{"n": 8}')])
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows("Jobs  1")
        await shown.press("Q")
        await shown.until_shows("Quarantine webhooks.a?", "2 jobs wait that it would hold")
        await shown.press("tab", *"nix", "tab", "7")
        await shown.until_shows("There is no company nix.")
        await shown.press("up", "backspace", "backspace", "backspace", "down")
        await shown.until_shows("1 job waits that it would hold")
        await shown.press("tab", *"soon", "tab", *"bad", "tab", "y")
        await shown.until_shows("`soon` is no moment")
        await shown.press("up", "up", "backspace", "backspace", "backspace", "backspace", *"2h", "down", "down", "y")
        await shown.until_shows("webhooks.a is quarantined.")
    row = await worker.fetchrow("select *, until - made_at as span from quarantines")
    assert row is not None
    assert (row["contains"], row["fingerprint"], row["reason"], row["made_by"]) == ("7", "cause-1", "bad", "anna")
    assert 7100 < row["span"].total_seconds() < 7300


async def test_a_quarantine_waits_for_its_count_and_goes_on_when_the_dialog_is_left(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, other = await open_connection(Role.WORKER), await open_connection(Role.WORKER)
    await hold(worker)
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows("Jobs  1")
        await shown.press("Q")
        await shown.until_shows("0 jobs wait that it would hold")
        dialog = shown.app.screen
        assert isinstance(dialog, QuarantineDialog)
        dialog.query_one("#field-contains", Field).value = "room"
        dialog.action_agree()  # before the loop turns: what was counted is not what stands in the fields
        await shown.until_shows("is still being counted.")
        await shown.until_shows("0 jobs wait that it would hold")
        assert await value(database, "select count(*) from quarantines") == 0
        async with other.transaction():
            await other.execute("lock table quarantines in access exclusive mode")
            await shown.press("y")
            await shown.until_shows("It is being made")
            await shown.press("escape")
        await shown.until_shows("The quarantine is being made", "Jobs  1")
        await shown.until_shows("webhooks.a is quarantined.")
        await shown.press("Q", "tab", "tab", *"room", "tab", "tab", "tab")
        await shown.until_shows("0 jobs wait that it would hold")
        await shown.press("y")
        await shown.until_shows("does that already")
        async with other.transaction():
            await other.execute("lock table quarantines in access exclusive mode")
            await shown.press("y")
            await shown.until_shows("It is being made")
            await shown.press("escape")
        await shown.until_shows("Quarantine 1 does that already.")
    assert await value(database, "select count(*) from quarantines") == 1


async def test_what_others_do_with_many_jobs_is_cancelled_from_a_job_and_from_the_search(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    (job,) = await hold(worker)
    begin = (
        "insert into bulk_actions (action, filter, reason, started_by, node, matched, done)"
        " values ($1, '{}', 'a test', $2, 'front', 4000, $3)"
    )
    async with held_console(database, JobScreen(f"{job}")) as shown:
        await shown.until_shows("Traceback of the last attempt")
        await shown.press("C")
        await shown.until_shows("Nothing is being done with many held jobs now.")
        await worker.execute(begin, "retry", "ben", 1000)
        await shown.press("C")
        await shown.until_shows("Cancel the retry of 4 000 held jobs?", "ben", "a test", "25 %", "3 000 jobs stay held")
        await shown.press("escape")
        await shown.press("C")
        await shown.until_shows("Cancel the retry")
        await shown.press("y")
        await shown.until_shows("The retry stops after the batch that is under way.")
    asked = "select string_agg(action || ' ' || started_by, ', ') from bulk_actions where is_cancel_asked"
    assert await value(database, asked) == "retry ben"
    async with held_console(database, FindScreen()) as shown:
        await worker.execute(begin, "move", "ida", 0)
        await shown.until_shows("no room in branch")
        await shown.press("tab", "C")
        await shown.until_shows("Cancel the move of 4 000 held jobs?", "1 of 2 that are under way")
        await shown.press("a")
        await shown.until_shows("Cancel the retry of 4 000 held jobs?", "2 of 2")
        await shown.press("a", "y")
        await shown.until_shows("The move stops after the batch that is under way.")
    assert await value(database, "select count(*) from audit_log where action = 'held.cancel'") == 2


async def test_a_cause_beyond_those_that_snapshots_tell_of_is_not_called_gone(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 7, ago_s=7200)
    others = tuple(msgspec.structs.replace(GROUP, fingerprint=f"other-{place}") for place in range(100))
    async with held_console(database, CauseScreen(GROUP)) as shown:
        await shown.until_shows("Jobs  7", "Held now      12")
        screen = shown.app.screen
        assert isinstance(screen, CauseScreen)
        screen.show_snapshot(queues(held=others))
        await shown.until_shows("Held now      7 ", "24 h 7")
        await shown.press("r", "a")
        await shown.until_shows("Retry 7 held jobs?", "all 7 of this cause")
        await shown.press("escape")
        await worker.execute("update held_jobs set state = 'discarded'")
        screen.action_reload()
        await shown.until_shows("None is held for this cause any more.", "Held now      0")


HOSTILE = (
    "1e999",
    f"{10**30}",
    "٣h",
    "🕐👩‍👩‍👧",
    "x" * 10_000,
    "a\0b",
    "one\ntwo",
    "nan",
    "-1",
    "[red]x[/]",
    "\x1b[2J",
)


async def test_whatever_stands_in_a_field_is_answered_in_words_and_changes_nothing(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker)
    async with held_console(database, CauseScreen(GROUP), size=(80, 24)) as shown:
        await shown.until_shows("Jobs  1")
        for key, asks, names in (
            ("r", "Retry 1 held job?", ("rate",)),
            ("m", "Move 1 held job to", ("rate",)),
            ("Q", "0 jobs wait that it would hold", ("until", "company")),
        ):
            await shown.press(key)
            await shown.until_shows(asks)
            dialog = shown.app.screen
            for name in names:
                for text in HOSTILE:
                    field = dialog.query_one(f"#field-{name}", Field)
                    field.post_message(events.Paste(text))
                    await shown.until(lambda field=field: bool(field.value))  # type: ignore[misc]  # bound at once
                    assert field.value.isprintable()
                    assert len(field.value) <= 256
                    await shown.press("y")
                    assert shown.app.screen is dialog
                    field.value = ""
            await shown.press("escape")
    assert await states(worker) == {"held": 1}
    assert await value(database, "select count(*) from quarantines") == 0


async def test_who_may_only_read_changes_nothing_and_a_dead_database_is_told_in_words(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker)
    async with held_console(database, CauseScreen(GROUP), read_only=True) as shown:
        await shown.until_shows("Jobs  1", "READ ONLY")
        for key, verb in (("r", "retry"), ("m", "move"), ("Q", "quarantine"), ("D", "discard")):
            await shown.press(key)
            await shown.until_shows(f"Read only: {verb} is not possible.")
        assert len(shown.app.screen_stack) == 2
    async with held_console(replace(database, port=1), CauseScreen(GROUP)) as shown:
        await shown.until_shows("The jobs cannot be read:")
        await shown.press("r")
        await shown.until_shows("It cannot be counted:", "esc")
        await shown.press("y", "escape")
        await shown.until(lambda: not isinstance(shown.app.screen, BulkDialog))


def test_a_dry_run_says_what_would_be_touched_and_what_stands_in_the_way() -> None:
    shown = text_of(list(preview_lines(PREVIEW, "retry", 78)))
    assert "nord 190, süd 6, no company 2, +2 more" in shown
    assert "TooManyRequests: HTTP 429" in shown
    assert "calcom" in shown
    assert "5: an equal job waits already" in shown
    assert "▲ provider calcom: they would wait until it is resumed" in shown
    discarded = text_of(list(preview_lines(PREVIEW, "discard", 78)))
    assert "calcom" not in discarded, "what is discarded calls nobody"
    move = msgspec.structs.replace(PREVIEW, standing=4)
    moved = text_of(list(preview_lines(move, "move", 78, target="default")))
    assert "12 jobs wait in default already" in moved
    assert "4 stand in default already" in moved
    assert "1: an equal job waits already" in moved
    assert "wait" not in text_of(list(preview_lines(move, "move", 78))), "no queue is chosen yet"


def test_a_long_cause_is_folded_without_leaving_a_unit_alone() -> None:
    cause = CauseCount(fingerprint="c", error_type="Refused", message="HTTP 429, it says: retry after 163 s", jobs=3)
    shown = [
        found.plain.rstrip()
        for found in preview_lines(msgspec.structs.replace(PREVIEW, by_cause=(cause,)), "retry", 60)
    ]
    place = next(index for index, text in enumerate(shown) if "Cause" in text)
    assert shown[place].endswith("retry")
    assert shown[place + 1].strip() == "after 163 s"


def test_progress_and_result_count_what_was_skipped_and_say_why() -> None:
    stand = Stand(action="retry", matched=200, done=90, skipped=10, elapsed_s=10.0, waiting_for="the database")
    shown = text_of(list(progress_lines(stand, 60)))
    assert "50 %" in shown
    assert "about 10 s to go" in shown
    assert "Waiting for the database." in shown
    over = replace(stand, is_cancelled=True, why_skipped={"an equal job waits already": 10})
    shown = text_of(list(result_lines(over, 60)))
    assert "▲ Cancelled." in shown
    assert "10: an equal job waits already" in shown
    assert "100 still held" in shown


def test_the_chosen_scope_stands_out_without_colour_too() -> None:
    assert "job 1  │  ▸ all 5" in scope_line(["job 1", "all 5"], 1, 78).plain
    assert share_text([("a", 3), ("", 2)], 2) == "a 3, no company 2"
