"""Calendars written behind by a real worker from a real queue, with a Cal.com that has a bad time."""

from __future__ import annotations

from backend.postgres.address import PostgresAddress, Role
from backend.queue.jobs import HANDLERS
from bench.calendar_sync import BAD, Plan, prove
from tests.databases import OpenConnection

FIGURES = "select calls, endpoints -> 'create' ->> 'ok' as made from provider_state where provider = 'calcom'"


async def test_calendars_are_equal_at_the_end_of_a_bad_time_and_each_booking_is_there_once(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    report = await prove(database, Plan(bookings=100, outage_s=60, speed=50, misbehaviour=BAD, limit_s=60))
    assert report.equal, report
    assert report.bookings == 100
    assert report.held == 0
    assert report.breaker_opened > 0, "the outage was not noticed"
    assert {"create", "reschedule", "get"} <= report.requests.keys()
    assert {"fails", "hangs", "down"} <= report.answers.keys()
    watch = await open_connection(Role.WATCH)
    figures = await watch.fetchrow(FIGURES)
    assert figures is not None
    assert figures["calls"] > 100
    assert int(figures["made"]) > 50


def test_the_trigger_puts_in_a_job_that_a_worker_knows() -> None:
    assert "default.calendar_sync" in HANDLERS
