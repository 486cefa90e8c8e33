"""Text from data is harmless, keeps its width and its bounds."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from widgets.safe_text import LIMIT, MARKS_PER_CELL, cell_width, cut, fit, head, safe_text

ANY_TEXT = st.text(max_size=80)


@given(st.text(max_size=3 * LIMIT))
@example("\x1b]52;c;eA==\x07")
@example("\x9b2J\x00\x7f")
@example("\u202e\u2066\ud800")
def test_nothing_that_a_terminal_could_obey_is_left(text: str) -> None:
    safe = safe_text(text)
    assert safe.isprintable()
    assert len(safe) <= LIMIT


@given(st.text(max_size=2 * LIMIT))
def test_safe_text_stays_as_it_is(text: str) -> None:
    once = safe_text(text)
    assert safe_text(once) == once


@given(st.text(alphabet="aäß漢é", max_size=LIMIT))
def test_plain_names_are_not_touched(text: str) -> None:
    assert safe_text(text) == text


def test_controls_become_a_visible_sign_and_white_space_a_space() -> None:
    assert safe_text("Ann\x1b[2J\x00\nb\tc\u00a0d") == "Ann\ufffd[2J\ufffd b c d"


def test_joiners_and_selectors_are_left_out_so_that_widths_are_known() -> None:
    assert safe_text("👩\u200d🚀 ❤\ufe0f") == "👩🚀 ❤"


def test_piles_of_marks_are_cut() -> None:
    safe = safe_text("a" + "\u0301" * 200 + "b")
    assert sum(1 for character in safe if unicodedata.combining(character)) == MARKS_PER_CELL
    assert cell_width(safe) == 2


def test_a_mark_without_a_letter_gets_one() -> None:
    assert cell_width(safe_text("\u0301x")) == 2


@given(ANY_TEXT, st.integers(0, 60), st.booleans())
@example("漢" * 10, 5, False)
def test_fitted_text_takes_exactly_its_cells(text: str, width: int, right: bool) -> None:
    assert cell_width(fit(text, width, right=right)) == width


@given(ANY_TEXT, st.integers(0, 60))
def test_cut_text_is_never_wider_than_allowed(text: str, width: int) -> None:
    safe = safe_text(text)
    assert cell_width(cut(safe, width)) <= width
    assert safe.startswith(head(safe, width))


@pytest.mark.parametrize(("text", "width", "wanted"), [("abcdef", 4, "abc…"), ("ab", 4, "ab"), ("漢字漢", 4, "漢…")])
def test_what_is_cut_off_is_marked(text: str, width: int, wanted: str) -> None:
    assert cut(text, width) == wanted
