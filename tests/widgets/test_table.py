"""The virtual table on a screen: what it shows, repaints, and where its cursor stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot

from widgets.columns import Column
from widgets.pieces import Piece, Tone
from widgets.row_book import Sorting
from widgets.table import REST_S, VirtualTable


@dataclass(frozen=True)
class Thing:
    """A row."""

    id: str
    name: str
    size: int = 0


COLUMNS: tuple[Column[Thing], ...] = (
    Column("id", "Id", cell=lambda row: row.id, width=8),
    Column("name", "Name", cell=lambda row: Piece(row.name, Tone.BRIGHT), width=10, grow=1),
    Column(
        "size", "Size", cell=lambda row: f"{row.size}", width=6, align="right", sort=lambda row: row.size, priority=2
    ),
    Column("age", "Age", timed=lambda _, now: f"{now:.0f}", width=6, align="right", priority=3),
)


class TableApp(App[None]):
    """One table, with keys as the console gives them."""

    BINDINGS = [  # noqa: RUF012 -- Textual's class variable
        ("down", "list('cursor_down')"),
        ("up", "list('cursor_up')"),
        ("pagedown", "list('page_down')"),
        ("home", "list('home')"),
        ("end", "list('end')"),
        ("space", "list('mark')"),
        ("enter", "list('open')"),
        ("greater_than_sign", "list('sort_next')"),
        ("less_than_sign", "list('sort_previous')"),
        ("o", "list('sort_flip')"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.opened: list[object] = []
        self.highlighted: list[object] = []
        self.table: VirtualTable[Thing] = VirtualTable(
            COLUMNS,
            key=lambda thing: thing.id,
            title="Things",
            nouns=("thing", "things"),
            empty="No things yet. They come by themselves.",
            natural=Sorting("id", descending=True),
            clock=lambda: self.now,
        )

    def compose(self) -> ComposeResult:
        """The table alone."""
        yield self.table

    def action_list(self, name: str) -> None:
        """Run one of the table's actions."""
        getattr(self.table, f"action_{name}")()

    def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """Remember it."""
        self.opened.append(event.row)

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """Remember it."""
        self.highlighted.append(event.row)

    def lines(self) -> list[str]:
        """The screen as text."""
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]

    def rest(self) -> None:
        """As if nobody had touched a key for a while."""
        self.table._touched_at = time.monotonic() - REST_S - 1


@asynccontextmanager
async def running(width: int = 60, height: int = 12) -> AsyncIterator[tuple[TableApp, Pilot[None]]]:
    """The app, its first frame drawn."""
    app = TableApp()
    async with app.run_test(size=(width, height)) as pilot:
        await pilot.pause()
        yield app, pilot


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)
    await pilot.pause()


def things(count: int, start: int = 0) -> list[Thing]:
    """Rows, the highest number first."""
    return [Thing(f"t{number}", f"name {number}", number % 7) for number in range(start + count - 1, start - 1, -1)]


async def test_a_table_says_that_it_loads_then_that_there_is_nothing_then_shows_rows() -> None:
    async with running() as (app, pilot):
        assert "Loading things" in app.lines()[3]
        app.table.set_rows([])
        await pilot.pause()
        assert "They come by themselves" in app.lines()[3]
        app.table.set_rows(things(3))
        await pilot.pause()
        assert app.lines()[0].startswith("── Things  3 ──")
        assert app.lines()[1].split() == ["Id▼", "Name", "Size", "Age"]
        assert app.lines()[2].split()[:3] == ["t2", "name", "2"]


async def test_the_title_tells_filter_and_matches_and_the_empty_state_how_to_get_back() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        app.table.set_filter("t2")
        await pilot.pause()
        assert "11 of 30  /t2" in app.lines()[0]
        app.table.set_filter("nobody")
        await pilot.pause()
        assert "No thing matches." in app.lines()[3]
        assert "esc" in app.lines()[4]


async def test_an_equal_picture_repaints_nothing_and_a_changed_cell_only_itself() -> None:
    async with running() as (app, pilot):
        rows = things(30)
        app.table.set_rows(rows)
        await pilot.pause()
        repainted: list[Region] = []
        original = app.table.refresh

        def watched(*regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> object:
            repainted.extend(regions or [app.table.size.region])
            return original(*regions, repaint=repaint, layout=layout, recompose=recompose)

        app.table.refresh = watched  # type: ignore[method-assign,assignment]  # a spy, for this one table
        app.table.set_rows([replace(row) for row in rows])
        assert repainted == []
        app.table.set_rows([replace(row, name="name XX") if row.id == "t27" else row for row in rows])
        assert [(region.y, region.height, region.width <= 4) for region in repainted] == [(4, 1, True)]


async def test_timed_cells_follow_the_clock_and_only_they() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(3))
        await pilot.pause()
        app.now = 107.0
        app.table.tick()
        await pilot.pause()
        assert app.lines()[2].split()[-1] == "107"


