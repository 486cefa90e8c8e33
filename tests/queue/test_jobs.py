"""The job types: a delivered call becomes a row, a customer, an appointment and a confirmation, once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import permutations
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from backend.domain.vocabulary import InboxState, Provider, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.providers.calcom.payloads import read_delivery as read_booking_delivery
from backend.providers.delivery import Delivery
from backend.providers.retell.payloads import read_delivery as read_call_delivery
from backend.queue.jobs import BOOK, HANDLERS, handlers_of, queue_of
from backend.queue.port import NewJob
from backend.services.booking import BookingRequest
from backend.services.companies.applying import apply_company
from backend.services.intake.inbox import store
from backend.services.notifications.file_channel import FileChannel
from tests.databases import OpenConnection
from tests.queue.scenes import OwnConnection, config_for, put, until, working
from tests.services.conftest import OPEN_SALON

ASKED_AT = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
SLOT = (ASKED_AT + timedelta(days=3)).replace(hour=10, minute=0, second=0)


def call_event(event: str, call_id: str = "call_1", **call: object) -> Delivery:
    """One delivery of the voice agent's."""
    fields = {
        "call_id": call_id,
        "call_type": "phone_call",
        "agent_id": "agent_anna",
        "direction": "inbound",
        "from_number": "+4917012345678",
        "to_number": "+4930123456",
        "start_timestamp": int(ASKED_AT.timestamp() * 1000),
    }
    return read_call_delivery(json.dumps({"event": event, "call": fields | call}).encode(), [])


def booked_call(call_id: str = "call_1", starts_at: datetime = SLOT) -> list[Delivery]:
    """The three deliveries of a call that carries a booking."""
    end = int((ASKED_AT + timedelta(minutes=2)).timestamp() * 1000)
    extracted = {
        "customer_name": "Hans Müller",
        "outcome": "booked",
        "booking": {"service": "schnitt", "staff": "anna", "branch": "mitte", "starts_at": starts_at.isoformat()},
    }
    return [
        call_event("call_started", call_id, call_status="ongoing"),
        call_event("call_ended", call_id, call_status="ended", end_timestamp=end),
        call_event("call_analyzed", call_id, call_status="ended", call_analysis={"custom_analysis_data": extracted}),
    ]


def booking_event(trigger: str, uid: str, **payload: object) -> Delivery:
    """One delivery of the calendar's, for the salon's agent."""
    return read_booking_delivery(
        json.dumps({"triggerEvent": trigger, "payload": {"uid": uid, "eventTypeId": 7, **payload}}).encode(), []
    )


class House:
    """The salon, its connections and all its workers."""

    def __init__(self, company_id: UUID, connections: dict[Role, OwnConnection], outbox: Path) -> None:
        self.company_id = company_id
        self.worker = connections[Role.WORKER]
        self.watch = connections[Role.WATCH]
        self.setup = connections[Role.SETUP]
        self.api = connections[Role.API]
        self.outbox = outbox

    async def deliver(self, *deliveries: Delivery) -> None:
        """As the intake does it."""
        await store(self.api, deliveries)

    async def settled(self) -> None:
        """Wait until no job waits or runs."""
        busy = "select exists (select from pgqueuer where status in ('queued', 'picked'))"

        async def condition() -> bool:
            return not await self.worker.fetchval(busy)

        await until(condition, "all jobs are done or held")

    async def count(self, table: str, condition: str = "true") -> int:
        """Rows of a table, across tenants."""
        count: int = await self.watch.fetchval(f"select count(*) from {table} where {condition}")
        return count

    def confirmations(self) -> list[EmailMessage]:
        """What lies in the outbox."""
        files = sorted(self.outbox.rglob("confirmed-*.eml"))
        return [message_from_bytes(path.read_bytes(), policy=default) for path in files]


@pytest.fixture
async def house(database: PostgresAddress, open_connection: OpenConnection, tmp_path: Path) -> AsyncIterator[House]:
    connections = {role: await open_connection(role) for role in (Role.WORKER, Role.WATCH, Role.SETUP, Role.API)}
    applied = await apply_company(connections[Role.SETUP], OPEN_SALON)
    async with all_working(database, tmp_path / "outbox"):
        yield House(applied.company_id, connections, tmp_path / "outbox")


