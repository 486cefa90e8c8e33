"""Order, filter and marks of a table's rows, and how they hold still while somebody reads."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.columns import Column, lay_out
from widgets.pieces import Piece
from widgets.row_book import RowBook, Sorting, finish
from widgets.row_filter import parse_filter, search_form


@dataclass(frozen=True)
class Thing:
    """A row."""

    id: str
    name: str
    size: int | None


COLUMNS: tuple[Column[Thing], ...] = (
    Column("id", "Id", cell=lambda row: row.id, width=4),
    Column("name", "Name", cell=lambda row: Piece(row.name), width=8, grow=1, most=20, priority=2),
    Column("size", "Size", cell=lambda row: f"{row.size}", width=6, sort=lambda row: row.size, priority=3),
)
THINGS = st.lists(
    st.builds(
        Thing,
        st.integers(0, 60).map(str),
        st.text(alphabet="abäAß", max_size=4),
        st.none() | st.integers(-5, 5),
    ),
    max_size=40,
    unique_by=lambda thing: thing.id,
)


def book(*things: Thing) -> RowBook[Thing]:
    """A book of these things."""
    made = RowBook(COLUMNS, lambda thing: thing.id)
    finish(made.replace(things, hold=False))
    return made


def keys(made: RowBook[Thing]) -> list[str]:
    """What is shown."""
    return [thing.id for thing in made.shown_rows()]


@given(THINGS, st.booleans())
def test_sorting_agrees_with_the_values_and_puts_the_unknown_last(things: list[Thing], descending: bool) -> None:
    made = book(*things)
    made.sorting = Sorting("size", descending)
    finish(made.arrange())
    shown = [thing.size for thing in made.shown_rows()]
    known = [size for size in shown if size is not None]
    assert shown == sorted(known, reverse=descending) + [None] * (len(shown) - len(known))
    assert sorted(keys(made)) == sorted(thing.id for thing in things)


@given(THINGS)
def test_equal_values_keep_the_given_order_in_both_directions(things: list[Thing]) -> None:
    for descending in (False, True):
        made = book(*things)
        made.sorting = Sorting("size", descending)
        finish(made.arrange())
        places = {thing.id: place for place, thing in enumerate(things)}
        for first, second in zip(made.shown_rows(), list(made.shown_rows())[1:], strict=False):
            if first.size == second.size:
                assert places[first.id] < places[second.id]


def test_many_rows_are_sorted_in_slices_and_rightly() -> None:
    things = [Thing(str(number), "x", number * 7919 % 10_007) for number in range(10_007)]
    made = book(*things)
    made.sorting = Sorting("size", descending=True)
    assert sum(1 for _ in made.arrange()) > 10
    assert [thing.size for thing in made.shown_rows()] == list(range(10_006, -1, -1))


@given(THINGS, st.text(alphabet="abä!~ ", max_size=6))
def test_a_filter_shows_exactly_what_matches(things: list[Thing], text: str) -> None:
    made = book(*things)
    made.set_filter(text)
    finish(made.arrange())
    wanted = parse_filter(text)
    matching = [
        thing.id for thing in things if wanted.matches(search_form(f"{thing.id}\n{thing.name.strip()}\n{thing.size}"))
    ]
    assert keys(made) == matching


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("anna", ["1", "2"]),
        ("ANNA", ["1", "2"]),
        ("muller", ["2"]),
        ("anna !müll", ["1"]),
        ("~amu", ["2"]),
        ("!", ["1", "2", "3"]),
    ],
)
def test_filters_find_words_whatever_case_and_accents(text: str, found: list[str]) -> None:
    made = book(Thing("1", "Anna", 1), Thing("2", "Anna Müller", 2), Thing("3", "Bob", 3))
    made.set_filter(text)
    finish(made.arrange())
    assert keys(made) == found


def test_while_somebody_reads_values_change_but_rows_keep_their_places() -> None:
    made = book(Thing("a", "A", 1), Thing("b", "B", 2))
    finish(made.replace([Thing("c", "C", 3), Thing("b", "B2", 2)], hold=True))
    assert keys(made) == ["a", "b"]
    assert made.new_count == 1
    assert made.gone == {"a"}
    row = made.row("b")
    assert row is not None
    assert row.name == "B2"
    assert made.release()
    assert keys(made) == ["c", "b"]
    assert made.row("a") is None


def test_a_held_order_that_turns_out_equal_waits_for_nothing() -> None:
    made = book(Thing("a", "A", 1), Thing("b", "B", 2))
    finish(made.replace([Thing("a", "A", 5), Thing("b", "B", 2)], hold=True))
    assert not made.waiting
    assert made.new_count == 0


def test_marks_follow_rows_and_end_with_them() -> None:
    made = book(Thing("a", "A", 1), Thing("b", "B", 2), Thing("c", "C", 3))
    made.toggle_mark("c")
    made.toggle_mark("a")
    assert [thing.id for thing in made.marked_rows()] == ["a", "c"]
    made.set_filter("A")
    finish(made.arrange())
    assert [thing.id for thing in made.marked_rows()] == ["a", "c"], "a filter hides rows, it does not unmark them"
    finish(made.replace([Thing("c", "C", 3)], hold=False))
    assert [thing.id for thing in made.marked_rows()] == ["c"]


def test_an_update_of_a_value_that_does_not_sort_leaves_the_order_alone() -> None:
    made = book(Thing("a", "A", 1), Thing("b", "B", 2))
    made.sorting = Sorting("size")
    finish(made.arrange())
    assert not made.update([Thing("a", "A2", 1)])
    assert made.update([Thing("a", "A2", 9)])
    assert made.update([Thing("z", "Z", 0)])


@given(st.integers(1, 200))
def test_columns_never_overlap_and_never_leave_the_screen(width: int) -> None:
    placed = lay_out(COLUMNS, width)
    assert placed
    end = 0
    for place in placed:
        assert place.x >= end
        assert place.width > 0
        end = place.x + place.width
    assert end <= width


def test_the_least_important_column_goes_first_and_the_growing_one_takes_the_rest() -> None:
    assert [place.column.key for place in lay_out(COLUMNS, 15)] == ["id", "name"]
    assert [place.column.key for place in lay_out(COLUMNS, 5)] == ["id"]
    assert [place.width for place in lay_out(COLUMNS, 30)] == [4, 16, 6]
