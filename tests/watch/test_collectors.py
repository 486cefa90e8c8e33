"""Each collector tells what is in the database, in one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.valkey.client import open_valkey
from backend.watch.collect import Sources, appointments, business, calls, database, fleet, queues
from backend.watch.collect.rows import WHOLE_S, is_due
from backend.watch.collect.take import take
from backend.watch.connection import Connection, open_watch_connection
from backend.watch.snapshots import DOMAINS, CallbackFigures, CallsSnapshot
from tests.databases import OpenConnection
from tests.watch.scenery import Scenery, ago, reject, within

if TYPE_CHECKING:
    from redis.asyncio import Redis


LAST = "select 'the last statement'"


async def statements_of(connection: Connection, work: Callable[[], Awaitable[object]]) -> list[str]:
    """The statements that `work` sends over the connection."""
    seen: list[str] = []
    complete = asyncio.Event()

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        seen.append(record.query)
        if record.query == LAST:
            complete.set()

    with connection.query_logger(note):
        await work()
        # The log is written a moment after each statement: this one's answer is proof that the others are in it.
        await connection.execute(LAST)
        async with asyncio.timeout(10):
            await complete.wait()
    return [statement for statement in seen if statement != LAST]


@pytest.mark.parametrize("domain", sorted(DOMAINS))
async def test_a_collection_is_one_statement(domain: str, watch: Connection, scenery: Scenery, valkey: Redis) -> None:
    await scenery.call()
    sources = Sources(valkey=valkey)
    first = await take(domain, watch, sources)
    sources.previous = first
    statements = await statements_of(watch, lambda: take(domain, watch, sources))
    assert len(statements) == 1
    assert isinstance(first, DOMAINS[domain])
    planned_once = "select count(*) from pg_prepared_statements where statement = $1 and generic_plans >= 2"
    assert await watch.fetchval(planned_once, statements[0]) == 1


@pytest.mark.parametrize("domain", sorted(DOMAINS))
async def test_an_empty_system_is_told_as_such(domain: str, watch: Connection, valkey: Redis) -> None:
    snapshot = await take(domain, watch, Sources(valkey=valkey))
    again = msgspec.json.decode(msgspec.json.encode(snapshot), type=DOMAINS[domain])
    assert again == snapshot


@pytest.mark.parametrize("domain", sorted(DOMAINS))
async def test_the_console_may_collect_for_itself(domain: str, database: PostgresAddress, scenery: Scenery) -> None:
    await scenery.call()
    connection = await open_watch_connection(database, Role.CONSOLE, application="test")
    try:
        assert (await take(domain, connection, Sources())).domain == domain
    finally:
        await connection.close()


async def test_calls_are_listed_newest_first_with_their_figures(watch: Connection, scenery: Scenery) -> None:
    anna = await scenery.customer()
    old = await scenery.call(started=ago(days=2), outcome="enquiry")
    booked = await scenery.call(started=ago(minutes=4), outcome="booked", customer=anna, duration_ms=90_000)
    going = await scenery.call(started=ago(seconds=30), status="ongoing", caller="Herr Unbekannt")
    appointment = await scenery.appointment(customer=anna, call=booked)

    snapshot = await calls.collect(watch, Sources(node="n1"))

    assert [row.id for row in snapshot.rows] == [str(going), str(booked), str(old)]
    row = snapshot.rows[1]
    assert (row.caller, row.company, row.branch, row.outcome) == ("Anna Schmidt", "nord", "mitte", "booked")
    assert (row.duration_s, row.cost_cents, row.appointment_id) == (90.0, 21, str(appointment))
    assert snapshot.rows[0].caller == "Herr Unbekannt"
    assert (snapshot.ongoing, snapshot.started_last_hour, snapshot.node) == (1, 2, "n1")
    assert snapshot.median_duration_s == 90.0
    assert len(snapshot.per_minute.values) == 60
    assert sum(snapshot.per_minute.values) == 2


async def test_the_day_of_a_call_is_berlins(watch: Connection, scenery: Scenery) -> None:
    midnight = await watch.fetchval(
        "select date_trunc('day', now() at time zone 'Europe/Berlin') at time zone 'Europe/Berlin'"
    )
    await scenery.call(started=midnight - timedelta(seconds=1), outcome="booked")
    await scenery.call(started=midnight + timedelta(seconds=1), outcome="hangup")
    snapshot = await calls.collect(watch, Sources())
    assert snapshot.started_today == 1
    assert snapshot.by_outcome_today == {"hangup": 1}


async def test_a_call_that_goes_on_is_listed_however_long_ago_it_began(watch: Connection, scenery: Scenery) -> None:
    going = await scenery.call(started=ago(hours=1, minutes=50), status="ongoing")
    await scenery.setup.execute(
        "insert into calls (company_id, provider, provider_call_id, status, started_at)"
        " select $1, 'retell', 'many_' || i, 'ended', now() - make_interval(secs => i) from generate_series(1, 300) i",
        scenery.company,
    )
    snapshot = await calls.collect(watch, Sources())
    assert snapshot.rows[-1].id == str(going)
    assert len(snapshot.rows) == 251


async def partial(previous: CallsSnapshot, watch: Connection) -> CallsSnapshot:
    """A collection that asks for changes only; it starts over when the clock crosses a half minute."""
    for _ in range(3):
        snapshot = await calls.collect(watch, Sources(previous=previous))
        if not is_due(previous, snapshot.taken_at, WHOLE_S):
            return snapshot
        previous = snapshot
    raise AssertionError("three collections took half a minute each")


async def test_a_change_is_seen_even_when_its_time_stamp_says_otherwise(watch: Connection, scenery: Scenery) -> None:
    changed = await scenery.call(status="ongoing")
    await scenery.call()
    previous = await calls.collect(watch, Sources())
    await scenery.setup.execute(
        "update calls set status = 'ended', outcome = 'callback', updated_at = now() - interval '1 day' where id = $1",
        changed,
    )
    snapshot = await partial(previous, watch)
    assert {row.id: row.outcome for row in snapshot.rows}[str(changed)] == "callback"
    assert len(snapshot.rows) == 2


async def test_a_transaction_that_was_open_before_is_seen_once_it_commits(
    watch: Connection, scenery: Scenery, open_connection: OpenConnection
) -> None:
    changed = await scenery.call(status="ongoing")
    late = await open_connection(Role.SETUP)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("update calls set status = 'ended', outcome = 'booked' where id = $1", changed)
    previous = await calls.collect(watch, Sources())
    assert previous.rows[0].status == "ongoing"
    await transaction.commit()
    snapshot = await partial(previous, watch)
    assert snapshot.rows[0].status == "ended"


async def test_an_appointment_that_came_later_shows_on_its_call(watch: Connection, scenery: Scenery) -> None:
    call = await scenery.call()
    previous = await calls.collect(watch, Sources())
    appointment = await scenery.appointment(call=call)
    snapshot = await partial(previous, watch)
    assert snapshot.rows[0].appointment_id == str(appointment)


async def test_appointments_to_come_and_latest_booked_are_two_lists(watch: Connection, scenery: Scenery) -> None:
    later = await scenery.appointment(starts=datetime.now(UTC) + timedelta(days=3), created=ago(days=1))
    soon = await scenery.appointment(starts=datetime.now(UTC) + timedelta(days=2), created=ago(days=2))
    past = await scenery.appointment(starts=ago(days=3), status="completed", created=ago(minutes=1))
    off = await scenery.appointment(
        starts=datetime.now(UTC) + timedelta(days=1), status="cancelled", created=ago(days=9)
    )
    await scenery.setup.execute(
        "insert into callback_requests (company_id, reason, due_at) values ($1, 'slot_taken', now() - interval '1 h'),"
        " ($1, 'asked', now() + interval '1 h')",
        scenery.company,
    )
    snapshot = await appointments.collect(watch, Sources())
    assert [row.id for row in snapshot.upcoming] == [str(soon), str(later)]
    assert [row.id for row in snapshot.latest] == [str(past), str(later), str(soon), str(off)]
    assert snapshot.by_status_7d == {"confirmed": 2, "completed": 1, "cancelled": 1}
    assert (snapshot.open_callbacks, snapshot.overdue_callbacks) == (2, 1)
    row = snapshot.upcoming[0]
    assert (row.staff, row.service, row.price_cents, row.time_zone) == (
        "Dr. Weiß",
        "Prophylaxe",
        4500,
        "Europe/Berlin",
    )


async def test_queues_tell_age_and_drain_time_of_what_waits(watch: Connection, scenery: Scenery) -> None:
    jobs = [await scenery.job() for _ in range(3)]
    await scenery.job(delay_s=60)
    await scenery.job("appointments.book")
    await scenery.worker.execute("update pgqueuer set execute_after = now() - interval '20 s' where id = $1", jobs[0])
    await scenery.worker.execute("update pgqueuer set status = 'picked', heartbeat = now() where id = $1", jobs[2])
    await scenery.worker.execute("delete from pgqueuer_log")
    for number in range(60):
        await scenery.run(10_000 + number, started=ago(seconds=number / 2))
    await scenery.worker_row(concurrency=30)
    await scenery.worker_row(concurrency=30, heard=ago(minutes=2))

    snapshot = await queues.collect(watch, Sources())

    row = {row.queue: row for row in snapshot.queues}["webhooks"]
    assert (row.ready, row.scheduled, row.running) == (2, 1, 1)
    assert row.oldest_s is not None
    assert within(row.oldest_s, 20, 5)
    assert within(row.done_per_s, 1.0, 0.05)
    assert row.drain_s is not None
    assert within(row.drain_s, 2.0, 0.2)
    assert (row.workers, row.concurrency) == (1, 30)
    assert len(snapshot.workers) == 2
    assert [queue.queue for queue in snapshot.queues] == ["webhooks", "appointments", "default", "notifications"]
    assert {queue.queue: queue.ready for queue in snapshot.queues}["appointments"] == 1


async def test_a_queue_that_grows_never_drains_and_an_empty_one_is_drained(watch: Connection, scenery: Scenery) -> None:
    await scenery.job()
    snapshot = await queues.collect(watch, Sources())
    by_name = {row.queue: row for row in snapshot.queues}
    assert by_name["webhooks"].in_per_s > 0
    assert by_name["webhooks"].drain_s is None
    assert (by_name["default"].drain_s, by_name["default"].oldest_s) == (0.0, None)


async def test_what_is_queued_again_after_a_failure_was_in_already(watch: Connection, scenery: Scenery) -> None:
    job = await scenery.job()
    before = {row.queue: row for row in (await queues.collect(watch, Sources())).queues}["webhooks"].in_per_s
    await scenery.worker.execute(
        "insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)"
        " values ($1, 'queued', 'webhooks.retell_call', 0, '{\"exception_type\": \"ValueError\"}')",
        job,
    )
    after = {row.queue: row for row in (await queues.collect(watch, Sources())).queues}["webhooks"].in_per_s
    assert after == before


async def test_job_types_tell_how_long_jobs_waited_and_ran(watch: Connection, scenery: Scenery) -> None:
    for number in range(100):
        await scenery.run(number, took_s=0.01 * (number + 1), waited_ms=number, started=ago(minutes=2))
    await scenery.run(900, outcome="retry")
    await scenery.run(901, started=ago(hours=1))
    (row,) = (await queues.collect(watch, Sources())).job_types
    assert (row.entrypoint, row.queue, row.done, row.retried) == ("webhooks.retell_call", "webhooks", 100, 1)
    assert row.run_p50_s is not None
    assert within(row.run_p50_s, 0.5, 0.02)
    assert row.run_p99_s is not None
    assert within(row.run_p99_s, 0.99, 0.02)
    assert row.wait_p99_s is not None
    assert within(row.wait_p99_s, 0.098, 0.002)


async def test_held_jobs_are_grouped_by_cause(watch: Connection, scenery: Scenery) -> None:
    await scenery.held(1, fingerprint="a", message="first", held=ago(hours=3))
    await scenery.held(2, fingerprint="a", message="latest", held=ago(minutes=3))
    await scenery.held(3, fingerprint="b", held=ago(hours=30))
    await scenery.held(4, fingerprint="b")
    await scenery.worker.execute("update held_jobs set state = 'retried' where job_id = 4")
    snapshot = await queues.collect(watch, Sources())
    first, second = snapshot.held
    assert (first.fingerprint, first.message) == ("a", "latest")
    assert (first.held_1h, first.held_24h, first.held_total, first.companies) == (1, 2, 2, 1)
    assert (first.trend, first.top_companies) == ((*(0,) * 11, 1), (("nord", 2),))
    assert (second.held_1h, second.held_24h, second.held_7d, second.held_total) == (0, 0, 1, 1)
    assert {row.queue: row.held for row in snapshot.queues}["webhooks"] == 3
    assert snapshot.held_causes == {"webhooks": 2}


async def test_the_intake_is_counted(watch: Connection, scenery: Scenery, open_connection: OpenConnection) -> None:
    await scenery.delivery(state="accepted", received=ago(seconds=30))
    await scenery.delivery(state="accepted", received=ago(seconds=10))
    await scenery.delivery(state="quarantined")
    await scenery.delivery(received=ago(hours=2))
    api = await open_connection(Role.API)
    await reject(api, {"signature_wrong": 5, "stale": 1})
    snapshot = await queues.collect(watch, Sources())
    assert (snapshot.inbox_waiting, snapshot.quarantined, snapshot.accepted_1h) == (2, 1, 3)
    assert snapshot.inbox_oldest_s is not None
    assert within(snapshot.inbox_oldest_s, 30, 5)
    assert snapshot.rejected_by_reason_1h == {"signature_wrong": 5, "stale": 1}
    assert snapshot.rejected_1h == 6


async def test_the_trend_of_ready_jobs_goes_on_from_the_snapshot_before(watch: Connection, scenery: Scenery) -> None:
    first = await queues.collect(watch, Sources())
    await scenery.job()
    second = await queues.collect(watch, Sources(previous=first))
    trend = {row.queue: row for row in second.queues}["webhooks"].ready_trend
    assert trend is not None
    assert len(trend.values) == 60
    assert trend.values[-1] == 1.0


async def test_the_database_tells_who_blocks_whom(
    watch: Connection, scenery: Scenery, open_connection: OpenConnection
) -> None:
    call = await scenery.call()
    holder, victim = await open_connection(Role.SETUP), await open_connection(Role.SETUP)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("update calls set summary = 'mine' where id = $1", call)
    waiting = asyncio.create_task(victim.execute("update calls set summary = 'theirs' where id = $1", call))
    try:
        snapshot = await database.collect(watch, Sources())
        async with asyncio.timeout(10):
            while not snapshot.blocked:
                snapshot = await database.collect(watch, Sources())
        (row,) = snapshot.blocked
        assert row.pid == victim.get_server_pid()
        assert row.blocked_by == (holder.get_server_pid(),)
        assert "theirs" in row.query
        assert snapshot.waiting_for_lock == 1
        assert snapshot.oldest_idle_in_transaction_s is not None
        assert snapshot.oldest_transaction_s is not None
    finally:
        await transaction.rollback()
        await waiting


async def test_the_database_tells_its_state_and_rates(watch: Connection, scenery: Scenery) -> None:
    first = await database.collect(watch, Sources())
    second = await database.collect(watch, Sources(previous=first))
    assert first.version.startswith("18")
    assert 0 < first.connections < first.connections_usable
    assert first.by_application["test-watch"] == 1
    assert first.size_bytes > 1_000_000
    assert first.freeze_age > 0
    assert first.commits_per_s is None
    assert second.commits_per_s is not None
    assert second.wal_bytes_per_s is not None
    assert second.disk_total_bytes is not None
    assert second.disk_free_bytes is not None
    assert not second.is_replica


async def test_watching_answers_behind_a_migration(
    watch: Connection, scenery: Scenery, open_connection: OpenConnection
) -> None:
    migration = await open_connection(Role.MIGRATE)
    await migration.execute("set role askpro_owner")
    transaction = migration.transaction()
    await transaction.start()
    await migration.execute("lock table calls in access exclusive mode")
    try:
        assert (await database.collect(watch, Sources())).connections > 0
        with pytest.raises(asyncpg.LockNotAvailableError):
            await calls.collect(watch, Sources())
        assert (await database.collect(watch, Sources())).connections > 0
    finally:
        await transaction.rollback()
    assert (await calls.collect(watch, Sources())).rows == ()


async def test_without_pg_monitor_the_database_says_what_it_cannot_know(open_connection: OpenConnection) -> None:
    setup = await open_connection(Role.SETUP)
    snapshot = await database.collect(setup, Sources())
    assert any("pg_monitor" in note for note in snapshot.notes)
    assert snapshot.disk_total_bytes is None


async def test_the_fleet_knows_workers_cache_and_nodes(watch: Connection, scenery: Scenery, valkey: Redis) -> None:
    await scenery.worker_row()
    await valkey.set("test:without-end", "1")
    await valkey.set("test:with-end", "1", ex=60)
    snapshot = await fleet.collect(watch, Sources(valkey=valkey, node="n1"))
    assert [worker.queue for worker in snapshot.workers] == ["webhooks"]
    assert snapshot.cache.up
    assert (snapshot.cache.keys, snapshot.cache.keys_without_ttl) == (2, 1)
    assert snapshot.cache.version.startswith("9.")
    assert snapshot.publisher == "n1"


async def test_without_valkey_its_figures_are_unknown_and_the_rest_is_told(watch: Connection, scenery: Scenery) -> None:
    await scenery.worker_row()
    for client in (None, open_valkey("unix:///nowhere/valkey")):
        snapshot = await fleet.collect(watch, Sources(valkey=client))
        assert len(snapshot.workers) == 1
        assert not snapshot.cache.up
        assert any("Valkey" in note for note in snapshot.notes)
        whole = await business.collect(watch, Sources(valkey=client))
        assert whole.routes == ()
        assert whole.error_ratio is None
        assert any("timings are unknown" in note for note in whole.notes)


async def test_business_compares_bookings_with_last_week(watch: Connection, scenery: Scenery) -> None:
    for _ in range(3):
        await scenery.appointment(created=ago(minutes=5))
    unknown = await business.collect(watch, Sources())
    assert unknown.bookings_per_min == 3 / 15
    assert unknown.bookings_per_min_last_week is None
    await scenery.appointment(created=ago(days=7, minutes=5))
    await scenery.appointment(created=ago(days=20))
    known = await business.collect(watch, Sources())
    assert known.bookings_per_min_last_week == 1 / 15
    assert sum(known.bookings.values) == 3
    assert len(known.bookings.values) == 60


async def test_business_tells_who_is_to_be_called_back(watch: Connection, scenery: Scenery) -> None:
    assert (await business.collect(watch, Sources())).callbacks == CallbackFigures(open=0, overdue=0, next_at=None)
    await scenery.setup.execute(
        "insert into callback_requests (company_id, reason, due_at, state) "
        "select $1, 'x', now() + make_interval(mins => item.minutes), item.state "
        "from (values (-5, 'open'), (20, 'open'), (50, 'open'), (-9, 'done')) item (minutes, state)",
        scenery.company,
    )
    figures = (await business.collect(watch, Sources())).callbacks
    assert figures is not None
    assert (figures.open, figures.overdue) == (3, 1)
    assert figures.next_at is not None
    assert within(figures.next_at - datetime.now(UTC).timestamp(), 1200, 60)


async def test_business_tells_money_success_and_effect(
    watch: Connection, scenery: Scenery, open_connection: OpenConnection
) -> None:
    await scenery.call(started=datetime.now(UTC), cost_cents=20)
    await scenery.call(started=datetime.now(UTC), cost_cents=22)
    await scenery.appointment(price_cents=5000)
    for number in range(100):
        await scenery.delivery(received=ago(seconds=1), effect_s=0.01 * (number + 1))
    await scenery.delivery(received=ago(seconds=1), state="held")
    api = await open_connection(Role.API)
    await reject(api, {"stale": 1, "signature_wrong": 50})
    snapshot = await business.collect(watch, Sources())
    assert snapshot.revenue_today_cents == 5000
    assert snapshot.call_cost_today_cents == 42
    assert snapshot.revenue_per_request_cents == 5000 / 101
    assert snapshot.webhook_success_ratio == 100 / 102
    assert snapshot.webhook_effect_p99_s is not None
    assert within(snapshot.webhook_effect_p99_s, 0.99, 0.02)
    (row,) = snapshot.companies
    assert (row.company, row.calls, row.booked, row.revenue_cents) == ("nord", 2, 1, 5000)
    assert sum(snapshot.webhooks.values) == 101


async def test_business_tells_what_changed(watch: Connection, scenery: Scenery) -> None:
    await scenery.worker_row()
    snapshot = await business.collect(watch, Sources())
    told = [change.what for change in snapshot.changes]
    assert "worker webhooks started on node-1, version 0.1.0" in told
    assert any(".sql" in what for what in told)
    assert any(what.startswith("PostgreSQL 18") for what in told)
    assert [change.at for change in snapshot.changes] == sorted((c.at for c in snapshot.changes), reverse=True)
    again = await business.collect(watch, Sources(previous=snapshot))
    assert again.changes == snapshot.changes
