"""The record on the screen: newest first, older entries when one goes down to them, every particular in a dialog."""

from __future__ import annotations

from backend.postgres.address import PostgresAddress, Role
from backend.services.operating.audit import By, record
from backend.watch.audit_log import PAGE, audit_entries
from screens.audit import LOOK_TICKS, AuditScreen, detail_text
from tests.databases import OpenConnection
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import held_console


async def test_the_record_shows_who_did_what_and_why_and_goes_on_to_older_entries(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await worker.execute(
        "insert into audit_log (actor, node, action, subject) select 'marie', 'front', 'queue.pause', 'queue ' || i"
        " from generate_series(1, $1) i",
        PAGE + 3,
    )
    detail = {"matched": 198, "done": 196, "why": {}, "filter": {"text": "429"}}
    await record(worker, By("anna", "front"), "held.retry", "cause f1", reason="calendar is back", detail=detail)
    async with held_console(database, AuditScreen()) as shown:
        await shown.until_shows("anna", "held.retry", "calendar is back", "done 196, matched 198", f"  {PAGE} ")
        await shown.press("enter")
        await shown.until_shows("held.retry cause f1", "on front, as askpro_worker", '{"text": "429"}')
        await shown.press("escape", "end")
        await shown.until_shows(f"  {PAGE + 4} ")
        await shown.press("end")
        await shown.until_shows("queue 1")
        await record(worker, By("zoe", "front"), "held.discard", "job 7", reason="")
        await shown.press("ctrl+r", "home")
        await shown.until_shows("zoe", "held.discard")


async def test_a_burst_of_entries_leaves_no_hole(database: PostgresAddress, open_connection: OpenConnection) -> None:
    worker = await open_connection(Role.WORKER)
    burst = (
        "insert into audit_log (actor, node, action, subject)"
        " select 'marie', 'front', 'queue.pause', 'queue ' || i from generate_series(1, $1) i"
    )
    await worker.execute(burst, PAGE + 20)
    async with held_console(database, AuditScreen()) as shown:
        await shown.until_shows(f"newest first  {PAGE}")
        await worker.execute(burst, 2 * PAGE + 5)
        await shown.press("ctrl+r")
        await shown.until_shows(f"newest first  {3 * PAGE + 5}")
        await shown.press("end")
        await shown.until_shows(f"newest first  {3 * PAGE + 25}")


async def test_a_slow_database_is_waited_for_instead_of_being_asked_anew(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, migrator = await open_connection(Role.WORKER), await open_connection(Role.MIGRATE)
    await record(worker, By("anna", "front"), "held.retry", "job 1", reason="")
    held_up = migrator.transaction()
    await held_up.start()
    await migrator.execute("set local role askpro_owner")
    await migrator.execute("lock table audit_log in access exclusive mode")
    screen = AuditScreen()
    async with held_console(database, screen) as shown:
        reading = {each for each in shown.app.workers if each.group == "newest"}
        assert len(reading) == 1
        for _ in range(3 * LOOK_TICKS):
            screen.tick()
        assert {each for each in shown.app.workers if each.group == "newest"} == reading
        await held_up.rollback()
        await shown.until_shows("held.retry")


async def test_a_record_that_cannot_be_read_says_why_and_what_to_do() -> None:
    async with console(GivenReader(), first="queues") as shown:
        await shown.app.push_screen(AuditScreen())
        await shown.until_shows("The record cannot be read: The database is not known")
        assert "Nothing was done by hand yet." not in shown.text


async def test_an_empty_record_says_what_will_stand_there(database: PostgresAddress) -> None:
    async with held_console(database, AuditScreen(), size=(80, 24)) as shown:
        await shown.until_shows("Nothing was done by hand yet.")
        await shown.press("escape")
        await shown.until_gone("Nothing was done by hand yet.")


async def test_words_are_looked_for_everywhere_and_literally(open_connection: OpenConnection) -> None:
    worker, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    await record(worker, By("anna", "front"), "held.retry", "job 1", reason="100 % back")
    await record(worker, By("anna", "front"), "held.retry", "job 2", reason="1000 back")
    assert [entry.subject for entry in await audit_entries(console, words="100 % anna")] == ["job 1"]
    assert [entry.subject for entry in await audit_entries(console, before=2)] == ["job 1"]


def test_particulars_leave_out_what_says_nothing() -> None:
    assert detail_text({"done": 3, "why_skipped": {}, "queue": "default"}) == "done 3, queue default"
