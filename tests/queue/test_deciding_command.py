"""`askpro queue retry`, `discard`, `move`: what was counted is decided about, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from backend.postgres.address import Role
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection
from tests.home import Shell
from tests.queue.scenes import until
from tests.services.held_scenes import hold, states


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.WORKER)


async def test_a_job_that_is_held_after_the_count_is_left_alone(
    askpro_queue: Shell, worker: OwnConnection, superuser_connection: SuperuserConnection
) -> None:
    counted = await hold(worker, 3, ago_s=60)
    server = await superuser_connection()
    # The count only reads; the work begins with its record, and waits for whoever has that.
    record = server.transaction()
    await record.start()
    await server.execute("lock table askpro.bulk_actions in exclusive mode")
    command = asyncio.create_task(askpro_queue.read("retry", "--type", "webhooks.a", "--yes"))
    waits = (
        "select exists (select from pg_stat_activity where application_name = 'askpro-queue'"
        " and wait_event_type = 'Lock' and datname = current_database())"
    )
    await until(lambda: worker.fetchval(waits), "the jobs are counted and the work is about to begin")
    (late,) = await hold(worker, 1, ago_s=30)
    await record.commit()
    done = await command
    assert isinstance(done, dict)
    assert (done["state"], done["matched"], done["done"], done["skipped"]) == ("done", 3, 3, 0)
    assert await worker.fetchval("select array_agg(job_id) from held_jobs where state = 'held'") == [late]
    assert (
        await worker.fetchval("select array_agg(job_id order by 1) from held_jobs where state = 'retried'") == counted
    )


async def test_an_earlier_bound_of_ones_own_still_holds(askpro_queue: Shell, worker: OwnConnection) -> None:
    (old,) = await hold(worker, 1, ago_s=7200)
    await hold(worker, 1, ago_s=60)
    done = await askpro_queue.read("discard", "--before", "1h", "--yes")
    assert isinstance(done, dict)
    assert (done["matched"], done["done"]) == (1, 1)
    assert await worker.fetchval("select state from held_jobs where job_id = $1", old) == "discarded"
    assert await states(worker) == {"discarded": 1, "held": 1}


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan"])
async def test_what_is_no_rate_is_wrong_usage(askpro_queue: Shell, worker: OwnConnection, rate: str) -> None:
    await hold(worker)
    for look in ("--yes", "--dry-run"):
        assert "is no rate" in await askpro_queue("retry", "--all", f"--rate={rate}", look, code=2)
    assert await states(worker) == {"held": 1}


async def test_a_move_tells_of_the_queue_it_goes_to_and_what_stands_there_already(
    askpro_queue: Shell, worker: OwnConnection
) -> None:
    await hold(worker, 2)
    await hold(worker, 1, entrypoint="default.webhooks.a")
    await worker.execute(
        "insert into pauses (kind, name, paused_by) values ('queue', 'webhooks', 'anna'), ('queue', 'default', 'anna')"
    )
    would = await askpro_queue("move", "--all", "--to", "default", "--dry-run")
    assert "Would move 3 held jobs to default." in would
    assert "queue default: they will wait" in would
    assert "queue webhooks" not in would
    assert "1: stands there already, or an equal one waits" in would
    moved = await askpro_queue("move", "--all", "--to", "default", "--yes")
    assert "Moved 2 held jobs to default" in moved
    assert "Skipped 1: it stands in that queue already." in moved
    assert await states(worker) == {"replaced": 2, "held": 1}


async def test_named_jobs_that_are_not_meant_are_told_in_words_that_agree(
    askpro_queue: Shell, worker: OwnConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [str(job) for job in await hold(worker, 5)]

    async def told(*arguments: str) -> str:
        """What is said beside the result."""
        await asyncio.to_thread(_run, arguments)
        return capsys.readouterr().err.strip()

    assert await told("retry", ids[0], "999998", "--yes") == "1 of the jobs you named is not held."
    assert await told("retry", ids[1], "999998", "999999", "--yes") == "2 of the jobs you named are not held."
    narrowed = (ids[2], "999999", "--type", "webhooks.a", "--yes")
    assert await told("retry", *narrowed) == ("1 of the jobs you named is not held, or left out by the other choices.")
    assert await told("retry", ids[3], ids[3], "--yes") == ""


def _run(arguments: tuple[str, ...]) -> None:
    from askpro_console.cli import main

    assert main(["queue", *arguments]) == 0
