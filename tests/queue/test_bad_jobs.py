"""Jobs that do their workers harm: each is contained and named, and the queue goes on.

Workers are real processes here, started again when they end, as the supervisor does it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.domain.vocabulary import TroubleKind
from backend.postgres.address import PostgresAddress, Role
from backend.queue.watchdog import EXIT_CODE
from backend.watch.collect import Sources
from backend.watch.collect.queues import collect
from backend.watch.findings import find
from tests.databases import OpenConnection, SuperuserConnection
from tests.queue.bad_scenes import kept_alive, silent_provider
from tests.queue.scenes import QUICK, config_for, job, put, until
from tests.queue.worker_process import TRACES

NAMED_WITHIN_S = 45.0
"""Far more than it takes; how soon they are named is measured elsewhere, see bench/bad_jobs.py."""

CEILING = 200 * 2**20


@pytest.mark.timeout(300)
async def test_bad_jobs_are_contained_and_named_while_good_ones_go_on(
    database: PostgresAddress,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
    tmp_path: Path,
) -> None:
    await (await superuser_connection()).execute("set search_path = askpro; " + TRACES)
    connection, watch = await open_connection(Role.WORKER), await open_connection(Role.WATCH)
    policy = replace(QUICK, timeout_s=20.0, attempts=2, crash_starts=2, backoff_s=(0.05,))
    config = config_for(database, policy=policy, memory_ceiling=CEILING, unwind_s=0.1, lease_s=5.0)
    bad: dict[TroubleKind, int] = {}

    async def is_named(*kinds: TroubleKind) -> bool:
        rows = (await collect(watch, Sources())).troubles
        return all(any((row.kind, row.job_id) == (kind, bad[kind]) for row in rows) for kind in kinds)

    async def is_held(kind: TroubleKind) -> bool:
        return bool(await connection.fetchval("select exists (select from held_jobs where job_id = $1)", bad[kind]))

    async def good_ones_go_on() -> None:
        ids = await put(connection, *[job("webhooks.quick") for _ in range(4)])
        gone = "select not exists (select from pgqueuer where id = any($1::bigint[]))"
        await until(lambda: connection.fetchval(gone, ids), "good jobs are done", NAMED_WITHIN_S)

    async with silent_provider() as address, kept_alive(config, tmp_path) as ended:
        gentle = {
            TroubleKind.RAISES: job("webhooks.raise_for_ever"),
            TroubleKind.IGNORES_CANCELLATION: job("webhooks.ignore_cancellation"),
            TroubleKind.PROVIDER_HANGS: job("webhooks.ask_provider", address),
        }
        bad |= zip(gentle, await put(connection, *gentle.values()), strict=True)
        await until(lambda: is_named(*gentle), "the gentler ones are named", NAMED_WITHIN_S)
        await good_ones_go_on()
        # Each in its turn: what one does must not be laid to another's account.
        for kind, entrypoint in (
            (TroubleKind.MEMORY, "webhooks.grow"),
            (TroubleKind.CRASH, "webhooks.crash"),
            (TroubleKind.BLOCKS, "webhooks.block"),
        ):
            (bad[kind],) = await put(connection, job(entrypoint))
            await until(lambda kind=kind: is_named(kind), f"{kind} is named", NAMED_WITHIN_S)  # type: ignore[misc]  # a bound variable
            await until(lambda kind=kind: is_held(kind), f"{kind} is held", NAMED_WITHIN_S)  # type: ignore[misc]  # as above
        await good_ones_go_on()
        held = "select count(*) from held_jobs where job_id = any($1::bigint[])"
        all_of_them = list(bad.values())

        async def all_held() -> bool:
            return bool(await connection.fetchval(held, all_of_them) == len(all_of_them))

        await until(all_held, "all are held")
        findings = find({"queues": await collect(watch, Sources())})
        assert EXIT_CODE in ended
        assert 3 in ended
    for kind, job_id in bad.items():
        assert any(f"job {job_id} " in finding.text for finding in findings), kind
    rows = await connection.fetch("select job_id, error_type from held_jobs")
    assert {row["job_id"]: row["error_type"] for row in rows} == {
        bad[TroubleKind.RAISES]: "ValueError",
        bad[TroubleKind.IGNORES_CANCELLATION]: "JobTimeout",
        bad[TroubleKind.PROVIDER_HANGS]: "ProviderUnreachable",
        bad[TroubleKind.MEMORY]: "WorkerCrashed",
        bad[TroubleKind.CRASH]: "WorkerCrashed",
        bad[TroubleKind.BLOCKS]: "WorkerBlocked",
    }
