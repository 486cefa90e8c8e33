"""Opening something shows everything around it, bounded, and whatever it was called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from backend.postgres.address import PostgresAddress
from backend.services.held_jobs.editing import edit_and_retry
from backend.services.operating.audit import By
from backend.watch import details_sql
from backend.watch.connection import Connection
from backend.watch.details import Details
from backend.watch.job_details import Clues, clues_in
from tests.watch.scenery import Scenery, ago


@pytest.fixture
async def details(database: PostgresAddress) -> AsyncIterator[Details]:
    details = Details(database)
    yield details
    await details.aclose()


async def test_a_call_shows_its_words_its_booking_and_its_deliveries(details: Details, scenery: Scenery) -> None:
    anna = await scenery.customer()
    call = await scenery.call(customer=anna, outcome="booked", subject="call_1", caller="Anna S.")
    appointment = await scenery.appointment(customer=anna, call=call)
    first = await scenery.delivery(subject="call_1", event="call_started")
    second = await scenery.delivery(subject="call_1", event="call_ended")
    await scenery.delivery(subject="call_2")
    await scenery.setup.execute(
        "insert into callback_requests (company_id, call_id, reason, due_at) values ($1, $2, 'asked', now())",
        scenery.company,
        call,
    )

    detail = await details.call(str(call))

    assert detail is not None
    assert detail.row.caller == "Anna Schmidt"
    assert (detail.caller_name, detail.transcript, detail.summary) == ("Anna S.", "long", "short")
    assert [row.id for row in detail.appointments] == [str(appointment)]
    assert [row.id for row in detail.deliveries] == [str(first), str(second)]
    assert [row.reason for row in detail.callbacks] == ["asked"]
    assert detail.latency == {}


async def test_an_appointment_shows_its_calendar(details: Details, scenery: Scenery) -> None:
    appointment = await scenery.appointment(customer=await scenery.customer())
    alone = await details.appointment(str(appointment))
    assert alone is not None
    assert alone.calendar is None
    await scenery.setup.execute(
        "insert into calendar_sync (company_id, appointment_id, state, wanted_version, uid, last_error)"
        " values ($1, $2, 'failed', 3, 'uid_1', 'Cal.com: 400 no')",
        scenery.company,
        appointment,
    )
    detail = await details.appointment(str(appointment))
    assert detail is not None
    assert detail.calendar is not None
    found = detail.calendar
    assert (found.state, found.uid, found.wanted_version, found.synced_version, found.last_error) == (
        "failed",
        "uid_1",
        3,
        0,
        "Cal.com: 400 no",
    )


async def test_an_appointment_shows_what_its_customer_was_told(details: Details, scenery: Scenery) -> None:
    appointment = await scenery.appointment(customer=await scenery.customer())
    await scenery.setup.execute(
        "insert into notifications (company_id, appointment_id, kind, occasion, state, detail, decided_at) values "
        "($1, $2, 'confirmed', 1, 'sent', '250 queued', now()), ($1, $2, 'reminder_2h', 2, 'waiting', '', null)",
        scenery.company,
        appointment,
    )
    detail = await details.appointment(str(appointment))
    assert detail is not None
    assert [(told.kind, told.state, told.detail) for told in detail.notified] == [
        ("confirmed", "sent", "250 queued"),
        ("reminder_2h", "waiting", ""),
    ]


async def test_a_customer_shows_calls_and_appointments(details: Details, scenery: Scenery) -> None:
    anna = await scenery.customer()
    other = await scenery.customer("Bert", "Braun", "+4915100000000")
    older = await scenery.call(customer=anna, started=ago(days=3))
    newer = await scenery.call(customer=anna, started=ago(days=1))
    await scenery.call(customer=other)
    appointment = await scenery.appointment(customer=anna)
    detail = await details.customer(str(anna))
    assert detail is not None
    assert (detail.first_name, detail.company, detail.phone) == ("Anna", "nord", "+4915112345678")
    assert [row.id for row in detail.calls] == [str(newer), str(older)]
    assert [row.id for row in detail.appointments] == [str(appointment)]


async def test_an_appointment_shows_its_events_in_order(details: Details, scenery: Scenery) -> None:
    appointment = await scenery.appointment()
    await scenery.setup.execute(
        "insert into appointment_events (company_id, appointment_id, version, kind, actor, data)"
        " values ($1, $2, 2, 'rescheduled', 'anna', '{\"starts_at\": \"2026-11-24T10:00:00Z\"}')",
        scenery.company,
        appointment,
    )
    detail = await details.appointment(str(appointment))
    assert detail is not None
    assert [(event.version, event.kind, event.actor) for event in detail.events] == [
        (1, "booked", "call"),
        (2, "rescheduled", "anna"),
    ]
    assert detail.events[1].data == {"starts_at": "2026-11-24T10:00:00Z"}


async def test_a_job_shows_its_runs_and_why_it_is_held(details: Details, scenery: Scenery) -> None:
    job = await scenery.job(payload={"inbox_id": "x", "subject": "call_1"})
    await scenery.run(job, outcome="retry", started=ago(minutes=2))
    await scenery.run(job, outcome="held", started=ago(minutes=1), attempt=2)
    waiting = await details.job(job)
    assert waiting is not None
    assert (waiting.state, waiting.entrypoint, waiting.company, waiting.held) == (
        "queued",
        "webhooks.retell_call",
        "nord",
        None,
    )
    assert waiting.payload == b'{"inbox_id": "x", "subject": "call_1"}'
    assert [(run.attempt, run.outcome) for run in waiting.runs] == [(1, "retry"), (2, "held")]
    await scenery.held(job, payload={"inbox_id": "x"})
    await scenery.worker.execute("delete from pgqueuer where id = $1", job)
    held = await details.job(job)
    assert held is not None
    assert held.state == "gone"
    assert held.held is not None
    assert (held.held.error_type, held.held.traceback, held.held.state) == ("ValidationError", "Traceback", "held")
    assert held.payload == b'{"inbox_id": "x"}'


async def test_a_job_knows_what_it_came_of_and_became_what_it_is_about_and_what_was_done_about_it(
    details: Details, scenery: Scenery
) -> None:
    anna = await scenery.customer()
    call = await scenery.call(customer=anna, subject="call_1")
    appointment = await scenery.appointment(customer=anna, call=call)
    delivery = await scenery.delivery(subject="call_1", state="held")
    first = await scenery.job(payload={"inbox_id": str(delivery), "subject": "call_1"})
    await scenery.worker.execute("update pgqueuer set status = 'failed' where id = $1", first)
    await scenery.held(first, payload={"inbox_id": str(delivery), "subject": "call_1"})
    await scenery.run(first, outcome="held", started=datetime.now(UTC), took_s=0.25)
    await scenery.worker.execute(
        "insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)"
        " select id, 'failed', entrypoint, 0, '{\"traceback\": \"Traceback: no room\"}' from pgqueuer where id = $1",
        first,
    )
    by = By("anna", "front")
    async with scenery.worker.transaction():
        held = (await details.job(first)).payload  # type: ignore[union-attr]  # it is there
        second = await edit_and_retry(scenery.worker, by, first, b'{"subject": "call_1"}', expected=held, reason="typo")
    before, after = await details.job(first), await details.job(second)
    assert before is not None
    assert after is not None
    assert (before.webhook_id, before.call_id) == (str(delivery), str(call))
    assert (before.customer_id, before.appointment_id) == (str(anna), str(appointment))
    (run,) = before.runs
    assert (round(run.took_s or 0, 2), run.traceback) == (0.25, "Traceback: no room")
    became, came_of = before.became[0], after.came_of[0]
    assert (became.job_id, became.how, became.by, became.state) == (second, "edited", "anna", "queued")
    assert (came_of.job_id, came_of.how, came_of.by, came_of.state) == (first, "edited", "anna", "replaced")
    assert before.held is not None
    assert (before.held.state, before.held.decided_by) == ("replaced", "anna")
    assert [(each.by, each.action, each.reason) for each in before.decisions] == [("anna", "held.edit", "typo")]
    assert (after.payload, after.call_id, after.webhook_id) == (b'{"subject": "call_1"}', str(call), "")


@pytest.mark.parametrize(
    ("payload", "subject"),
    [
        (b"not json", None),
        (b'{"key": "call:call_7", "call_id": "no uuid"}', "call_7"),
        (b'{"subject": "a\\u0000b", "inbox_id": 7}', None),
        (b'[{"subject": "deep in a list"}]', None),
        (b'{"event": {"subject": "call_8"}}', "call_8"),
    ],
)
def test_any_payload_is_looked_through_for_what_it_is_about(payload: bytes, subject: str | None) -> None:
    assert clues_in(payload) == Clues(subject=subject)


async def test_a_job_that_is_done_is_told_by_its_runs(details: Details, scenery: Scenery) -> None:
    await scenery.run(7)
    detail = await details.job(7)
    assert detail is not None
    assert (detail.state, detail.entrypoint, detail.company, len(detail.runs)) == (
        "gone",
        "webhooks.retell_call",
        "nord",
        1,
    )


async def test_a_delivery_shows_what_was_sent_and_its_jobs(details: Details, scenery: Scenery) -> None:
    call = await scenery.call(subject="call_1")
    body = '{"name": "Zoë \\u0000"}'.encode() + b"\xff\x00"
    delivery = await scenery.delivery(subject="call_1", state="accepted", body=body)
    job = await scenery.job(payload={"inbox_id": str(delivery), "subject": "call_1"})
    await scenery.job(payload={"inbox_id": str(uuid4()), "subject": "call_1"})
    detail = await details.webhook(str(delivery))
    assert detail is not None
    assert detail.body == body
    assert (detail.row.state, detail.branch, detail.call_id) == ("accepted", "mitte", str(call))
    assert [each.job_id for each in detail.jobs] == [job]
    assert detail.row.size_bytes == len(body)


async def test_the_lineage_of_a_call_is_in_the_order_of_time(details: Details, scenery: Scenery) -> None:
    anna = await scenery.customer()
    call = await scenery.call(
        started=ago(minutes=5), customer=anna, outcome="booked", duration_ms=60_000, subject="call_1"
    )
    delivery = await scenery.delivery(subject="call_1", received=ago(minutes=3), effect_s=0.5)
    appointment = await scenery.appointment(customer=anna, call=call)
    held = await scenery.job(payload={"subject": "call_1"})
    await scenery.held(held, payload={"subject": "call_1"})
    await scenery.held(held + 1000, payload={"subject": "call_11"})

    lineage = await details.lineage(str(call))

    assert lineage is not None
    assert lineage.call.id == str(call)
    moments = lineage.moments
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    told = {(moment.kind, moment.id): moment for moment in moments}
    assert told[("webhook", str(delivery))].took_s == 0.5
    assert told[("appointment", str(appointment))].what == "appointment booked by call"
    assert ("customer", str(anna)) in told
    assert ("job", str(held)) in told
    assert ("job", str(held + 1000)) not in told
    assert [moment.what for moment in moments[:2]] == ["call began", "call ended: booked"]


@pytest.mark.parametrize(
    "wrong", ["", "x", "0" * 36, "0198c0de-5aa0-7d1e-9e01-4f6b2a7c1d35", "'; drop table calls; --"]
)
async def test_what_is_not_there_is_none(details: Details, scenery: Scenery, wrong: str) -> None:
    assert await details.call(wrong) is None
    assert await details.customer(wrong) is None
    assert await details.appointment(wrong) is None
    assert await details.webhook(wrong) is None
    assert await details.lineage(wrong) is None
    assert await details.job(2**62) is None


async def test_pages_follow_each_other_without_gap_or_overlap(details: Details, scenery: Scenery) -> None:
    same = ago(hours=1)
    expected = [str(await scenery.call(started=same)) for _ in range(5)]
    expected += [str(await scenery.call(started=same - timedelta(minutes=number))) for number in range(1, 6)]
    seen: list[str] = []
    page = await details.search_calls(limit=3)
    seen += [row.id for row in page.rows]
    while page.before is not None:
        page = await details.search_calls(limit=3, before=page.before)
        assert len(page.rows) <= 3
        seen += [row.id for row in page.rows]
    assert len(seen) == len(set(seen)) == 10
    assert set(seen) == set(expected)


async def test_a_search_finds_numbers_names_and_outcomes(details: Details, scenery: Scenery) -> None:
    anna = await scenery.customer("Änne", "Größe")
    one = str(await scenery.call(customer=anna, outcome="booked"))
    two = str(await scenery.call(caller="Bert 100%_\\", outcome="enquiry"))

    async def found(text: str) -> set[str]:
        return {row.id for row in (await details.search_calls(text)).rows}

    assert await found("größe") == {one}
    assert await found("bert") == {two}
    assert await found("booked") == {one}
    assert await found("345678") == {one, two}
    assert await found("nord") == {one, two}
    assert await found("100%_\\") == {two}
    assert await found("%") == {two}
    assert await found(one) == {one}
    assert await found("nobody") == set()


async def test_a_search_goes_on_beyond_what_one_page_looks_through(details: Details, scenery: Scenery) -> None:
    wanted = str(await scenery.call(started=ago(days=30), caller="Rara Avis"))
    await scenery.setup.execute(
        "insert into calls (company_id, provider, provider_call_id, status, started_at)"
        " select $1, 'retell', 'many_' || i, 'ended', now() - make_interval(secs => i)"
        " from generate_series(1, 20001) i",
        scenery.company,
    )
    page = await details.search_calls("rara")
    assert page.rows == ()
    assert page.before is not None
    page = await details.search_calls("rara", before=page.before)
    assert [row.id for row in page.rows] == [wanted]
    assert page.before is None


async def test_hostile_text_comes_through_as_data(details: Details, scenery: Scenery) -> None:
    name = "Ann\x1b]52;c;QUJD\x07 \u202e[/nope] ' \\ \" 💥"
    call = await scenery.call(caller=name, started=datetime.now(UTC))
    detail = await details.call(str(call))
    assert detail is not None
    assert detail.caller_name == name


async def test_among_many_jobs_those_of_one_thing_are_found_through_an_index(watch: Connection) -> None:
    await watch.execute("set enable_seqscan = off")
    for name in ("WEBHOOK", "LINEAGE", "JOB"):
        kind, value = ("bigint", "7") if name == "JOB" else ("uuid", f"'{uuid4()}'")
        await watch.execute(f"prepare {name} ({kind}) as {getattr(details_sql, name)}")
        plan = "\n".join(row[0] for row in await watch.fetch(f"explain execute {name} ({value})"))
        for table in ("pgqueuer", "held_jobs", "job_runs", "webhook_inbox", "calls"):
            assert f"Seq Scan on {table} " not in plan, plan
