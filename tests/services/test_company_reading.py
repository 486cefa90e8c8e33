"""Reading a company's file: whatever stands in it is either right or a list of mistakes with places."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from datetime import date, datetime, time
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.services.companies.applying import DeclarationWrong, Mistake, read_declaration
from backend.services.companies.reading import declaration_from

EXAMPLE = tomllib.loads((files("askpro_console") / "company_example.toml").read_text(encoding="utf-8"))


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def put(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy with another value at a place."""
    changed: Any = deepcopy(document)
    around = changed
    for part in path[:-1]:
        around = around[part]
    around[path[-1]] = value
    found: dict[str, Any] = changed
    return found


_leaves = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from(["Mon 08:00-12:00", "anna", "mitte", "closed", "Europe/Berlin", "+49301234567", "\0"]),
    st.dates(),
    st.datetimes(),
    st.times(),
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["slug", "name", "mon", "kind", "from", "mitte", "", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(places(EXAMPLE)[1:]), _values)
def test_whatever_stands_anywhere_is_right_or_a_mistake_with_a_place(
    path: tuple[str | int, ...], value: object
) -> None:
    mistakes: tuple[Mistake, ...] = ()
    try:
        declaration_from(put(EXAMPLE, path, value))
    except DeclarationWrong as wrong:
        mistakes = wrong.mistakes or (Mistake((), ""),)
    assert all(mistake.message for mistake in mistakes)


@pytest.mark.parametrize(
    ("path", "value", "place", "said"),
    [
        (("name",), 7, ("name",), "`name` is 7: expected `str`, got `int`"),
        (("staff",), "anna", ("staff",), "must be a list of tables, as in [[staff]]"),
        (("staff", 0), 3, ("staff", 0), "must be a table"),
        (("staff", 0, "hours"), {"mitte": {"mon": "8"}}, ("staff", 0, "hours", "mitte", "mon"), "'8' is no span"),
        (("staff", 0, "hours"), {"mite": "Mon 08:00-09:00"}, ("staff", 0, "hours", "mite"), "did you mean `mitte`?"),
        (("staff", 0, "breaks"), {"mo": []}, ("staff", 0, "breaks", "mo"), "`mo` is no day of the week"),
        (("services", 0, "price_cents"), -1, ("services", 0, "price_cents"), "expected `int` >= 0"),
        (("services", 0, "price_cents"), 42.5, ("services", 0, "price_cents"), "expected `int`, got `float`"),
        (("branches", 0, "slug"), "Mitte!", ("branches", 0, "slug"), "`slug` is"),
        (("branches", 0, "exceptions", 0, "from"), 5, ("branches", 0, "exceptions", 0, "from"), "expected `date`"),
        (("branches", 0, "name"), "a\0b", ("branches", 0, "name"), "NUL"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(
    path: tuple[str | int, ...], value: object, place: tuple[str | int, ...], said: str
) -> None:
    with pytest.raises(DeclarationWrong) as wrong:
        declaration_from(put(EXAMPLE, path, value))
    (mistake,) = (mistake for mistake in wrong.value.mistakes if mistake.path == place)
    assert said in mistake.message


def test_hours_can_be_given_once_by_day_or_by_branch() -> None:
    table = {"mon": [[time(8), time(12)], [time(13), time(17)]], "tue": "08:00-12:00 13:00-17:00"}
    once = "Mon-Tue 08:00-12:00 13:00-17:00"
    read = [
        declaration_from(put(EXAMPLE, ("staff", 0, "hours"), form)).staff[0].hours
        for form in (once, table, {"mitte": once}, {"mitte": table})
    ]
    assert read[0]["mitte"]["tue"] == ((time(8), time(12)), (time(13), time(17)))
    assert all(hours == read[0] for hours in read)


def test_a_day_can_be_written_as_text_too_but_not_with_a_time() -> None:
    place = ("staff", 0, "exceptions", 0, "from")
    assert declaration_from(put(EXAMPLE, place, "2026-08-01")).staff[0].exceptions[0].first_day == date(2026, 8, 1)
    with pytest.raises(DeclarationWrong):
        declaration_from(put(EXAMPLE, place, datetime(2026, 8, 1, 12)))  # noqa: DTZ001 # as TOML's local date-times are


@pytest.mark.parametrize(("text", "said"), [(b"\xff", "not UTF-8"), (b"a = ", "not TOML"), (b"", "`slug` is missing")])
def test_what_is_no_file_of_a_company_is_said(text: bytes, said: str) -> None:
    with pytest.raises(DeclarationWrong, match=said):
        read_declaration(text)
