"""Failures: equal causes look alike, whatever was in them can be stored, nothing is too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.queue.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT, bounded, describe, fingerprint, normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("row 12 of 7", "row 3 of 9000"),
        ("no call 0198c0de-5aa0-7d1e-9e01-4f6b2a7c1d35", "no call 0198c0de-5aa1-7aa2-8c44-90be31d7f602"),
        ("no call 0198c0de5aa07d1e9e014f6b2a7c1d35", "no call 0198c0de5aa17aa28c4490be31d7f602"),
        ("no room for 'Ann'", "no room for 'Anna O\\'Neil'"),
        ('no room for "Ann"', 'no room for "Bob and 3"'),
        ("kein Termin für „Ann“", "kein Termin für „Bob“"),
        ("ann@example.org is unknown", "bob.b@mail.example.com is unknown"),
        ("Key (phone, name)=(+4930, ann) exists", "Key (phone, name)=(+4940, b) exists"),
        ("digest 0aff12 b0c1d2e3f4a5", "digest 0aff13 c0c1d2e3f4a6"),
        ("two  words\nhere", "two words here"),
    ],
)
def test_messages_that_differ_in_their_values_only_have_one_cause(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert fingerprint("webhooks.a", "E", one) == fingerprint("webhooks.a", "E", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no room", "no time"),
        ("it can't be read", "it won't be read"),
        ("Key (phone)=(1) exists", "Key (name)=(1) exists"),
    ],
)
def test_messages_that_say_different_things_have_different_causes(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_the_same_message_in_another_job_type_or_of_another_kind_is_another_cause() -> None:
    causes = {fingerprint(job, kind, "m") for job in ("webhooks.a", "webhooks.b") for kind in ("A", "B")}
    assert len(causes) == 4


def test_an_error_that_cannot_be_printed_is_described_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    failure = describe(Broken(), "webhooks.a")
    assert failure.error_type.endswith("Broken")
    assert failure.message == "(its message cannot be shown: RuntimeError)"


@given(st.text(st.characters(), max_size=300), st.integers(1, 50))
def test_whatever_is_in_a_message_it_can_be_stored_and_is_bounded(text: str, times: int) -> None:
    failure = describe(ValueError(text * times), "webhooks.a")
    for stored in (failure.message, failure.traceback, failure.error_type):
        assert "\0" not in stored
        stored.encode()
    assert len(failure.message) <= MESSAGE_LIMIT
    assert len(failure.traceback) <= TRACEBACK_LIMIT


def test_a_long_traceback_keeps_its_head_and_its_tail() -> None:
    text = "head" + "x" * 50_000 + "tail"
    short = bounded(text, 1_000)
    assert len(short) == 1_000
    assert short.startswith("head")
    assert short.endswith("tail")
    assert "characters left out" in short
    assert bounded("short", 1_000) == "short"


def test_a_hostile_message_is_normalised_in_time_that_grows_with_its_length_only() -> None:
    # Would take minutes with a pattern that tries every combination.
    for text in ("'" * 2_000, "(" * 2_000, "=(" * 1_000, "a@" * 1_000, "0" * 2_000, "„" * 2_000, "a." * 1_000):
        assert isinstance(normalise(text), str)
