"""Messages as jobs: from an event or a moment to the mail server, once, and what becomes of those it does not take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

import msgspec
import pytest

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, tenant_transaction
from backend.queue.held import retry_held
from backend.queue.jobs import handlers_of
from backend.queue.notification_jobs import CALLBACKS_OVERDUE, REMINDERS_DUE
from backend.queue.port import NewJob
from backend.services.booking import Booked, BookingRequest, book, cancel, reschedule
from backend.services.companies.applying import CallbackRules, NotificationRules, apply_company
from backend.services.notifications.smtp_channel import SmtpServer
from tests.databases import OpenConnection
from tests.queue.scenes import OwnConnection, config_for, put, until, working
from tests.services.conftest import OPEN_SALON
from tests.services.mail_server import MailServer, mail_server

NOW = datetime.now(UTC).replace(microsecond=0)
SLOT = (NOW + timedelta(days=3)).replace(minute=0, second=0)


class Post:
    """A salon, the workers that tell its customers, and the mail server."""

    def __init__(self, company_id: UUID, worker: OwnConnection, setup: OwnConnection, server: MailServer) -> None:
        self.company_id = company_id
        self.worker = worker
        self.setup = setup
        self.server = server

    async def within(self, work: Callable[[Connection], Awaitable[object]]) -> None:
        """Work in one transaction of the company's."""
        async with tenant_transaction(self.worker, self.company_id):
            await work(self.worker)

    async def book(self, starts_at: datetime = SLOT, email: str | None = "hans@kunde.test") -> UUID:
        request = BookingRequest(
            key=f"test:{starts_at.isoformat()}",
            company_id=self.company_id,
            service="schnitt",
            staff="anna",
            branch="mitte",
            starts_at=starts_at,
            asked_at=NOW,
            attendee_name="Hans Müller",
            attendee_email=email,
            attendee_phone="+4917012345678",
        )
        async with tenant_transaction(self.worker, self.company_id):
            booked = await book(self.worker, request)
        assert isinstance(booked, Booked), booked
        return booked.appointment_id

    async def settled(self) -> None:
        """Wait until no job waits or runs, but those that wait for somebody else."""
        busy = (
            "select exists (select from pgqueuer"
            " where status = 'picked' or status = 'queued' and execute_after <= now())"
        )

        async def condition() -> bool:
            return not await self.worker.fetchval(busy)

        await until(condition, "all jobs are done, held or postponed")

    async def notes(self) -> list[str]:
        """What became of each notification."""
        async with tenant_transaction(self.worker, self.company_id):
            rows = await self.worker.fetch("select kind, state, detail from notifications order by created_at, id")
        return [f"{row['kind']} {row['state']} {row['detail']}".strip() for row in rows]

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.server.messages]


@asynccontextmanager
async def all_telling(database: PostgresAddress, server: MailServer) -> AsyncIterator[None]:
    mail = SmtpServer(host="127.0.0.1", port=server.port, security="none", sender="termine@askpro.test")
    async with AsyncExitStack() as stack:
        for queue in (QueueName.NOTIFICATIONS, QueueName.DEFAULT):
            await stack.enter_async_context(working(config_for(database, queue, mail=mail), handlers_of(queue)))
        yield


@pytest.fixture
async def post(database: PostgresAddress, open_connection: OpenConnection) -> AsyncIterator[Post]:
    setup, worker = await open_connection(Role.SETUP), await open_connection(Role.WORKER)
    applied = await apply_company(setup, OPEN_SALON)
    async with mail_server() as server, all_telling(database, server):
        yield Post(applied.company_id, worker, setup, server)


def calendar(mail: EmailMessage) -> str:
    """The calendar object of a message, its lines unfolded."""
    (part,) = mail.iter_attachments()
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n ", "").replace("\r\n", "\n")


async def test_a_customer_is_told_of_booking_move_and_cancellation_and_their_calendar_follows(post: Post) -> None:
    appointment_id = await post.book()
    await post.settled()
    await post.within(
        lambda connection: reschedule(
            connection, post.company_id, appointment_id, starts_at=SLOT + timedelta(hours=1), actor="test"
        )
    )
    await post.settled()
    await post.within(lambda connection: cancel(connection, post.company_id, appointment_id, actor="test"))
    await post.settled()
    booked, moved, cancelled = map(calendar, post.server.messages)
    assert [note.split()[:2] for note in await post.notes()] == [
        ["confirmed", "sent"],
        ["moved", "sent"],
        ["cancelled", "sent"],
    ]
    for content, method, sequence in ((booked, "REQUEST", 1), (moved, "REQUEST", 2), (cancelled, "CANCEL", 3)):
        assert f"METHOD:{method}\n" in content
        assert f"SEQUENCE:{sequence}\n" in content
        assert f"UID:{appointment_id}@askpro\n" in content
    assert f"DTSTART:{SLOT + timedelta(hours=1):%Y%m%dT%H%M%SZ}\n" in moved


async def test_of_changes_in_a_row_only_the_last_is_told(post: Post) -> None:
    appointment_id = await post.book()
    await post.settled()
    async with tenant_transaction(post.worker, post.company_id):
        for hour in (1, 2, 3):
            await reschedule(
                post.worker, post.company_id, appointment_id, starts_at=SLOT + timedelta(hours=hour), actor="test"
            )
    await post.settled()
    assert len(post.server.messages) == 2
    assert sorted(note.split()[1] for note in await post.notes()) == ["dropped", "dropped", "sent", "sent"]


