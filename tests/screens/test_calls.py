"""The Calls screen."""

from __future__ import annotations

import msgspec

from screens.calls import figures_line, glance_lines
from tests.screens import samples
from tests.screens.consoles import GivenReader, console
from widgets.pieces import text_of
from widgets.table import VirtualTable


def test_the_day_in_one_line() -> None:
    line = figures_line(samples.calls_snapshot(), 120).plain
    assert "Now 4   last hour 157   today 1 204   booked 512 43 %   median 2 m" in line
    assert line.endswith(" at most 8 /min, 1 h")
    assert len(figures_line(samples.calls_snapshot(), 80).plain) <= 80


def test_a_call_beside_the_list_tells_what_the_list_has_no_room_for() -> None:
    shown = text_of(glance_lines(samples.call_row(5), samples.NOW, 58))
    assert "Möchte einen Termin" in shown
    assert "+49 151 1" not in shown, "numbers are masked"


async def test_a_new_call_appears_and_an_ongoing_one_grows_longer() -> None:
    reader = GivenReader(samples.calls_snapshot(3))
    async with console(reader) as shown:
        await shown.until_shows("── Calls  3 ──", "● speaking")
        snapshot = samples.calls_snapshot(3)
        newest = msgspec.structs.replace(samples.call_row(0), id="new", caller="Neue Anruferin")
        reader.put(msgspec.structs.replace(snapshot, rows=(newest, *snapshot.rows)))
        await shown.until_shows("── Calls  4 ──", "Neue Anruferin")
        first = next(line for line in shown.lines if "speaking" in line)
        assert "Neue Anruferin" in first


async def test_no_calls_yet_says_what_will_come() -> None:
    async with console(GivenReader(samples.calls_snapshot(0))) as shown:
        await shown.until_shows("No calls yet.", "first webhook")


async def test_everything_important_is_there_at_80_by_24() -> None:
    async with console(GivenReader(samples.calls_snapshot()), size=(80, 24)) as shown:
        await shown.until_shows("AskPro  Calls", "LIVE", "Started▼", "Length", "Caller", "Outcome", "Company", "? help")
        assert max(map(len, shown.lines)) <= 80
        assert shown.app.screen.query_one(VirtualTable).columns_shown[:4] == ("started", "length", "caller", "outcome")


async def test_a_wide_screen_shows_the_call_under_the_cursor_beside_the_list() -> None:
    async with console(GivenReader(samples.calls_snapshot()), size=(200, 50)) as shown:
        await shown.until_shows("everything that happened for it")
        await shown.press("down", "down", "down", "down", "down")
        caller = samples.call_row(5).caller
        await shown.until(lambda: any(line.rstrip("─ ").endswith(f"── {caller}") for line in shown.lines), caller)
