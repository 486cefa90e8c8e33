"""Invented people: who the product takes for one person is one, and nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.names import name_key, names_agree
from backend.domain.phones import normalise
from backend.simulate.callers import HIDDEN_NUMBERS
from backend.simulate.dice import seeded
from backend.simulate.people import FIRST_NAMES, LAST_NAMES, People, plain_name


@given(st.integers())
def test_all_spellings_of_a_person_agree(seed: int) -> None:
    person = People(seeded(seed)).stranger("praxis", with_email=True)
    for spelling in person.spellings:
        assert names_agree(spelling, person.name)
        assert plain_name(spelling) == plain_name(person.name)


@given(st.integers())
def test_people_on_one_line_have_names_that_do_not_agree(seed: int) -> None:
    people = People(seeded(seed))
    household = [people.stranger("praxis", with_email=False, phone="+493023125001") for _ in range(8)]
    assert len({name_key(person.name) for person in household}) == 8


def test_names_that_are_plainly_different_are_different_to_the_product_and_the_other_way_round() -> None:
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES[::7]]
    assert len({plain_name(name) for name in names}) == len({name_key(name) for name in names})


@given(st.integers())
def test_invented_phones_are_usable_and_written_as_the_product_writes_them(seed: int) -> None:
    phone = People(seeded(seed)).fresh_phone()
    assert normalise(phone) == phone


def test_hidden_numbers_are_usable_to_nobody() -> None:
    assert [normalise(number) for number in HIDDEN_NUMBERS] == [None] * len(HIDDEN_NUMBERS)


def test_a_line_is_given_once() -> None:
    people = People(seeded("lines"))
    lines = [people.fresh_phone() for _ in range(5_000)]
    assert len(set(lines)) == len(lines)
    again = People(seeded("lines"), avoid=lines)
    assert not {again.fresh_phone() for _ in range(5_000)} & set(lines)
