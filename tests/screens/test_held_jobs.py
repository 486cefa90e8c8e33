"""Held jobs from the console: dry run, retry, discard, move, quarantine; and keys that are answered all the while."""

from __future__ import annotations

from backend.postgres.address import PostgresAddress, Role
from screens.cause import CauseScreen
from tests.databases import OpenConnection
from tests.screens.held_console import GROUP, held_console, value
from tests.services.held_scenes import hold, states


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
        await shown.press("tab", "tab", *"calm")
        await shown.until_shows("calm")
        await shown.press("tab", "y")
        await shown.until_shows("Retried: 3 marked jobs", "3 of 3", "Skipped", "esc")
        assert await states(worker) == {"held": 9, "retried": 3}
        await shown.press("escape")
        await shown.until_shows("Jobs  9")
    assert await value(database, "select actor || ' ' || reason from audit_log order by id limit 1") == "anna calm"
