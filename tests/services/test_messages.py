"""Messages as e-mails and calendar objects, whatever the names in them hold; the outbox of files."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.email_addresses import usable_address
from backend.domain.vocabulary import NotificationKind
from backend.services.notifications.calendar_file import CalendarEvent, calendar_object
from backend.services.notifications.file_channel import FileChannel
from backend.services.notifications.message import Mailbox, Message, as_email
from backend.services.notifications.wording import Facts, Language, subject, text

SENT_AT = datetime(2026, 3, 2, 8, tzinfo=UTC)

FACTS = Facts(
    customer="Jürgen Groß",
    company="Salon Anna",
    branch="Mitte",
    address="Torstraße 1, 10119 Berlin",
    phone="+4930123456",
    service="Schnitt",
    staff="Anna Weiß",
    starts_at=datetime(2026, 3, 30, 8, 0, tzinfo=UTC),
    ends_at=datetime(2026, 3, 30, 8, 30, tzinfo=UTC),
    time_zone="Europe/Berlin",
    cancel_hours=24,
    cancel_fee_cents=1550,
)

EVENT = CalendarEvent(
    appointment_id=UUID(int=7),
    version=3,
    changed_at=SENT_AT,
    starts_at=FACTS.starts_at,
    ends_at=FACTS.ends_at,
    summary="Schnitt, Salon Anna",
    description="Anna Weiß",
    location="Mitte; Torstraße 1",
    organizer_name='Salon "Anna"',
    organizer="termine@askpro.test",
    attendee_name="Jürgen Groß",
    attendee="juergen@kunde.test",
)


def message(name: str = "Jürgen Groß", title: str = "Ihr Termin", body: str = "Guten Tag\n") -> Message:
    return Message(
        key="confirmed-7-3",
        day=SENT_AT,
        sender_name=name,
        reply_to="anna@salon.test",
        to=Mailbox(name, "juergen@kunde.test"),
        phone="+4917012345678",
        language="de",
        subject=title,
        text=body,
    )


HOSTILE = st.text() | st.sampled_from(
    ["a\r\nBcc: x@y.test", "\r\n\r\nbody", "a\x00b", '"><x@y.test>', "\u2028X: y", "=?utf-8?q?x?="]
)


@given(name=HOSTILE, title=HOSTILE, body=HOSTILE)
def test_no_name_and_no_text_adds_a_header_or_a_recipient(name: str, title: str, body: str) -> None:
    raw = as_email(message(name, title, body), "termine@askpro.test", SENT_AT).as_bytes()
    read = message_from_bytes(raw, policy=default)
    assert sorted(key.lower() for key in read) == sorted(
        [
            *("from", "to", "reply-to", "subject", "date", "message-id", "auto-submitted", "x-askpro-phone"),
            *("mime-version", "content-type", "content-transfer-encoding", "content-language"),
        ]
    )
    assert [address.addr_spec for address in read["To"].addresses] == ["juergen@kunde.test"]
    assert [address.addr_spec for address in read["From"].addresses] == ["termine@askpro.test"]
    assert raw.isascii()


@pytest.mark.parametrize(
    ("written", "usable"),
    [
        ("Jan.Müller@kunde.test", None),
        ("jan@müller.test", "jan@xn--mller-kva.test"),
        (" jan+termin@kunde.test ", "jan+termin@kunde.test"),
        ("jan@kunde.test, x@y.test", None),
        ("<jan@kunde.test>", None),
        ("jan@kunde..test", None),
        ("jan.@kunde.test", None),
        ("a" * 65 + "@kunde.test", None),
        ("jan@" + "a." * 130 + "test", None),
        ("jan", None),
        ("", None),
        ("jan@kunde.test\n", "jan@kunde.test"),
        ("jan@kun\nde.test", None),
    ],
)
def test_only_addresses_that_can_be_used_are_used(written: str, usable: str | None) -> None:
    assert usable_address(written) == usable


def unfolded(calendar: str) -> list[str]:
    return calendar.replace("\r\n ", "").split("\r\n")


def test_a_calendar_object_says_who_when_and_where() -> None:
    lines = unfolded(calendar_object(EVENT, "REQUEST"))
    for line in (
        "METHOD:REQUEST",
        "UID:00000000-0000-0000-0000-000000000007@askpro",
        "SEQUENCE:3",
        "DTSTART:20260330T080000Z",
        "DTEND:20260330T083000Z",
        "SUMMARY:Schnitt\\, Salon Anna",
        "LOCATION:Mitte\\; Torstraße 1",
        "STATUS:CONFIRMED",
        "ORGANIZER;CN=\"Salon 'Anna'\":mailto:termine@askpro.test",
    ):
        assert line in lines
    cancelled = unfolded(calendar_object(EVENT, "CANCEL"))
    assert {"METHOD:CANCEL", "STATUS:CANCELLED", lines[5]} <= set(cancelled)


@given(words=st.text())
def test_a_calendar_object_is_well_formed_whatever_it_holds(words: str) -> None:
    text_ = calendar_object(
        replace(EVENT, summary=words, description=words, location=words, attendee_name=words), "REQUEST"
    )
    assert text_.endswith("END:VCALENDAR\r\n")
    physical = text_.split("\r\n")[:-1]
    assert all(len(line.encode()) <= 75 for line in physical)
    assert not any(character in line for line in physical for character in "\r\n\x00")
    names = [line.partition(":")[0].partition(";")[0] for line in unfolded(text_)[:-1]]
    assert set(names) <= {
        *("BEGIN", "END", "VERSION", "PRODID", "METHOD", "UID", "SEQUENCE", "DTSTAMP", "DTSTART", "DTEND"),
        *("SUMMARY", "STATUS", "DESCRIPTION", "LOCATION", "ORGANIZER", "ATTENDEE"),
    }


@pytest.mark.parametrize("language", ["de", "en"])
@pytest.mark.parametrize("kind", list(NotificationKind))
def test_every_message_names_company_service_and_the_time_on_the_branchs_clock(
    kind: NotificationKind, language: Language
) -> None:
    words = subject(kind, FACTS, language) + text(kind, FACTS, language)
    assert "10:00" in words  # the clocks have changed the day before
    assert all(part in words for part in ("Salon Anna", "Schnitt", "Anna Weiß", "Torstraße", "Jürgen Groß"))
    assert ("Montag" if language == "de" else "Monday") in words
    assert "{" not in words


def test_what_cancelling_costs_is_said_with_its_hour() -> None:
    assert "Bis Sonntag, 29. März 2026, 10:00 Uhr, ist das kostenlos, danach kostet es 15,50 €." in text(
        NotificationKind.CONFIRMED, replace(FACTS, starts_at=FACTS.starts_at), "de"
    )
    free = replace(FACTS, cancel_hours=0, cancel_fee_cents=0)
    assert "kostenlos" not in text(NotificationKind.CONFIRMED, free, "de")


async def test_a_file_is_whole_private_and_written_once(tmp_path: Path) -> None:
    outbox = FileChannel(tmp_path / "outbox")
    where = await outbox.send(message(body="eins\n"))
    again = await outbox.send(message(body="zwei\n"))
    (file,) = (tmp_path / "outbox").rglob("*.*")
    assert (where, again) == (f"2026-03-02/{file.name}", f"2026-03-02/{file.name} (there already)")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert message_from_bytes(file.read_bytes(), policy=default).get_content().strip() == "eins"


def test_days_that_are_no_days_are_left_alone(tmp_path: Path) -> None:
    old = tmp_path / (SENT_AT.date() - timedelta(days=31)).isoformat()
    old.mkdir()
    (tmp_path / "notes").mkdir()
    assert FileChannel(tmp_path).prune(SENT_AT.date()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes"]
