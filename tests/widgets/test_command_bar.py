"""What stands beside the line one types into."""

from __future__ import annotations

import pytest

from widgets.command_bar import FILTER_HINTS, whole_words


@pytest.mark.parametrize("width", range(8, 60))
def test_words_beside_the_line_are_whole_and_say_when_there_are_more(width: int) -> None:
    shown = whole_words(FILTER_HINTS, width)
    assert shown.width <= width
    words = shown.plain.removesuffix(" …").split("  ")
    assert words == list(FILTER_HINTS[: len(words)])
    assert shown.plain.endswith("…") == (len(words) < len(FILTER_HINTS))


def test_one_word_without_room_is_cut() -> None:
    assert whole_words(("appointments",), 6).plain == "appoi…"
    assert whole_words((), 6).plain == ""
