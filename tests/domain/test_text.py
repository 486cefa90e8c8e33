"""Text from outside is stored without what no database and no list can bear."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.text import long_text, one_line

anything = st.text(st.characters(), max_size=300)


@given(anything, st.integers(1, 50))
def test_one_line_is_printable_bounded_and_encodable(value: str, limit: int) -> None:
    line = one_line(value, limit)
    assert line is None or (line.isprintable() and 0 < len(line) <= limit and line.encode() and "\n" not in line)


@given(anything)
def test_a_long_text_keeps_its_lines_and_loses_what_can_not_be_stored(value: str) -> None:
    text = long_text(value)
    assert text is None or ("\x00" not in text and text.encode() and text.count("\n") == value.count("\n"))


def test_escapes_and_direction_marks_become_visible() -> None:
    assert one_line("Ann\x1b]52;c;QQ==\x07\u202eBo\x00") == "Ann�]52;c;QQ==��Bo�"


def test_composed_and_decomposed_are_one_text() -> None:
    assert one_line("Mu\u0308ller") == one_line("Müller")


def test_nothing_stays_nothing() -> None:
    assert one_line(None) is None
    assert one_line(" \t ") is None
    assert long_text("") is None