@asynccontextmanager
async def all_working(database: PostgresAddress, outbox: Path) -> AsyncIterator[None]:
    """One worker for each queue, with the product's handlers."""
    async with AsyncExitStack() as stack:
        for queue in QueueName:
            await stack.enter_async_context(working(config_for(database, queue, outbox=outbox), handlers_of(queue)))
        yield


def test_every_job_type_belongs_to_a_queue() -> None:
    assert {queue_of(name) for name in HANDLERS} == set(QueueName)


async def test_a_delivered_call_becomes_a_call_a_customer_an_appointment_and_a_confirmation(house: House) -> None:
    await house.deliver(*booked_call())
    await house.settled()
    call = await house.watch.fetchrow("select status, outcome, customer_id, events from calls")
    assert call is not None
    assert (call["status"], call["outcome"]) == ("ended", "booked")
    appointment = await house.watch.fetchrow("select id, starts_at, customer_id, status, version from appointments")
    assert appointment is not None
    assert appointment["starts_at"] == SLOT
    assert appointment["customer_id"] == call["customer_id"] is not None
    assert await house.count("webhook_inbox", "state = 'processed'") == 3
    (confirmation,) = house.confirmations()
    assert str(appointment["id"]) in confirmation["Message-ID"]
    assert (confirmation["To"], confirmation["X-AskPro-Phone"]) == (None, "+4917012345678")
    text = confirmation.get_body(("plain",))
    assert text is not None
    assert "Guten Tag Hans Müller" in text.get_content()
    assert await house.count("held_jobs") == 0


async def test_deliveries_in_any_order_and_twice_have_one_effect(house: House) -> None:
    calls = [
        (order, booked_call(f"call_{number}", SLOT + timedelta(hours=number)))
        for number, order in enumerate(permutations(range(3)))
    ]
    for order, deliveries in calls:
        for position in order:
            await house.deliver(deliveries[position])
            await house.deliver(deliveries[position])
    await house.settled()
    assert await house.count("calls") == await house.count("appointments") == len(calls)
    assert await house.count("appointment_events") == len(house.confirmations()) == len(calls)
    assert await house.count("customers") == 1
    assert await house.count("held_jobs") == 0


async def test_a_wish_that_cannot_be_met_becomes_a_request_to_call_back(house: House) -> None:
    await house.deliver(*booked_call("call_1"))
    await house.settled()
    await house.deliver(*booked_call("call_2"))
    await house.settled()
    assert await house.count("appointments") == 1
    assert await house.count("callback_requests", "reason = 'slot_taken'") == 1
    assert len(house.confirmations()) == 1


async def test_a_delivery_that_cannot_be_read_is_held_with_its_job(house: House) -> None:
    await house.setup.execute(
        "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state) "
        "values ('retell', 'k', 'call_ended', 'call_9', $1, 'nonsense', 'accepted')",
        house.company_id,
    )
    inbox_id = await house.watch.fetchval("select id from webhook_inbox")
    payload = json.dumps({"inbox_id": str(inbox_id), "subject": "call_9"}).encode()
    await put(house.worker, NewJob("webhooks.retell_call", payload, house.company_id))
    await house.settled()
    assert await house.count("held_jobs", "error_type = 'Permanent' and attempts = 1") == 1
    assert await house.count("webhook_inbox", "state = 'held'") == 1


async def test_a_booking_request_of_another_company_is_held(house: House) -> None:
    request = BookingRequest(
        key="k", company_id=uuid4(), service="schnitt", starts_at=SLOT, asked_at=ASKED_AT, branch="mitte"
    )
    await put(house.worker, NewJob(BOOK, request.encode(), house.company_id))
    await house.settled()
    assert await house.count("held_jobs", "message = 'the request is another company''s'") == 1
    assert await house.count("appointments") == 0


