"""What of a phone number everybody may see."""

from __future__ import annotations

import pytest

from backend.domain.phones import masked


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+4930123456123", "+49••••123"),
        ("030 1234 5678", "••••678"),
        ("+49110", "••••"),
        ("anonymous", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_phone_number_shows_its_country_and_its_last_three_digits(number: str | None, shown: str) -> None:
    assert masked(number) == shown