async def test_an_untouched_table_shows_what_is_newest_on_top() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        app.table.set_rows(things(31))
        await pilot.pause()
        assert app.lines()[2].split()[0] == "t30"
        assert app.table.cursor_row == things(31)[0]


async def test_a_reader_is_not_disturbed_until_going_home() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.press("down", "down")
        app.table.set_rows(things(42))
        await pilot.pause()
        assert app.lines()[2].split()[0] == "t29"
        assert "12 new ↑" in app.lines()[0]
        await pilot.press("home")
        await pilot.pause()
        assert app.lines()[2].split()[0] == "t41"
        assert "new" not in app.lines()[0]


async def test_when_the_reader_rests_the_order_comes_and_the_row_keeps_its_line() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.press("pagedown", "down")
        before = [place for place, text in enumerate(app.lines()) if "t19 " in text]
        assert app.table.cursor_row == Thing("t19", "name 19", 5)
        app.table.set_rows(things(42))
        app.rest()
        app.table.tick()
        await pilot.pause()
        assert [place for place, text in enumerate(app.lines()) if "t19 " in text] == before
        assert app.table.cursor_row == Thing("t19", "name 19", 5)


async def test_a_row_that_is_gone_stays_until_the_order_is_renewed_but_cannot_be_acted_on() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.press("down")
        app.table.set_rows([row for row in things(30) if row.id != "t28"])
        await pilot.pause()
        assert app.lines()[3].split()[0] == "t28"
        assert app.table.acting_rows == []
        app.rest()
        app.table.tick()
        await pilot.pause()
        assert app.lines()[3].split()[0] == "t27"
        assert app.table.cursor_row == things(30)[2]


async def test_marks_are_acted_on_and_move_on() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.press("space", "down", "space")
        assert [row.id for row in app.table.acting_rows] == ["t29", "t27"]
        await pilot.pause()
        assert "2 marked" in app.lines()[0]
        assert app.lines()[2].startswith("▌t29")


async def test_keys_and_clicks_sort_and_the_header_says_how() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.press("greater_than_sign", "greater_than_sign")
        await pilot.pause()
        assert "Size▲" in app.lines()[1]
        assert [line.split()[-2] for line in app.lines()[2:6]] == ["0", "0", "0", "0"]
        await pilot.press("o")
        await pilot.pause()
        assert "Size▼" in app.lines()[1]
        await pilot.click(app.table, offset=(2, 1))
        await pilot.pause()
        assert "Id▲" in app.lines()[1]


async def test_a_click_moves_the_cursor_and_a_second_one_opens() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30))
        await pilot.pause()
        await pilot.click(app.table, offset=(5, 4))
        assert app.table.cursor_row == things(30)[2]
        await pilot.click(app.table, offset=(5, 4), times=2)
        await until(pilot, lambda: bool(app.opened))
        assert app.opened[-1] == things(30)[2]


async def test_enter_opens_the_row_under_the_cursor() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(3))
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(app.opened))
        assert app.opened == [things(3)[1]]
        assert app.highlighted[-1] == things(3)[1]


async def test_narrow_screens_drop_the_least_important_columns() -> None:
    async with running(width=30) as (app, _):
        assert app.table.columns_shown == ("id", "name", "size")
    async with running(width=22) as (app, _):
        assert app.table.columns_shown == ("id", "name")


@pytest.mark.parametrize("count", [100, 100_000])
async def test_a_hundred_thousand_rows_draw_no_more_cells_than_a_hundred(count: int) -> None:
    async with running() as (app, pilot):
        drawn = 0

        def name(row: Thing) -> Piece:
            nonlocal drawn
            drawn += 1
            return Piece(row.name)

        columns: tuple[Column[Thing], ...] = (
            Column("id", "Id", cell=lambda row: row.id, width=8),
            Column("name", "Name", cell=name, width=20),
        )
        table: VirtualTable[Thing] = VirtualTable(columns, key=lambda thing: thing.id, title="Many")
        await app.mount(table, before=app.table)
        await app.table.remove()
        app.table = table
        table.set_rows(things(count))
        await until(pilot, lambda: len(table.book) == count)
        drawn = 0
        for _ in range(20):
            table.action_page_down()
        await pilot.pause()
        assert drawn <= 20 * 12


async def test_sorting_and_filtering_many_rows_leaves_the_keys_working() -> None:
    async with running() as (app, pilot):
        app.table.set_rows(things(30_000))
        await until(pilot, lambda: len(app.table.book) == 30_000)
        app.table.sort_by("size", descending=True)
        await pilot.press("down")
        assert app.table.cursor_row is not None
        await until(pilot, lambda: app.table.book.row_at(0) == Thing("t29994", "name 29994", 6))
        app.table.set_filter("29994")
        await until(pilot, lambda: len(app.table.book) == 1)
