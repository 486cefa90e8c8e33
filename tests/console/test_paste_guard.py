"""Pastes come in short and harmless, however they are cut into chunks."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from askpro_console.paste_guard import END, LONGEST, START, Pasted, PasteGuard


def fed(chunks: list[str]) -> tuple[str, list[str]]:
    """Keys and pastes that come out of chunks."""
    guard = PasteGuard()
    keys, pastes = "", []
    for chunk in chunks:
        for part in guard.feed(chunk):
            if isinstance(part, Pasted):
                pastes.append(part.text)
            else:
                keys += part
    return keys + guard.idle(), pastes


def cut_up(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


@given(st.lists(st.integers(0, 1000), max_size=20))
def test_keys_and_a_paste_come_out_right_however_they_are_cut(places: list[int]) -> None:
    text = f"ab\x1b[A{START}Anna\x1b[31m Schmidt\nx{END}c\x1b"
    assert fed(cut_up(text, places)) == ("ab\x1b[Ac\x1b", ["Anna[31m Schmidt x"])


@given(st.text(max_size=2000), st.lists(st.integers(0, 3000), max_size=5))
def test_whatever_is_pasted_is_short_and_printable(text: str, places: list[int]) -> None:
    body = text.replace(END, "")
    _, pastes = fed(cut_up(f"{START}{body}{END}", places))
    assert len(pastes) == 1
    assert len(pastes[0]) <= LONGEST
    assert pastes[0].isprintable()


def test_a_lone_escape_is_held_only_until_nothing_follows() -> None:
    guard = PasteGuard()
    assert list(guard.feed("\x1b")) == []
    assert guard.holds
    assert guard.idle() == "\x1b"
    assert not guard.holds


def test_a_paste_that_never_ends_holds_no_more_than_its_limit() -> None:
    guard = PasteGuard()
    assert list(guard.feed(START)) == []
    for _ in range(100):
        assert list(guard.feed("x" * 10_000)) == []
    assert sum(map(len, guard._paste or [])) <= LONGEST
