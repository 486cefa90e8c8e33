"""Lines are made of pieces that fit exactly, and repaints cover exactly what changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from widgets.palette import changed_spans
from widgets.pieces import Ground, Line, Piece, Tone, beside, fitted, line, rule, spread, text_of, wrapped
from widgets.safe_text import cell_width, safe_text

PIECES = st.lists(
    st.builds(Piece, st.text(alphabet="ab 漢é\x1b", max_size=12), st.sampled_from(Tone)), max_size=6
)  # fmt: skip
LINES = st.builds(lambda pieces: Line(tuple(pieces)), PIECES)


@given(PIECES, st.integers(0, 40), st.booleans())
def test_fitted_pieces_take_exactly_their_cells(pieces: list[Piece], width: int, right: bool) -> None:
    assert Line(fitted(pieces, width, right=right)).width == width


@given(PIECES, PIECES, st.integers(1, 60))
def test_the_right_end_keeps_its_place(left: list[Piece], right: list[Piece], width: int) -> None:
    assert Line(spread(left, right, width)).width == width


@given(st.text(max_size=40), st.integers(12, 100))
def test_a_rule_is_as_wide_as_asked(title: str, width: int) -> None:
    assert rule(Piece(title), width, Piece("right")).width == width


def test_a_rule_names_its_section() -> None:
    drawn = rule("Queues", 40, Piece("5 min", Tone.DIM))
    assert drawn.plain.startswith("── Queues ──")
    assert drawn.plain.endswith(" 5 min ──")


def test_blocks_stand_side_by_side() -> None:
    assert text_of(beside([line("a"), line("b")], 3, [line("x")])) == "a   x\nb"


def test_wrapped_text_keeps_words_whole_and_says_when_it_goes_on() -> None:
    shown = wrapped("eins zwei drei vier fünf", 9, most=2)
    assert [entry.plain for entry in shown] == ["eins zwei", "drei vie…"]
    assert all(entry.width <= 9 for entry in wrapped("x" * 300 + " y", 9))


@given(LINES, LINES)
def test_a_repaint_covers_every_cell_that_differs(old: Line, new: Line) -> None:
    spans = changed_spans(old, new)
    before, after = _columns(old), _columns(new)
    for column in range(max(len(before), len(after))):
        was = before[column] if column < len(before) else " "
        now = after[column] if column < len(after) else " "
        if was != now:
            assert any(start <= column < end for start, end in spans), (column, spans)


@given(LINES)
def test_equal_lines_need_no_repaint(drawn: Line) -> None:
    assert changed_spans(drawn, drawn) == []


def test_a_small_change_repaints_little() -> None:
    old = line("14:02:31 ", Piece("Anna Schmidt", Tone.BRIGHT), "   0:48")
    new = line("14:02:31 ", Piece("Anna Schmidt", Tone.BRIGHT), "   0:49")
    assert changed_spans(old, new) == [(27, 28)]


def test_another_ground_repaints_the_line() -> None:
    assert changed_spans(line("abc"), line("abc", ground=Ground.CURSOR)) == [(0, 3)]


def _columns(drawn: Line) -> list[str]:
    columns: list[str] = []
    for piece in drawn.pieces:
        for character in safe_text(piece.text):
            width = cell_width(character)
            if width == 0 and columns:
                columns[-1] += character
            else:
                columns.extend([character, *[f"{character}2"] * (width - 1)])
    return columns
