"""What one drills down to: facts in columns, numbers masked, long text folded."""

from __future__ import annotations

from backend.watch.details import CalendarDetail
from screens.detail import fact_lines, text_lines
from screens.moments import moment_text, slot_text
from screens.queues import calendar_lines, intake_line
from screens.things import calendar_facts, hide_numbers
from tests.watch.well import NOW, queues
from widgets.pieces import Piece, text_of


def test_facts_stand_in_two_columns_where_there_is_room() -> None:
    facts = (("Name", Piece("Anna")), ("Phone", Piece("+49••••123")), ("", Piece("whole line")), ("Tags", Piece("vip")))
    assert len(fact_lines(facts, 60)) == 4
    wide = text_of(fact_lines(facts, 120)).splitlines()
    assert ("Anna" in wide[0], "+49••••123" in wide[0], wide[1].strip(), "vip" in wide[2]) == (
        True, True, "whole line", True,
    )  # fmt: skip


def test_phone_numbers_in_long_texts_are_masked() -> None:
    assert (
        hide_numbers('{"from": "+4930123456123", "at": 1767607200000}') == '{"from": "+49••••123", "at": 1767607200000}'
    )


def test_long_lines_are_folded_and_endless_texts_end() -> None:
    assert [line.plain for line in text_lines("abcdef\ngh", 5)] == [" abcd", " ef", " gh"]
    assert [line.plain for line in text_lines("ab cdef", 5, spoken=True)] == [" ab", " cdef"]
    assert len(text_lines("x\n" * 100_000, 10)) == 2001


def test_a_moment_of_another_day_has_its_day() -> None:
    assert moment_text(NOW, NOW + 60) == "09:00:00"
    assert moment_text(NOW - 86_400, NOW) == "14.01. 09:00"


def test_a_slot_has_its_day_its_year_and_both_times() -> None:
    assert slot_text(NOW, NOW + 2700) == "Fri 15 Jan 2027 09:00–09:45"


def test_the_intake_says_what_was_refused_and_why() -> None:
    shown = intake_line(queues(quarantined=2, rejected_1h=3, rejected_by_reason_1h={"stale": 3}), 200).plain
    assert "▲ 2" in shown
    assert "3 (3 stale)" in shown


def test_an_appointment_tells_how_far_it_got_into_its_calendar_and_what_was_said_there() -> None:
    refused = CalendarDetail(
        state="failed",
        uid="uid_1",
        wanted_version=2,
        synced_version=1,
        attempts=0,
        last_error="Cal.com: 400 no room for +4917012345678",
        last_at=NOW,
        synced_at=NOW - 60,
        pending_since=NOW - 30,
    )
    shown = text_of(fact_lines(calendar_facts(refused), 200))
    assert "failed" in shown
    assert "uid_1" in shown
    assert "400 no room for +49••••678" in shown
    assert calendar_facts(None) == ()


def test_calendars_are_told_once_there_is_something_to_tell() -> None:
    assert calendar_lines(queues()) == []
    (shown,) = calendar_lines(queues(calendar_pending=7, calendar_oldest_s=40.0, calendar_failed=1))
    assert "not written yet 7, oldest 40 s" in shown.plain
    assert "refused ✖ 1" in shown.plain
