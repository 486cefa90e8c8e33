"""A message to one person, whichever channel carries it, and the same as an e-mail (RFC 5322, 2047, 6047).

Whatever names and texts hold, they cannot add a header or a recipient: control characters go, letters beyond ASCII are
encoded, addresses are checked before they get here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from backend.domain.email_addresses import usable_address

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""What no header may hold: control characters, line ends of all kinds, lone surrogates."""

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person or a company with an address."""

    name: str
    email: str
    """Empty when it is not known; usable otherwise (`backend.domain.email_addresses`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one person is told."""

    key: str
    """Equal for the same message sent again: `reminder_24h-<appointment>-<occasion>`. Letters, digits, - and _."""
    day: datetime
    """When it came about (aware): stays the same when it is sent again."""
    sender_name: str
    reply_to: str = ""
    """An address; empty for the sender's."""
    to: Mailbox
    phone: str = ""
    """Of the same person, for channels that use it."""
    language: str
    """`de` or `en`."""
    subject: str
    text: str
    calendar: str = ""
    """An iCalendar object with a method (RFC 5546); empty for none."""
    method: str = ""
    """The same method: REQUEST or CANCEL."""


def message_id(message: Message, sender: str) -> str:
    """The same for the same message, so that a mailbox can fold one that was sent twice."""
    return f"<{message.key}@{sender.rpartition('@')[2] or 'askpro.invalid'}>"


def as_email(message: Message, sender: str, sent_at: datetime) -> EmailMessage:
    """The e-mail. `sender` is the address it comes from; empty in a file that nobody sends.

    Raises ValueError for an address that is none.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _address(message.sender_name, sender or "nobody@askpro.invalid")
    if message.to.email:
        mail["To"] = _address(message.to.name, message.to.email)
    if message.reply_to:
        mail["Reply-To"] = _address(message.sender_name, message.reply_to)
    mail["Subject"] = fit(message.subject, 200)
    mail["Date"] = sent_at.astimezone(UTC)
    mail["Message-ID"] = message_id(message, sender)
    # So that out-of-office replies stay away (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    if message.phone:
        mail["X-AskPro-Phone"] = fit(message.phone, 40).encode("ascii", "replace").decode()
    # With line ends as in an e-mail the text would be quoted line by line.
    mail.set_content(_storable(message.text), charset="utf-8", cte="quoted-printable")
    if message.calendar:
        mail.add_attachment(
            message.calendar.encode(),
            maintype="text",
            subtype="calendar",
            filename="termin.ics" if message.language == "de" else "appointment.ics",
            params={"method": message.method, "charset": "utf-8"},
        )
    mail["Content-Language"] = message.language  # last: setting the content takes such headers away
    return mail


def fit(text: str, longest: int) -> str:
    """The text as a header can hold it: on one line, nothing that controls anything, not too long."""
    told = " ".join(_UNFIT.sub(" ", text).split())
    return told if len(told) <= longest else f"{told[: longest - 1].rstrip()}…"


def _address(name: str, email: str) -> Address:
    checked = usable_address(email)
    if checked is None:
        raise ValueError("not an e-mail address")
    return Address(display_name=fit(name, LONGEST_NAME), addr_spec=checked)


def _storable(text: str) -> str:
    """The text of a body: lines stay, other control characters and lone surrogates do not."""
    return "\n".join(_UNFIT.sub(" ", line.replace("\t", " ")).rstrip() for line in text.split("\n"))
