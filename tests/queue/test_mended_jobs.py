"""A held job that is mended runs: with another payload in its queue, or as it is in another queue's worker."""

from __future__ import annotations

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import JobContext
from backend.queue.failures import Permanent
from backend.services.held_jobs.editing import edit_and_retry
from backend.services.held_jobs.moving import move_held
from backend.services.operating.audit import By
from tests.databases import OpenConnection
from tests.queue.scenes import config_for, empty, job, put, until, working

ANNA = By("anna", "front")


async def test_an_edited_job_and_one_that_was_moved_run_where_they_are_now(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    ran: list[tuple[str, bytes]] = []

    async def work(context: JobContext) -> None:
        if context.payload == b'"typo"' or (context.entrypoint == "webhooks.a" and context.payload == b'"crowded out"'):
            raise Permanent("no such thing")
        ran.append((context.entrypoint, context.payload))

    edited, moved = await put(connection, job("webhooks.a", "typo"), job("webhooks.a", "crowded out"))
    async with working(config_for(database), {"webhooks.a": work}):
        await until(
            lambda: connection.fetchval("select count(*) = 2 from held_jobs where state = 'held'"), "both are held"
        )
        async with connection.transaction():
            await edit_and_retry(connection, ANNA, edited, b'"right"', expected=b'"typo"')
        await until(lambda: connection.fetchval("select count(*) = 1 from pgqueuer"), "the edited one is done")
    async with connection.transaction():
        await move_held(connection, [moved], QueueName.DEFAULT, by="anna")
    async with working(config_for(database, QueueName.DEFAULT), {}, elsewhere={"webhooks.a": work}):
        await until(lambda: empty(connection), "the moved one is done")
    assert ran == [("webhooks.a", b'"right"'), ("default.webhooks.a", b'"crowded out"')]
    rows = await connection.fetch("select state from held_jobs")
    assert [row["state"] for row in rows] == ["replaced", "replaced"]
