"""What is said: every refusal in both languages, dates and times as people say them, arguments as models write them."""

from __future__ import annotations

from datetime import date, datetime, time
from string import Formatter
from uuid import uuid4

import pytest

from backend.domain.vocabulary import RefusalReason
from backend.services.companies.catalogue import Branch, find
from backend.services.functions import wording
from backend.services.functions.answering import refusal
from backend.services.functions.arguments import Arguments, read_clock, read_day, read_moment
from backend.services.functions.refusals import Declined, FunctionRefusal, Reason
from backend.services.functions.spoken import (
    Language,
    language_of,
    spoken_hours,
    spoken_list,
    spoken_moment,
    spoken_money,
)
from backend.services.functions.wording import Sentence

REASONS: tuple[Reason, ...] = (*RefusalReason, *FunctionRefusal)

WORDS = {"argument": "x", "hours": "24 Stunden", "appointments": "A oder B", "names": "A oder B"}


def sentences() -> dict[str, Sentence]:
    found = {name: value for name, value in vars(wording).items() if isinstance(value, Sentence)}
    for table in (wording.REFUSALS, wording.ARGUMENTS):
        found |= {str(name): value for name, value in table.items()}
    return found


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("language", list(Language))
def test_every_refusal_can_be_spoken_in_every_language(reason: Reason, language: Language) -> None:
    answer = refusal(Declined(reason, words=WORDS), language)
    assert (answer["ok"], answer["reason"], answer["alternatives"]) == (False, reason.value, [])
    message = str(answer["message"])
    assert message[0].isupper()
    assert message[-1] in ".?"
    assert "{" not in message
    other = Language.GERMAN if language is Language.ENGLISH else Language.ENGLISH
    assert message != refusal(Declined(reason, words=WORDS), other)["message"]


def test_no_word_means_two_reasons() -> None:
    assert len({reason.value for reason in REASONS}) == len(REASONS)
    assert set(wording.REFUSALS) == set(REASONS)


@pytest.mark.parametrize(("name", "sentence"), sentences().items())
def test_both_languages_of_a_sentence_name_the_same(name: str, sentence: Sentence) -> None:
    assert gaps(sentence.german) == gaps(sentence.english), name
    assert sentence.german.strip() == sentence.german != ""
    assert sentence.english.strip() == sentence.english != ""


def test_the_refusals_read_like_this() -> None:
    def said(reason: Reason, language: Language = Language.GERMAN, **words: str) -> object:
        return refusal(Declined(reason, words=words), language)["message"]

    assert said(RefusalReason.SLOT_TAKEN) == "Dieser Termin ist leider nicht mehr frei."
    assert said(RefusalReason.OUTSIDE_HOURS) == "Zu dieser Zeit ist leider kein Termin möglich."
    assert said(RefusalReason.TOO_SOON, Language.ENGLISH) == "Unfortunately that is too short notice."
    assert said(FunctionRefusal.NAME_NEEDED) == "Wie ist bitte Ihr Vor- und Nachname?"
    assert said(RefusalReason.SERVICE_UNKNOWN, names="Farbe oder Kur") == (
        "Diese Leistung kenne ich leider nicht. Was genau darf es sein? Meinen Sie Farbe oder Kur?"
    )
    assert said(FunctionRefusal.POLICY_FORBIDS, Language.ENGLISH, hours="24 hours", fee="20 euros") == (
        "That appointment can only be changed or cancelled free of charge up to 24 hours before. "
        "Now it costs 20 euros. Is that all right?"
    )


@pytest.mark.parametrize(
    ("moment", "german", "english"),
    [
        ("2026-11-26T14:30", "Donnerstag, den 26. November um 14 Uhr 30", "Thursday, November 26 at 2:30 pm"),
        ("2026-11-26T14:00", "Donnerstag, den 26. November um 14 Uhr", "Thursday, November 26 at 2 pm"),
        ("2026-03-01T09:05", "Sonntag, den 1. März um 9 Uhr 5", "Sunday, March 1 at 9:05 am"),
        ("2026-07-03T00:00", "Freitag, den 3. Juli um 0 Uhr", "Friday, July 3 at midnight"),
        ("2026-07-03T12:00", "Freitag, den 3. Juli um 12 Uhr", "Friday, July 3 at noon"),
        ("2026-07-03T00:15", "Freitag, den 3. Juli um 0 Uhr 15", "Friday, July 3 at 12:15 am"),
        ("2027-01-04T12:45", "Montag, den 4. Januar 2027 um 12 Uhr 45", "Monday, January 4, 2027 at 12:45 pm"),
    ],
)
def test_a_moment_is_said_as_people_say_it(moment: str, german: str, english: str) -> None:
    local, today = datetime.fromisoformat(moment), date(2026, 3, 2)
    assert spoken_moment(local, Language.GERMAN, today) == german
    assert spoken_moment(local, Language.ENGLISH, today) == english


