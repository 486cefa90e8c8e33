"""Folding deliveries into calls: any order, any number of times, and the customer and the wish that come out."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import cast

import asyncpg
import pytest

from backend.domain.vocabulary import CallOutcome, CallStatus, Provider
from backend.postgres.pools import Connection, tenant
from backend.services.booking import Booked, Refused
from backend.services.calls.folding import fold_call_events
from tests.services.conftest import ASKED_AT, SLOT, Deliveries, Salon

WISH = {"service": "schnitt", "staff": "anna", "starts_at": SLOT.isoformat(), "branch": "mitte"}

WAITING = """
    select true from pg_locks where not granted and locktype = 'advisory'
    and database = (select oid from pg_database where datname = current_database())
"""

CALL_ROW = "select to_jsonb(c) - 'id' - 'created_at' - 'updated_at' - 'customer_id' from calls c"


async def test_a_call_is_what_its_events_say(salon: Salon, deliver: Deliveries) -> None:
    await deliver.whole_call(customer_name="Dr. Eva Groß", customer_email="Eva@Example.org", outcome="enquiry")
    folded = await salon.fold("call_1")
    assert folded is not None
    assert folded.deliveries == 3
    assert folded.booking is None
    record = folded.record
    assert (record.status, record.outcome, record.duration_ms) == (CallStatus.ENDED, CallOutcome.ENQUIRY, 120_000)
    assert await salon.value("select status || ' ' || outcome from calls") == "ended enquiry"
    assert await salon.value("select events from calls") == ["call_analyzed", "call_ended", "call_started"]
    assert await salon.value("select count(*) from webhook_inbox where state <> 'processed'") == 0
    customer = "select concat_ws('|', first_name, last_name, name_key, email, phone) from customers"
    assert await salon.value(customer) == "Eva|Groß|eva gros|eva@example.org|+4917012345678"


async def test_events_arriving_in_any_order_make_the_same_row(salon: Salon, deliver: Deliveries) -> None:
    end = int((ASKED_AT + timedelta(seconds=90)).timestamp() * 1000)
    parts: dict[str, dict[str, object]] = {
        "call_started": {"call_status": "ongoing"},
        "call_ended": {"call_status": "ended", "end_timestamp": end, "disconnection_reason": "user_hangup"},
        "call_analyzed": {"call_status": "ended", "call_analysis": {"call_summary": "Kurz."}},
    }
    rows = set()
    for number, order in enumerate(itertools.permutations(parts)):
        for event in order:
            await deliver(event, f"call_{number}", **parts[event])
            await salon.fold(f"call_{number}")
        row = await salon.value(f"{CALL_ROW} where provider_call_id = $1", f"call_{number}")
        rows.add(str(row).replace(f"call_{number}", "call"))
    assert len(rows) == 1


async def test_fifty_folds_of_one_call_at_once_end_in_one_call_and_one_customer(
    salon: Salon, deliver: Deliveries
) -> None:
    await deliver("call_started", call_status="ongoing")

    async def deliver_late() -> None:
        await deliver("call_ended", call_status="ended")
        await deliver.analyzed(customer_name="Hans Müller", outcome="booked", booking=WISH)

    await asyncio.gather(deliver_late(), *(salon.fold("call_1") for _ in range(50)))
    last = await salon.fold("call_1")
    assert last is not None
    assert last.deliveries in {0, 1, 2}
    assert await salon.value("select count(*) from calls") == 1
    assert await salon.value("select count(*) from customers") == 1
    assert await salon.value("select status from calls") == "ended"


class PausedAfterReading:
    """A connection on which the fold stops between its reading and its writing until it is let go on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_read = asyncio.Event()
        self.may_write = asyncio.Event()

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        rows = await self._connection.fetch(query, *arguments)
        self.has_read.set()
        await asyncio.wait_for(self.may_write.wait(), 30)
        return rows

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        return await self._connection.fetchrow(query, *arguments)


async def test_an_older_view_never_overwrites_a_newer_one(salon: Salon, deliver: Deliveries) -> None:
    await deliver("transcript_updated", call_status="ongoing", transcript="A")
    async with tenant(salon.pool, salon.company_id) as connection:
        paused = PausedAfterReading(connection)
        older = asyncio.create_task(
            fold_call_events(cast("Connection", paused), salon.company_id, Provider.RETELL, "call_1")
        )
        await asyncio.wait_for(paused.has_read.wait(), 30)
        await deliver("call_ended", call_status="ended", transcript="A B")
        newer = asyncio.create_task(salon.fold("call_1"))
        async with asyncio.timeout(30):
            while not newer.done() and not await salon.value(WAITING):
                pass
        paused.may_write.set()
        await older
    await newer
    assert await salon.value("select transcript from calls") == "A B"


