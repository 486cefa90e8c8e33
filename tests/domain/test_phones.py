"""Numbers that name a line, and those that hide it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.phones import normalise


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("+49 30 12345678", "+493012345678"),
        ("030 12345678", "+493012345678"),
        ("0049 (0)30 12345678", "+493012345678"),
        ("0170/1234567", "+491701234567"),
        ("+1 202 555 0143", "+12025550143"),
    ],
)
def test_a_number_is_the_same_however_it_is_written(raw: str, number: str) -> None:
    assert normalise(raw) == number


def test_a_number_without_country_is_of_the_branchs_region() -> None:
    assert normalise("01 5123456", "AT") == "+4315123456"


@pytest.mark.parametrize(
    "raw",
    ["anonymous", "Anonymous", "Restricted", "", " ", None, "sip:+493012345678@example.org", "SIP:123", "+266696687",
     "unknown", "1" * 65, "+4930@pbx", "+49" + "1" * 30],
)  # fmt: skip
def test_a_hidden_number_is_none(raw: str | None) -> None:
    assert normalise(raw) is None


@given(st.text(max_size=80))
def test_no_text_raises_and_what_comes_out_is_stable(raw: str) -> None:
    number = normalise(raw)
    assert number is None or normalise(number) == number


def test_the_library_is_not_loaded_before_the_first_number() -> None:
    code = "import sys, backend.domain.phones; sys.exit('phonenumbers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
