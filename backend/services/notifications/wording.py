"""The words of messages, German and English: plain text, formal, nothing but what the reader needs.

Times are wall time where the branch is. Companies speak the language of their locale: German when it is German, else
English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from backend.domain.vocabulary import NotificationKind
from backend.domain.zones import zone

Language = Literal["de", "en"]


def language_of(locale: str) -> Language:
    """The language that a company with this locale speaks to its customers."""
    return "de" if locale.startswith("de") else "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a message about an appointment tells."""

    customer: str
    """Empty when the name is not known."""
    company: str
    branch: str
    address: str
    phone: str
    """Of the branch; empty when it has none."""
    service: str
    staff: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    cancel_hours: int
    cancel_fee_cents: int


@dataclass(frozen=True, slots=True)
class _Words:
    """One message in one language. `{when}` is the day and the time."""

    subject: str
    opening: str
    closing: str = ""


_WORDS: Mapping[Language, Mapping[NotificationKind, _Words]] = {
    "de": {
        NotificationKind.CONFIRMED: _Words(
            "Ihr Termin am {when}",
            "Ihr Termin bei {company} ist bestätigt:",
            "Wenn Sie nicht kommen können, sagen Sie bitte rechtzeitig ab.",
        ),
        NotificationKind.MOVED: _Words(
            "Ihr Termin wurde verlegt: {when}",
            "Ihr Termin bei {company} wurde verlegt. Er ist jetzt:",
            "Wenn Sie nicht kommen können, sagen Sie bitte rechtzeitig ab.",
        ),
        NotificationKind.CANCELLED: _Words(
            "Ihr Termin am {when} ist abgesagt",
            "Ihr Termin bei {company} ist abgesagt:",
            "Gern finden wir einen neuen Termin für Sie.",
        ),
        NotificationKind.NO_SHOW: _Words(
            "Wir haben Sie vermisst: Ihr Termin am {when}",
            "leider haben wir Sie zu Ihrem Termin bei {company} nicht angetroffen:",
            "Gern finden wir einen neuen Termin für Sie.",
        ),
        NotificationKind.REMINDER_24H: _Words(
            "Erinnerung: Ihr Termin am {when}",
            "wir erinnern Sie an Ihren Termin bei {company}:",
            "Wenn Sie nicht kommen können, sagen Sie bitte rechtzeitig ab.",
        ),
        NotificationKind.REMINDER_2H: _Words(
            "In zwei Stunden: Ihr Termin um {time}",
            "in zwei Stunden erwarten wir Sie bei {company}:",
        ),
        NotificationKind.REMINDER_30MIN: _Words(
            "In einer halben Stunde: Ihr Termin um {time}",
            "in einer halben Stunde erwarten wir Sie bei {company}:",
        ),
    },
    "en": {
        NotificationKind.CONFIRMED: _Words(
            "Your appointment on {when}",
            "Your appointment at {company} is confirmed:",
            "If you cannot come, please let us know in good time.",
        ),
        NotificationKind.MOVED: _Words(
            "Your appointment was moved: {when}",
            "Your appointment at {company} was moved. It is now:",
            "If you cannot come, please let us know in good time.",
        ),
        NotificationKind.CANCELLED: _Words(
            "Your appointment on {when} is cancelled",
            "Your appointment at {company} is cancelled:",
            "We will gladly find a new one for you.",
        ),
        NotificationKind.NO_SHOW: _Words(
            "We missed you: your appointment on {when}",
            "We are sorry that we did not see you at your appointment at {company}:",
            "We will gladly find a new one for you.",
        ),
        NotificationKind.REMINDER_24H: _Words(
            "Reminder: your appointment on {when}",
            "This is to remind you of your appointment at {company}:",
            "If you cannot come, please let us know in good time.",
        ),
        NotificationKind.REMINDER_2H: _Words(
            "In two hours: your appointment at {time}",
            "We look forward to seeing you at {company} in two hours:",
        ),
        NotificationKind.REMINDER_30MIN: _Words(
            "In half an hour: your appointment at {time}",
            "We look forward to seeing you at {company} in half an hour:",
        ),
    },
}

