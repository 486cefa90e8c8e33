"""Dates, times, sums and lists as people say them, in German and English."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum


class Language(StrEnum):
    """What an agent speaks."""

    GERMAN = "de"
    ENGLISH = "en"


WEEKDAYS = {
    Language.GERMAN: ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    Language.ENGLISH: ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}

MONTHS = {
    Language.GERMAN: (
        "Januar", "Februar", "März", "April", "Mai", "Juni",
        "Juli", "August", "September", "Oktober", "November", "Dezember",
    ),
    Language.ENGLISH: (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
}  # fmt: skip

_EURO = {Language.GERMAN: ("Euro", "Euro"), Language.ENGLISH: ("euro", "euros")}
_AND_OR = {Language.GERMAN: ("und", "oder"), Language.ENGLISH: ("and", "or")}


def language_of(locale: str) -> Language:
    """The language of a company's locale (`en_GB`); German for every other than English."""
    return Language.ENGLISH if locale.lower().startswith("en") else Language.GERMAN


def weekday(day: date, language: Language) -> str:
    """`Donnerstag`."""
    return WEEKDAYS[language][day.weekday()]


def spoken_day(day: date, language: Language, today: date | None = None) -> str:
    """`Donnerstag, den 26. November`, `Thursday, November 26`; with the year when it is not that of `today`."""
    month = MONTHS[language][day.month - 1]
    is_far = today is None or day.year != today.year
    if language is Language.ENGLISH:
        return f"{weekday(day, language)}, {month} {day.day}" + (f", {day.year}" if is_far else "")
    return f"{weekday(day, language)}, den {day.day}. {month}" + (f" {day.year}" if is_far else "")


def spoken_time(moment: datetime, language: Language) -> str:
    """`14 Uhr 30`, `14 Uhr`, `2:30 pm`, `2 pm`; midnight is `0 Uhr` and `midnight`, noon `12 Uhr` and `noon`."""
    hour, minute = moment.hour, moment.minute
    if language is Language.GERMAN:
        return f"{hour} Uhr {minute}" if minute else f"{hour} Uhr"
    if not minute and hour in {0, 12}:
        return "noon" if hour else "midnight"
    clock = f"{hour % 12 or 12}" + (f":{minute:02}" if minute else "")
    return f"{clock} {'am' if hour < 12 else 'pm'}"


def spoken_moment(local: datetime, language: Language, today: date | None = None) -> str:
    """`Donnerstag, den 26. November um 14 Uhr 30`, `Thursday, November 26 at 2:30 pm`. `local` is wall time."""
    joint = " at " if language is Language.ENGLISH else " um "
    return spoken_day(local.date(), language, today) + joint + spoken_time(local, language)


def spoken_money(cents: int, language: Language) -> str:
    """`35 Euro`, `12 Euro 50`, `12 euros 50`."""
    euros, rest = divmod(cents, 100)
    word = _EURO[language][euros != 1]
    return f"{euros} {word} {rest:02}" if rest else f"{euros} {word}"


def spoken_hours(hours: int, language: Language) -> str:
    """`24 Stunden`, `one hour`."""
    if language is Language.ENGLISH:
        return "one hour" if hours == 1 else f"{hours} hours"
    return "eine Stunde" if hours == 1 else f"{hours} Stunden"


def spoken_minutes(minutes: int, language: Language) -> str:
    """`30 Minuten`, `one minute`."""
    if language is Language.ENGLISH:
        return "one minute" if minutes == 1 else f"{minutes} minutes"
    return "eine Minute" if minutes == 1 else f"{minutes} Minuten"


def spoken_list(items: Sequence[str], language: Language, *, choice: bool = False) -> str:
    """`A, B und C`; with `choice`, `A, B oder C`. Items that hold commas are kept apart by semicolons."""
    if len(items) < 2:
        return "".join(items)
    word = _AND_OR[language][choice]
    joint = "; " if any("," in item for item in items) else ", "
    return f"{joint.join(items[:-1])} {word} {items[-1]}"
