"""Names are compared as people mean them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.names import fold, name_key, names_agree, split_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "Mueller"),
        ("Müller", "MULLER"),
        ("Groß", "Gross"),
        ("Hans Müller", "Herr Dr. med. Hans Mueller"),
        ("Müller, Hans", "Hans  Müller"),
        ("Zoë Ångström", "zoe angstrom"),
        ("O'Brien", "O’Brien"),
        ("Anna Weiß-Maier", "anna weiss maier"),
        ("Mu\u0308ller", "Müller"),
    ],
)
def test_these_are_the_same_name(one: str, other: str) -> None:
    assert names_agree(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("Hans Müller", "Grete Müller"), ("Hans Müller", "Müller"), ("", ""), ("Meier", "Mayer")]
)
def test_these_are_not(one: str, other: str) -> None:
    assert not names_agree(one, other)


@pytest.mark.parametrize("text", ["", " ", "…", "Unbekannt", "anonymous", "n/a", "\x00", "🙂"])
def test_what_is_no_name_has_no_key(text: str) -> None:
    assert name_key(text) == ""


def test_a_title_alone_is_a_name_after_all() -> None:
    assert name_key("Prof") == "prof"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Hans Müller", ("Hans", "Müller")),
        ("Dr. Anna Maria von der Heide", ("Anna Maria", "von der Heide")),
        ("Heide, Anna", ("Anna", "Heide")),
        ("Müller", ("", "Müller")),
        ("von Bülow", ("von", "Bülow")),
        ("Frau", ("", "Frau")),
        ("", ("", "")),
    ],
)
def test_a_name_has_a_first_and_a_last_part(name: str, split: tuple[str, str]) -> None:
    assert split_name(name) == split


@given(st.text(max_size=60))
def test_any_text_has_a_key_that_is_its_own_key_spelled_again(text: str) -> None:
    key = name_key(text)
    assert key == " ".join(key.split())
    assert names_agree(text, f"  {text.replace(',', ' , ')} ") or key == ""


@given(st.text(max_size=60))
def test_folding_never_depends_on_case_or_composition(text: str) -> None:
    import unicodedata

    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))
