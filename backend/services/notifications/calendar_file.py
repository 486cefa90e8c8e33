"""An appointment as an iCalendar object, so that a customer's calendar follows it (RFC 5545, 5546).

Times are UTC, so it needs no description of a time zone. The same appointment keeps its UID for life, and its version
is the SEQUENCE: a calendar replaces what is older and ignores what comes late.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

Method = Literal["REQUEST", "CANCEL"]

LINE_OCTETS = 75
"""Longest line, without its end (RFC 5545 §3.1)."""

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEvent:
    """What a calendar shows. Addresses are usable ones; an empty one is left out."""

    appointment_id: UUID
    version: int
    changed_at: datetime
    starts_at: datetime
    ends_at: datetime
    summary: str
    description: str
    location: str
    organizer_name: str
    organizer: str
    attendee_name: str
    attendee: str


def calendar_object(event: CalendarEvent, method: Method) -> str:
    """The object, its lines folded and ended as the format wants."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//AskPro//AskPro Console//EN",
        f"METHOD:{method}",
        "BEGIN:VEVENT",
        f"UID:{event.appointment_id}@askpro",
        f"SEQUENCE:{event.version}",
        f"DTSTAMP:{_utc(event.changed_at)}",
        f"DTSTART:{_utc(event.starts_at)}",
        f"DTEND:{_utc(event.ends_at)}",
        f"SUMMARY:{_text(event.summary)}",
        f"STATUS:{'CANCELLED' if method == 'CANCEL' else 'CONFIRMED'}",
    ]
    if event.description:
        lines.append(f"DESCRIPTION:{_text(event.description)}")
    if event.location:
        lines.append(f"LOCATION:{_text(event.location)}")
    if event.organizer:
        lines.append(f"ORGANIZER;CN={_parameter(event.organizer_name)}:mailto:{event.organizer}")
    if event.attendee:
        lines.append(
            f"ATTENDEE;CN={_parameter(event.attendee_name)};PARTSTAT=ACCEPTED;RSVP=FALSE:mailto:{event.attendee}"
        )
    lines += ["END:VEVENT", "END:VCALENDAR"]
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """A TEXT value (RFC 5545 §3.3.11): line ends, and what separates values, are escaped."""
    clean = _UNFIT.sub(" ", value.replace("\r\n", "\n").replace("\r", "\n"))
    return clean.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _parameter(value: str) -> str:
    """A quoted parameter value: it has no escapes, so a quotation mark becomes an apostrophe."""
    return '"' + " ".join(_UNFIT.sub(" ", value).replace('"', "'").split()) + '"'


def _folded(line: str) -> str:
    """The line in pieces of at most 75 octets, each after the first begun by a space; no character is cut."""
    pieces: list[str] = []
    piece, size = "", 0
    for character in line:
        octets = len(character.encode())
        if size + octets > LINE_OCTETS:
            pieces.append(piece)
            piece, size = " ", 1
        piece += character
        size += octets
    return "\r\n".join([*pieces, piece])
