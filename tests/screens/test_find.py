"""Finding jobs while one types: the answer to the last key counts, and what is found can be decided about."""

from __future__ import annotations

from datetime import timedelta

from backend.postgres.address import PostgresAddress, Role
from screens.find import FindField, FindScreen, question_of
from tests.databases import OpenConnection
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import DatabaseStack, held_console, value
from tests.screens.queue_samples import well
from tests.services.held_scenes import hold, states


async def test_jobs_are_found_while_one_types_opened_and_decided_about(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    plain = await hold(worker, 20, payload='{"n": "plain #"}')
    (odd,) = await hold(worker, payload='{"n": "Zwölfe"}', cause="cause-2", entrypoint="default.b")
    async with held_console(database, FindScreen()) as shown:
        await shown.until_shows("Found  21", "21 found", "↑ choose")
        await shown.press(*"zwö")
        await shown.until_shows("Found  1 ", f"{odd}", "default.b", "1 found")
        field = shown.app.screen.query_one(FindField)
        field.value = "zwö queue=x"
        await shown.until_shows("There is no queue x")
        field.value = "plain company=nix"
        await shown.until_shows("There is no company nix.")
        field.value = "plain"
        await shown.until_shows("Found  20", "20 found")
        await shown.press("down", "enter")
        await shown.until_shows("Payload", f"webhooks.a {plain[-2]}")
        await shown.press("escape")
        await shown.until_shows("Found  20")
        await shown.press("tab", "r", "a")
        await shown.until_shows("Retry 20 held jobs?", "all held jobs that match “plain”")
        await shown.press("y")
        await shown.until_shows("20 of 20")
        await shown.press("escape", "slash")
        await shown.until(lambda: isinstance(shown.app.focused, FindField))
        await shown.press("escape")
        await shown.until(lambda: not isinstance(shown.app.screen, FindScreen))
    assert await states(worker) == {"held": 1, "retried": 20}
    assert await value(database, "select filter ->> 'text' from bulk_actions") == "plain"


async def test_slash_and_colon_find_open_it_from_queues(database: PostgresAddress) -> None:
    async with held_console(database, FindScreen()) as shown:
        await shown.until_shows("No job matches.")
        await shown.press("escape")
        for keys in (("slash",), ("colon", *"find", "enter")):
            await shown.press(*keys)
            await shown.until(lambda: isinstance(shown.app.screen, FindScreen))
            await shown.press("escape")
            await shown.until(lambda: not isinstance(shown.app.screen, FindScreen))


def test_what_is_typed_is_understood_while_it_is_typed() -> None:
    asked = question_of("429 too company=nord queue=default since=2h held")
    assert (asked.words, asked.company, asked.queue, asked.held_only) == ("429 too", "nord", "default", True)
    assert asked.since == timedelta(hours=2)
    assert question_of("company= a=b").words == "a=b"
    assert "default" in question_of("queue=nix").problem
    assert "2 h" in question_of("since=soon").problem


async def test_find_with_words_is_there_from_every_screen_and_looks_for_them_at_once(database: PostgresAddress) -> None:
    async with console(GivenReader(well()), first="calls", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("Calls")
        await shown.press("colon", *"find", "space", *"nosuch", "enter")
        await shown.until_shows("find › nosuch", "No job matches. company=SLUG queue=NAME since=2h held")
        await shown.press("ctrl+c")
        await shown.until_gone("find › nosuch")
        assert shown.app.is_running