def test_sums_spans_and_lists_are_said_as_people_say_them() -> None:
    assert [spoken_money(cents, Language.GERMAN) for cents in (0, 100, 3500, 1250)] == [
        "0 Euro",
        "1 Euro",
        "35 Euro",
        "12 Euro 50",
    ]
    assert [spoken_money(cents, Language.ENGLISH) for cents in (100, 1205)] == ["1 euro", "12 euros 05"]
    assert (spoken_hours(1, Language.GERMAN), spoken_hours(24, Language.ENGLISH)) == ("eine Stunde", "24 hours")
    assert spoken_list([], Language.GERMAN) == ""
    assert spoken_list(["A"], Language.GERMAN) == "A"
    assert spoken_list(["A", "B", "C"], Language.GERMAN) == "A, B und C"
    assert spoken_list(["A", "B, b"], Language.ENGLISH, choice=True) == "A or B, b"
    assert spoken_list(["A", "B, b", "C"], Language.ENGLISH, choice=True) == "A; B, b or C"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de_DE", Language.GERMAN), ("de_AT", Language.GERMAN), ("en_GB", Language.ENGLISH), ("fr_FR", Language.GERMAN)],
)
def test_the_locale_decides_the_language(locale: str, language: Language) -> None:
    assert language_of(locale) is language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-26", date(2026, 11, 26)),
        ("2026-11-26T14:30:00+01:00", date(2026, 11, 26)),
        ("26.11.2026", date(2026, 11, 26)),
        ("3. 4. 2026", date(2026, 4, 3)),
        ("31.02.2026", None),
        ("morgen", None),
        ("", None),
    ],
)
def test_a_day_is_read(text: str, expected: date | None) -> None:
    assert read_day(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:30", time(14, 30)),
        ("14.30", time(14, 30)),
        ("14:30:00", time(14, 30)),
        ("14 Uhr", time(14)),
        ("14 Uhr 30", time(14, 30)),
        ("14:30 Uhr", time(14, 30)),
        ("9h", time(9)),
        ("2 pm", time(14)),
        ("2:30 PM", time(14, 30)),
        ("12 am", time(0)),
        ("12 p.m.", time(12)),
        ("14", time(14)),
        ("2026-11-26T14:30", time(14, 30)),
        ("25:00", None),
        ("14:60", None),
        ("halb drei", None),
        ("", None),
    ],
)
def test_a_time_is_read(text: str, expected: time | None) -> None:
    assert read_clock(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-26T14:30", "2026-11-26T14:30:00"),
        ("2026-11-26T14:30:00Z", "2026-11-26T14:30:00+00:00"),
        ("2026-11-26 14:30", "2026-11-26T14:30:00"),
        ("26.11.2026 um 14 Uhr 30", "2026-11-26T14:30:00"),
        ("2026-11-26, 2 pm", "2026-11-26T14:00:00"),
        ("2026-11-26", None),
        ("20261126", None),
        ("14:30", None),
        ("2026-13-45T99:99", None),
    ],
)
def test_a_moment_is_read(text: str, expected: str | None) -> None:
    found = read_moment(text)
    assert (found.isoformat() if found else None) == expected


def test_arguments_are_read_with_patience() -> None:
    given = Arguments(
        {
            "name": "  Hans \n Müller ",
            "nothing": "null",
            "number": 7,
            "list": ["x"],
            "hold": "ja",
            "days": "14",
            "limit": 10**18,
            "half": "0.5",
            "nan": float("nan"),
            "email": " Hans@Example.org ",
            "phone": "0151 / 123 456 78",
            "date": "26.11.2026",
            "time": "14 Uhr",
        }
    )
    assert (given.name(), given.text("nothing"), given.text("number"), given.text("list")) == (
        "Hans Müller",
        None,
        "7",
        None,
    )
    assert (given.flag("hold"), given.flag("nothing"), given.flag("missing")) == (True, False, False)
    assert (given.number("days", least=1, most=62), given.number("limit", least=1, most=50)) == (14, 50)
    assert (given.number("half", least=1, most=50), given.number("nan", least=1, most=50)) == (1, None)
    assert (given.email(), given.phone()) == ("hans@example.org", "+4915112345678")
    assert given.moment("starts_at") == datetime(2026, 11, 26, 14)  # noqa: DTZ001 - wall time
    assert Arguments({"email": "no mail"}).email() is None


def test_the_nearest_right_names_are_found() -> None:
    names = ("Haarschnitt Damen", "Haarschnitt Herren", "Farbe", "Kopfmassage")
    offered = [Branch(uuid4(), name.lower().replace(" ", "-"), name, "Europe/Berlin") for name in names]

    def meant(spoken: str) -> object:
        found = find(spoken, offered)
        return [one.name for one in found] if isinstance(found, list) else found.name

    assert meant("haarschnitt-damen") == meant("HAARSCHNITT  DAMEN") == meant("Damen") == "Haarschnitt Damen"
    assert meant("Farbe bitte") == meant("Farben") == "Farbe"
    assert meant("Kopf-Massage") == meant("Kopfmasage") == "Kopfmassage"
    assert meant("Haarschnitt") == ["Haarschnitt Damen", "Haarschnitt Herren"]
    assert meant("xyz") == ["Haarschnitt Damen", "Haarschnitt Herren", "Farbe"], "anything: what there is"
    assert find("Farbe", []) == []