async def test_a_carried_wish_becomes_a_request_until_it_is_met(salon: Salon, deliver: Deliveries) -> None:
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=WISH)
    folded = await salon.fold("call_1")
    assert folded is not None
    request = folded.booking
    assert request is not None
    assert (request.key, request.call_id, request.customer_id) == ("call:call_1", folded.call_id, folded.customer_id)
    assert (request.starts_at, request.asked_at) == (SLOT, ASKED_AT)
    assert isinstance(await salon.book(request), Booked)
    again = await salon.fold("call_1")
    assert again is not None
    assert again.booking is None
    assert await salon.value("select outcome from calls") == "booked"
    assert await salon.value("select customer_id from appointments") == folded.customer_id


async def test_a_refused_wish_stays_refused_whatever_arrives_later(salon: Salon, deliver: Deliveries) -> None:
    await salon.book(salon.request("call:earlier"))
    await deliver.analyzed(customer_name="Hans Müller", outcome="booked", booking=WISH)
    folded = await salon.fold("call_1")
    assert folded is not None
    assert folded.booking is not None
    refused = await salon.book(folded.booking)
    assert isinstance(refused, Refused)
    await deliver("call_ended", call_status="ended")
    again = await salon.fold("call_1")
    assert again is not None
    assert again.booking is None
    assert await salon.value("select outcome from calls") == "callback"
    assert await salon.value("select count(*) from callback_requests") == 1
    repeated = await salon.book(folded.booking)
    assert repeated == Refused(refused.reason, refused.callback_id, is_new=False)


async def test_a_booking_and_late_folds_at_once_agree_in_the_end(salon: Salon, deliver: Deliveries) -> None:
    await salon.book(salon.request("call:earlier"))
    for number in range(10):
        call_id = f"call_{number}"
        await deliver.analyzed(call_id, customer_name="Hans Müller", outcome="booked", booking=WISH)
        folded = await salon.fold(call_id)
        assert folded is not None
        assert folded.booking is not None
        await deliver("call_ended", call_id, call_status="ended")
        await asyncio.gather(salon.fold(call_id), salon.book(folded.booking), salon.fold(call_id))
    assert await salon.value("select array_agg(distinct outcome) from calls") == ["callback"]


@pytest.mark.parametrize("outcome", ["cancelled", "rescheduled", "enquiry"])
async def test_a_booking_told_in_a_call_about_something_else_is_no_wish(
    salon: Salon, deliver: Deliveries, outcome: str
) -> None:
    await deliver.analyzed(customer_name="Hans Müller", outcome=outcome, booking=WISH)
    folded = await salon.fold("call_1")
    assert folded is not None
    assert folded.booking is None


async def test_a_wish_to_be_called_back_is_kept_once(salon: Salon, deliver: Deliveries) -> None:
    await deliver.analyzed(customer_name="Hans Müller", outcome="callback", callback={"reason": "Rezept"})
    await salon.fold("call_1")
    await salon.fold("call_1")
    assert await salon.value("select array_agg(reason || ' ' || phone) from callback_requests") == [
        "Rezept +4917012345678"
    ]


async def test_an_unreadable_time_is_refused_and_kept_as_a_callback(salon: Salon, deliver: Deliveries) -> None:
    await deliver.analyzed(customer_name="Hans Müller", outcome="booked", booking={**WISH, "starts_at": "morgen"})
    folded = await salon.fold("call_1")
    assert folded is not None
    assert folded.booking is not None
    assert isinstance(await salon.book(folded.booking), Refused)
    assert await salon.value("select reason from callback_requests") == "time_unreadable"


async def test_hostile_text_is_stored_harmlessly(salon: Salon, deliver: Deliveries) -> None:
    name = "Ann\x1b]52;c;QQ==\x07 \u202eBo" + "b" * 10_000
    await deliver.analyzed(customer_name=name, outcome="enquiry")
    await salon.fold("call_1")
    stored = await salon.value("select last_name from customers")
    assert isinstance(stored, str)
    assert stored.isprintable()
    assert len(stored) <= 200


async def test_a_call_nobody_told_of_is_nothing(salon: Salon) -> None:
    assert await salon.fold("call_unknown") is None


async def test_the_deliveries_of_another_company_stay_unseen(
    salon: Salon, deliver: Deliveries, setup: Connection
) -> None:
    await deliver("call_started")
    other = await setup.fetchval("insert into companies (slug, name) values ('fremd', 'Fremd') returning id")
    await setup.execute("update webhook_inbox set company_id = $1, branch_id = null", other)
    assert await salon.fold("call_1") is None


async def test_a_call_without_times_began_when_its_first_delivery_came(salon: Salon, deliver: Deliveries) -> None:
    before = datetime.now(UTC)
    await deliver("call_ended", call_status="error", start_timestamp=None)
    folded = await salon.fold("call_1")
    assert folded is not None
    assert before - timedelta(seconds=5) <= folded.record.started_at <= datetime.now(UTC) + timedelta(seconds=5)
    assert folded.record.outcome is CallOutcome.ERROR
