"""Decisions about many held jobs while something goes wrong at the worst place."""

from __future__ import annotations

from backend.domain.vocabulary import BulkAction, BulkState
from backend.postgres.address import PostgresAddress, Role
from backend.services.held_jobs.bulk import EQUAL_WAITS, Progress, run_bulk
from backend.services.held_jobs.selecting import HeldFilter
from tests.databases import OpenConnection, SuperuserConnection
from tests.services.held_scenes import ANNA, hold, states, worker_at

ALWAYS_LOCKED = """
create function always_locked() returns trigger language plpgsql as $$
begin raise exception 'somebody holds on to it' using errcode = 'lock_not_available'; end $$;
create trigger always_locked before update on pgqueuer for each row when (new.id = {job_id})
    execute function always_locked();
"""

# A sequence counts on even though the connection that asked is cut.
CUT_AT_THE_SKIP = """
create sequence cuts;
create function cut_at_the_skip() returns trigger language plpgsql security definer set search_path = askpro as $$
begin
    if nextval('cuts') = 1 then perform pg_terminate_backend(pg_backend_pid()); end if;
    return new;
end $$;
create trigger cut_at_the_skip before update on bulk_actions for each row
    when (new.skipped = old.skipped + 1 and new.done = old.done) execute function cut_at_the_skip();
"""


async def test_a_link_that_is_lost_while_a_single_job_is_counted_as_skipped_fails_nothing(
    database: PostgresAddress, open_connection: OpenConnection, superuser_connection: SuperuserConnection
) -> None:
    worker, server = await open_connection(Role.WORKER), await superuser_connection()
    await server.execute("set search_path = askpro")
    ids = await hold(worker, 3)
    await server.execute(ALWAYS_LOCKED.format(job_id=ids[1]))
    await server.execute(CUT_AT_THE_SKIP)
    told: list[Progress] = []
    result = await run_bulk(
        worker_at(database), ANNA, BulkAction.RETRY, HeldFilter(), on_progress=told.append, patience_s=60.0
    )
    assert await server.fetchval("select last_value from cuts") == 2
    assert any(progress.waiting_for for progress in told)
    assert (result.state, result.done, result.skipped) == (BulkState.DONE, 2, 1)
    assert result.why_skipped == {EQUAL_WAITS: 1}
    assert await states(worker) == {"held": 1, "retried": 2}
    row = await worker.fetchrow("select state, done, skipped from bulk_actions")
    assert row is not None
    assert tuple(row) == ("done", 2, 1)
