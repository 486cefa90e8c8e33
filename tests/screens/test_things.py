"""What one drills down to: facts in columns, numbers masked, long text folded."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress
from backend.watch.details import CalendarDetail, Details
from screens import detail
from screens.detail import DetailScreen, Entry, Page, fact_lines, text_lines
from screens.moments import moment_text, slot_text
from screens.queues import calendar_lines, intake_line
from screens.things import calendar_facts, hide_numbers
from tests.screens.consoles import GivenReader, console
from tests.watch.well import NOW, queues
from widgets.pieces import Piece, text_of


def test_facts_stand_in_two_columns_where_there_is_room() -> None:
    facts = (("Name", Piece("Anna")), ("Phone", Piece("+49••••123")), ("", Piece("whole line")), ("Tags", Piece("vip")))
    assert len(fact_lines(facts, 60)) == 4
    wide = text_of(fact_lines(facts, 120)).splitlines()
    assert ("Anna" in wide[0], "+49••••123" in wide[0], wide[1].strip(), "vip" in wide[2]) == (
        True, True, "whole line", True,
    )  # fmt: skip


def test_a_wide_screen_has_three_columns_of_facts() -> None:
    facts = tuple((f"Label {number}", Piece(f"value {number}")) for number in range(6))
    assert len(fact_lines(facts, 200)) == 2


class Scripted(DetailScreen):
    """A thing of which each reading gives the next page, or fails."""

    TITLE = "Call"
    RENEWS = True
    CSS_PATH = str(Path(detail.__file__).with_name("detail.tcss"))

    def __init__(self, *given: Page | Exception | None) -> None:
        super().__init__("thing")
        self.given = list(given)

    async def _connected(self) -> Details:
        return Details(PostgresAddress(host="/nowhere", port=1, database="none", passwords={}))

    async def read(self, details: Details) -> Page | None:
        """The next of what was given; the last of it again and again."""
        found = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if isinstance(found, Exception):
            raise found
        return found


def page(*facts: tuple[str, str], entries: tuple[Entry, ...] = ()) -> Page:
    """A page with these facts."""
    return Page("Anna", tuple((label, Piece(value)) for label, value in facts), entries)


async def test_what_is_open_is_read_again_by_itself_and_tells_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "RENEW_S", 0.1)
    entry = Entry("one", NOW, "call", "id", "it began", "not_connected")
    first, second = page(("State", "ongoing"), entries=(entry,)), page(("State", "ended"), entries=(entry,))
    async with console(GivenReader()) as shown:
        screen = Scripted(first, OSError("the line is dead"), second)
        await shown.app.push_screen(screen)
        await shown.until_shows("AskPro  Anna", "LIVE", "ongoing", "not connected")
        await shown.until_shows("▲ STALE", "the line is dead", "tried again all the time", "ongoing")
        await shown.until_shows("LIVE", "ended")
        assert "the line is dead" not in shown.text


async def test_what_cannot_be_read_says_so_instead_of_loading_for_ever_and_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detail, "RENEW_S", 0.1)
    async with console(GivenReader()) as shown:
        screen = Scripted(OSError("the line is dead"))
        await shown.app.push_screen(screen)
        await shown.until_shows("✖ NO DATA", "✖ It cannot be read: the line is dead")
        assert "Loading" not in shown.text
        screen.given = [page(("State", "ended"))]
        await shown.until_shows("LIVE", "ended", "Timeline  0")


async def test_while_refresh_is_paused_nothing_is_read_again_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "RENEW_S", 0.0)
    async with console(GivenReader()) as shown:
        await shown.press("p")
        screen = Scripted(page(("State", "ongoing")), page(("State", "ended")))
        await shown.app.push_screen(screen)
        await shown.until_shows("PAUSED", "ongoing")
        shown.app._tick()
        await shown.pilot.pause()
        assert len(screen.given) == 1
        assert "ongoing" in shown.text
        await shown.press("ctrl+r")
        await shown.until_shows("PAUSED", "ended")


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