_DAYS: Mapping[Language, Sequence[str]] = {
    "de": ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
_MONTHS: Mapping[Language, Sequence[str]] = {
    "de": (
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ),
    "en": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}


def subject(kind: NotificationKind, facts: Facts, language: Language) -> str:
    """The subject of a message about an appointment."""
    starts = facts.starts_at.astimezone(zone(facts.time_zone))
    words = _WORDS[language][kind].subject
    return words.format(when=f"{day(starts, language)}, {clock(starts, language)}", time=clock(starts, language))


def text(kind: NotificationKind, facts: Facts, language: Language) -> str:
    """The text of a message about an appointment."""
    words = _WORDS[language][kind]
    lines = [
        _greeting(facts.customer, language),
        "",
        words.opening.format(company=facts.company),
        "",
        *(f"  {label + ':':<6} {value}" for label, value in _particulars(facts, language) if value),
        "",
    ]
    if words.closing:
        lines.append(" ".join(filter(None, (words.closing, _call_us(facts.phone, language)))))
        if kind in _MAY_CANCEL and (fee := _fee(facts, language)):
            lines.append(fee)
        lines.append("")
    lines += ["Freundliche Grüße" if language == "de" else "Kind regards", facts.company, ""]
    return "\n".join(lines)


_MAY_CANCEL = frozenset({NotificationKind.CONFIRMED, NotificationKind.MOVED, NotificationKind.REMINDER_24H})


def _greeting(customer: str, language: Language) -> str:
    hello = "Guten Tag" if language == "de" else "Dear"
    if not customer:
        return "Guten Tag," if language == "de" else "Hello,"
    return f"{hello} {customer},"


def _particulars(facts: Facts, language: Language) -> list[tuple[str, str]]:
    starts = facts.starts_at.astimezone(zone(facts.time_zone))
    ends = facts.ends_at.astimezone(zone(facts.time_zone))
    when = f"{day(starts, language)}, {clock(starts, language)}"
    until = f"bis {clock(ends, language)}" if language == "de" else f"to {clock(ends, language)}"
    labels = ("Wann", "Was", "Bei", "Wo") if language == "de" else ("When", "What", "With", "Where")
    return list(zip(labels, (f"{when} {until}", facts.service, facts.staff, place(facts)), strict=True))


def place(facts: Facts) -> str:
    """Where it is, on one line."""
    return ", ".join(part for part in (facts.branch, " ".join(facts.address.split())) if part)


def _call_us(phone: str, language: Language) -> str:
    if not phone:
        return ""
    return f"Sie erreichen uns unter {phone}." if language == "de" else f"You can reach us at {phone}."


def _fee(facts: Facts, language: Language) -> str:
    """Until when it costs nothing; empty when it never costs anything, or that is over."""
    if not facts.cancel_hours or not facts.cancel_fee_cents:
        return ""
    until = (facts.starts_at - timedelta(hours=facts.cancel_hours)).astimezone(zone(facts.time_zone))
    euros = f"{facts.cancel_fee_cents // 100}{',' if language == 'de' else '.'}{facts.cancel_fee_cents % 100:02}"
    if language == "de":
        return f"Bis {day(until, language)}, {clock(until, language)}, ist das kostenlos, danach kostet es {euros} €."
    return (
        f"Until {day(until, language)}, {clock(until, language)}, this is free of charge; after that it costs €{euros}."
    )


def day(moment: datetime, language: Language) -> str:
    """`Mittwoch, 4. März 2026` or `Wednesday, 4 March 2026`."""
    point = "." if language == "de" else ""
    month = _MONTHS[language][moment.month - 1]
    return f"{_DAYS[language][moment.weekday()]}, {moment.day}{point} {month} {moment.year}"


def clock(moment: datetime, language: Language) -> str:
    """`10:00 Uhr` or `10:00`."""
    return f"{moment:%H:%M} Uhr" if language == "de" else f"{moment:%H:%M}"
