"""Lines of what stands in a TOML file: lists of tables, inline tables and text that looks like keys."""

from __future__ import annotations

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from askpro_console.toml_lines import Path, key_lines, line_of

TEXT = '''\
name = "a [[b]] # c"
text = """
fake = 1
[fake]
"""  # over lines
[[staff]]
slug = 'anna'
hours = { mon = [
    "x",
    [1, 2],
], tue.first = 'y' }
[[staff.exceptions]]
kind = "closed"
[[staff]]
slug = "ben"
[[staff.exceptions]]
[[staff.exceptions]]
"a.b" = 2026-12-24
[staff.home.address]
town = "Köln"
'''


def test_everything_has_the_line_on_which_it_stands() -> None:
    tomllib.loads(TEXT)
    lines = key_lines(TEXT)
    expected: dict[Path, int] = {
        ("name",): 1,
        ("text",): 2,
        ("staff",): 6,
        ("staff", 0): 6,
        ("staff", 0, "slug"): 7,
        ("staff", 0, "hours"): 8,
        ("staff", 0, "hours", "mon"): 8,
        ("staff", 0, "hours", "mon", 0): 9,
        ("staff", 0, "hours", "mon", 1): 10,
        ("staff", 0, "hours", "mon", 1, 1): 10,
        ("staff", 0, "hours", "tue", "first"): 11,
        ("staff", 0, "exceptions", 0, "kind"): 13,
        ("staff", 1): 14,
        ("staff", 1, "exceptions", 0): 16,
        ("staff", 1, "exceptions", 1, "a.b"): 18,
        ("staff", 1, "home", "address"): 19,
        ("staff", 1, "home", "address", "town"): 20,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert not any("fake" in path for path in lines)


def test_a_place_without_a_line_has_that_of_what_is_around_it() -> None:
    lines = key_lines(TEXT)
    assert line_of(lines, ("staff", 0, "hours", "mitte", "mon")) == 8
    assert line_of(lines, ("nothing",)) == 1


_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.lists(st.lists(st.tuples(_texts, st.lists(_texts, max_size=3)), max_size=3), min_size=1, max_size=4))
def test_text_of_any_kind_moves_no_line(tables: list[list[tuple[str, list[str]]]]) -> None:
    written: list[str] = []
    expected: dict[Path, int] = {}
    for number, pairs in enumerate(tables):
        written.append("[[table]]  # [[comment]]")
        expected["table", number] = len(written)
        for position, (text, items) in enumerate(pairs):
            key = f"{position}{text}"
            written += [f"{_quoted(key)} = [", *(f"  {_quoted(item)}," for item in items), "]"]
            expected["table", number, key] = len(written) - len(items) - 1
            for item in range(len(items)):
                expected["table", number, key, item] = len(written) - len(items) + item
    text = "\n".join(written)
    found = tomllib.loads(text)
    lines = key_lines(text)
    assert len(found["table"]) == len(tables)
    for path, line in expected.items():
        if not any(isinstance(part, str) and ('"' in part or "\\" in part) for part in path):
            assert lines[path] == line


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(st.text("[]{}=\"'#\n.,ab1 \\", max_size=40))
def test_text_that_is_no_toml_is_looked_through_and_left(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in key_lines(text).values())
