"""Repaints in few bytes look exactly like those in many."""

from __future__ import annotations

import io

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from askpro_console.terminal_text import PLAIN, Pen, TerminalText, change_of_pen, moved_lines, pen_of

COLOURS = st.sampled_from([None, "default", "red", "#102030", "#ffffff"])
STYLES = st.none() | st.builds(
    lambda color, bgcolor, bold, dim, reverse: Style(color=color, bgcolor=bgcolor, bold=bold, dim=dim, reverse=reverse),
    COLOURS,
    COLOURS,
    st.sampled_from([None, True, False]),
    st.sampled_from([None, True]),
    st.sampled_from([None, True]),
)
SEGMENTS = st.lists(st.builds(Segment, st.text(alphabet="ab 漢", max_size=5), STYLES), max_size=12)
CONSOLE = Console(color_system="truecolor", force_terminal=True, file=io.StringIO())


def shown(text: str) -> list[list[pyte.screens.Char]]:
    """The cells of an emulator after this text."""
    screen = pyte.Screen(130, 4)
    pyte.Stream(screen).feed(text)
    return [[screen.buffer[row][column] for column in range(130)] for row in range(4)]


@given(SEGMENTS)
def test_text_looks_the_same_as_with_a_reset_after_each_piece(segments: list[Segment]) -> None:
    text = TerminalText(CONSOLE)
    text.write(segments)
    short = text.finish()
    long = "".join(
        style.render(part, color_system=ColorSystem.TRUECOLOR) if style is not None else part
        for part, style, _ in segments
    )
    assert shown(short) == shown(long)
    assert len(short) <= len(long)


@given(SEGMENTS, SEGMENTS)
def test_a_repaint_leaves_a_plain_pen(first: list[Segment], second: list[Segment]) -> None:
    once, twice = TerminalText(CONSOLE), TerminalText(CONSOLE)
    once.write([*first, *second])
    twice.write(first)
    halves = twice.finish()
    twice = TerminalText(CONSOLE)
    twice.write(second)
    assert shown(once.finish()) == shown(halves + twice.finish())


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (PLAIN, PLAIN, ""),
        (PLAIN, Pen("1", "31", ""), "\x1b[1;31m"),
        (Pen("", "31", "40"), Pen("", "32", "40"), "\x1b[32m"),
        (Pen("", "31", "40"), Pen("", "", "40"), "\x1b[39m"),
        (Pen("1", "31", "40"), Pen("", "31", "40"), "\x1b[0;31;40m"),
        (Pen("1", "31", "40"), PLAIN, "\x1b[0m"),
    ],
)
def test_only_what_changes_is_said(old: Pen, new: Pen, wanted: str) -> None:
    assert change_of_pen(old, new) == wanted


def test_the_terminals_own_colours_need_no_saying() -> None:
    assert pen_of(Style(color="default", bgcolor="default"), ColorSystem.STANDARD) == PLAIN


@pytest.mark.parametrize(("by", "wanted"), [(1, "a.bcdf"), (2, "a..bcf"), (-1, "acde.f"), (-3, "ae...f")])
def test_lines_move_within_their_range_and_nothing_else_does(by: int, wanted: str) -> None:
    screen = pyte.Screen(5, 6)
    stream = pyte.Stream(screen)
    stream.feed("a\r\nb\r\nc\r\nd\r\ne\r\nf")
    stream.feed(moved_lines(1, 4, by))
    assert "".join(line.strip() or "." for line in screen.display) == wanted