async def accept(house: House, delivery: Delivery) -> UUID:
    """Put a calendar delivery in for the salon, whose agents its booking does not name."""
    inbox_id: UUID = await house.setup.fetchval(
        "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state) "
        "values ($1, $2, $3, $4, $5, $6, 'accepted') returning id",
        Provider.CALCOM.value,
        delivery.dedup_key,
        delivery.event,
        delivery.subject,
        house.company_id,
        delivery.body,
    )
    payload = json.dumps({"inbox_id": str(inbox_id), "subject": delivery.subject}).encode()
    await put(house.worker, NewJob("webhooks.calcom_booking", payload, house.company_id))
    await house.settled()
    return inbox_id


async def test_a_calendars_booking_is_linked_to_the_appointment_it_names_and_its_cancellation_cancels(
    house: House,
) -> None:
    await house.deliver(*booked_call())
    await house.settled()
    appointment_id = await house.watch.fetchval("select id from appointments")
    named = {"metadata": {"appointment_id": str(appointment_id)}}
    await accept(house, booking_event("BOOKING_CREATED", "uid-1", **named))
    assert await house.watch.fetchval("select provider_booking_uid from appointments") == "uid-1"
    inbox_id = await accept(house, booking_event("BOOKING_CANCELLED", "uid-1"))
    assert await house.watch.fetchval("select status from appointments") == "cancelled"
    state = "select state from webhook_inbox where id = $1"
    assert await house.watch.fetchval(state, inbox_id) == InboxState.PROCESSED
    await put(
        house.worker,
        NewJob(
            "webhooks.calcom_booking",
            json.dumps({"inbox_id": str(inbox_id), "subject": "uid-1"}).encode(),
            house.company_id,
        ),
    )
    await house.settled()
    assert await house.count("appointment_events") == 2
    assert await house.count("held_jobs") == 0


@pytest.mark.parametrize(
    "metadata", [None, {}, [], {"appointment_id": "x"}, {"appointment_id": "0198c0de-5aa0-7d1e-9e01-4f6b2a7c1d35"}]
)
async def test_a_calendars_booking_that_names_nothing_of_ours_makes_no_appointment(
    house: House, metadata: object
) -> None:
    inbox_id = await accept(house, booking_event("BOOKING_CREATED", "uid-2", metadata=metadata))
    state = await house.watch.fetchval("select state from webhook_inbox where id = $1", inbox_id)
    assert state == InboxState.PROCESSED
    assert await house.count("appointments") == 0


async def test_a_call_that_never_ended_is_closed_after_two_hours_and_a_late_report_still_counts(house: House) -> None:
    long_ago = int((ASKED_AT - timedelta(hours=3)).timestamp() * 1000)
    await house.deliver(
        call_event("call_started", "call_old", call_status="ongoing", start_timestamp=long_ago),
        call_event("call_started", "call_new", call_status="ongoing"),
    )
    await house.settled()
    await put(house.worker, NewJob("default.close_stale_calls"))
    await house.settled()
    rows = await house.watch.fetch("select provider_call_id, status, outcome from calls order by 1")
    assert [tuple(row) for row in rows] == [("call_new", "ongoing", None), ("call_old", "ended", "unknown")]
    late = call_event(
        "call_ended", "call_old", call_status="ended", start_timestamp=long_ago, disconnection_reason="user_hangup"
    )
    await house.deliver(late)
    await house.settled()
    reason = "select disconnection_reason from calls where provider_call_id = 'call_old'"
    assert await house.watch.fetchval(reason) == "user_hangup"


async def hold(connection: Connection, house: House, expires: timedelta) -> None:
    """A slot that somebody holds, as its first event says."""
    await connection.execute(
        """
        with made as (
            insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone,
                                      status, source, hold_expires_at, version)
            select $1, b.id, p.id, s.id, $2, $2::timestamptz + interval '30 min', 'Europe/Berlin',
                   'held', 'api', now() + $3::interval, 1
            from branches b, staff p, services s
            where b.company_id = $1 and b.slug = 'mitte' and p.company_id = $1 and p.slug = 'anna'
              and s.company_id = $1 and s.slug = 'schnitt'
            returning *
        )
        insert into appointment_events (company_id, appointment_id, version, kind, actor, data)
        select company_id, id, 1, 'held', 'test', '{"status": "held"}' from made
        """,
        house.company_id,
        SLOT + (timedelta(hours=1) if expires > timedelta() else timedelta()),
        expires,
    )