async def test_a_company_tells_what_it_declared_in_its_name_and_language(post: Post) -> None:
    rules = NotificationRules(send=("cancelled",), sender_name="Front desk", reply_to="desk@salon.test")
    await apply_company(post.setup, msgspec.structs.replace(OPEN_SALON, notifications=rules, locale="en_GB"))
    appointment_id = await post.book()
    await post.within(lambda connection: cancel(connection, post.company_id, appointment_id, actor="test"))
    await post.settled()
    (mail,) = post.server.messages
    assert str(mail["Subject"]).endswith("is cancelled")
    assert mail["From"] == "Front desk <termine@askpro.test>"
    assert mail["Reply-To"] == "Front desk <desk@salon.test>"


async def test_what_is_imported_or_comes_from_the_providers_calendar_is_told_by_others(post: Post) -> None:
    appointment_id = await post.book()
    await post.settled()
    await post.within(lambda connection: cancel(connection, post.company_id, appointment_id, actor="calcom"))
    await post.setup.execute(
        "insert into appointment_events (company_id, appointment_id, version, kind, actor) "
        "values ($1, $2, 3, 'restored', 'import')",
        post.company_id,
        appointment_id,
    )
    await post.settled()
    assert len(post.server.messages) == 1


async def test_a_reminder_is_sent_when_its_moment_has_come(post: Post) -> None:
    await post.setup.execute(
        """
        insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                  source, attendee_email, version, created_at)
        select $1, b.id, p.id, s.id, $2, $2::timestamptz + interval '30 minutes', 'Europe/Berlin', 'confirmed',
               'import', 'hans@kunde.test', 1, now() - interval '3 days'
        from branches b, staff p, services s
        where b.slug = 'mitte' and p.slug = 'anna' and s.slug = 'schnitt'
        """,
        post.company_id,
        NOW + timedelta(minutes=28),
    )
    for _ in range(2):
        await put(post.worker, NewJob(REMINDERS_DUE))
        await post.settled()
    assert await post.notes() == ["reminder_30min sent 250 queued as 4711"]
    assert post.subjects()[0].startswith("In einer halben Stunde: Ihr Termin um")


async def test_a_server_that_says_later_is_asked_later_and_the_job_keeps_its_attempts(post: Post) -> None:
    post.server.to_recipient = "450 4.2.1 greylisted"
    await post.book()
    await post.settled()
    (note,) = await post.notes()
    assert note.startswith("confirmed waiting 127.0.0.1:")
    assert note.endswith("450 4.2.1 greylisted")
    post.server.to_recipient = ""
    job = await post.worker.fetchrow("select attempts, status, execute_after > now() as waits from pgqueuer")
    assert job is not None
    assert (job["attempts"], job["status"], job["waits"]) == (0, "queued", True)
    await post.worker.execute("update pgqueuer set execute_after = now()")
    await post.settled()
    assert await post.notes() == ["confirmed sent 250 queued as 4711"]


async def test_a_server_that_says_no_has_its_words_with_the_held_job_and_a_retry_sends(post: Post) -> None:
    post.server.to_recipient = "550 5.1.1 no such user"
    await post.book()
    await post.settled()
    held = await post.worker.fetchrow("select job_id, message from held_jobs")
    assert held is not None
    assert held["message"].endswith("550 5.1.1 no such user")
    assert (await post.notes())[0].startswith("confirmed refused")
    post.server.to_recipient = ""
    async with post.worker.transaction():
        assert await retry_held(post.worker, [held["job_id"]], by="anna")
    await post.settled()
    assert await post.notes() == ["confirmed sent 250 queued as 4711"]


async def test_who_has_no_mailbox_is_noted_and_nothing_is_held(post: Post) -> None:
    await post.book(email=None)
    await post.settled()
    assert await post.notes() == ["confirmed dropped no e-mail address"]
    assert await post.worker.fetchval("select count(*) from held_jobs") == 0


async def test_a_company_is_told_once_of_what_is_overdue(post: Post) -> None:
    rules = CallbackRules(email="chefin@salon.test")
    await apply_company(post.setup, msgspec.structs.replace(OPEN_SALON, callbacks=rules))
    await post.setup.execute(
        "insert into callback_requests (company_id, name, phone, reason, due_at, state) values "
        "($1, 'Eva', '+4930111', 'Preis', now() - interval '1 h', 'open'),"
        "($1, 'Tom', '+4930222', 'Frage', now() + interval '1 h', 'open'),"
        "($1, 'Udo', '+4930333', 'Alt', now() - interval '1 h', 'done')",
        post.company_id,
    )
    for _ in range(2):
        await put(post.worker, NewJob(CALLBACKS_OVERDUE))
        await post.settled()
    (mail,) = post.server.messages
    assert (mail["To"], mail["Subject"]) == ("Salon Anna <chefin@salon.test>", "1 Rückruf ist überfällig")
    assert "Eva, +4930111 (Preis)" in mail.get_content()
    assert "Tom" not in mail.get_content()