async def test_a_hold_that_ran_out_is_released_and_another_is_kept(house: House) -> None:
    await hold(house.setup, house, timedelta(seconds=-1))
    await hold(house.setup, house, timedelta(hours=1))
    await put(house.worker, NewJob("default.release_holds"))
    await house.settled()
    rows = await house.watch.fetch("select status, hold_expires_at is null from appointments order by status")
    assert [tuple(row) for row in rows] == [("cancelled", True), ("held", False)]
    assert await house.count("appointment_events", "kind = 'hold_expired'") == 1
    assert await house.count("held_jobs") == 0


async def test_what_was_kept_for_long_enough_is_deleted_a_thousand_rows_at_a_time(house: House) -> None:
    await house.deliver(*booked_call())
    await house.settled()
    kept = {table: await house.count(table) for table in ("pgqueuer_log", "job_runs")}
    await house.worker.execute(
        """
        insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
        select now() - interval '8 days', 0, 'successful', 0, 'default.old' from generate_series(1, 2500);
        insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at)
        select 0, 1, 'default.old', gen_random_uuid(), now() - interval '8 days' - n * interval '1 s'
        from generate_series(1, 1500) n;
        insert into held_jobs (job_id, queue, entrypoint, fingerprint, error_type, message, traceback, attempts,
                               enqueued_at, held_at, state)
        select n, 'default', 'default.old', '', '', '', '', 1, now(), now() - interval '8 days',
               case n when 1 then 'held' else 'retried' end
        from generate_series(1, 3) n;
        insert into workers (id, node, queue, pid, version, concurrency, heartbeat_at)
        values (gen_random_uuid(), 'gone', 'default', 1, '0', 1, now() - interval '2 days');
        """
    )
    await house.setup.execute(
        "update webhook_inbox set received_at = now() - interval '91 days' where event = 'call_ended'"
    )
    await house.setup.execute(
        "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state, received_at) "
        "values ('retell', 'q', 'e', 's', $1, '', 'held', now() - interval '91 days')",
        house.company_id,
    )
    await put(house.worker, NewJob("default.retention"))
    await house.settled()
    assert await house.count("held_jobs", "entrypoint <> 'default.old'") == 0
    for table, rows in kept.items():
        assert await house.count(table, "entrypoint = 'default.old'") == 0
        assert await house.count(table) >= rows
    assert await house.worker.fetchval("select sum(count) from pgqueuer_statistics") == 2500
    assert await house.count("held_jobs", "state = 'held'") == await house.count("held_jobs") == 1
    assert await house.count("workers", "node = 'gone'") == 0
    states = await house.watch.fetch("select event, state from webhook_inbox order by event")
    assert [tuple(row) for row in states] == [
        ("call_analyzed", "processed"),
        ("call_started", "processed"),
        ("e", "held"),
    ]


async def test_refused_deliveries_are_deleted_when_their_time_is_over(house: House) -> None:
    await house.api.execute(
        "select intake_reject(array['retell', 'retell'], array['stale', 'stale'], array['a', 'b'], "
        "array[null, null]::bytea[], array[1, 1], interval '-1 s')"
    )
    await put(house.worker, NewJob("default.purge_rejects"))
    await house.settled()
    assert await house.count("webhook_rejects") == 0
    assert await house.count("held_jobs") == 0


@pytest.mark.parametrize("days", [29, 31])
def test_a_confirmation_stays_in_the_outbox_for_thirty_days(tmp_path: Path, days: int) -> None:
    day = tmp_path / (datetime.now(UTC).date() - timedelta(days=days)).isoformat()
    day.mkdir()
    (day / "x.eml").write_text("")
    (tmp_path / "notes").mkdir()
    assert FileChannel(tmp_path).prune(datetime.now(UTC).date()) == (days > 30)
    assert day.exists() == (days <= 30)
    assert (tmp_path / "notes").exists()
