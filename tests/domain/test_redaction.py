"""Payloads are shown without personal data: by key, by form, whatever their structure; what one looks for stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.redaction import redacted, without_contacts

PAYLOAD = {
    "inbox_id": "0194a4b0-1111-7000-8000-123456789012",
    "subject": "call_0123456789abcdef",
    "customer_name": "Jörg Müller",
    "firstName": "Jörg",
    "serviceName": "Haarschnitt",
    "from_number": "+49 171 2345678",
    "to": "+4989123456",
    "from": "draft",
    "number": 12,
    "starts_at": "2026-06-26T10:00:00+02:00",
    "price_cents": 4900,
    "epoch_ms": 1735689600000,
    "is_vip": True,
    "notes": "bitte um zehn",
    "reason": None,
    "attendees": [{"name": "Ayşe", "email": "ayse@example.org", "slot": 2}, "Jörg"],
    "address": {"street": "Weg 1", "zip": 80331},
    "anything": "ruf 0171/2345678 an oder schreib joerg@example.org",
    "api_key": "sk_live_1",
    "caller": {"id": "c-7", "phone": 491712345678},
}

SHOWN = {
    "inbox_id": "0194a4b0-1111-7000-8000-123456789012",
    "subject": "call_0123456789abcdef",
    "customer_name": "[name]",
    "firstName": "[name]",
    "serviceName": "Haarschnitt",
    "from_number": "[phone]",
    "to": "[phone]",
    "from": "draft",
    "number": 12,
    "starts_at": "2026-06-26T10:00:00+02:00",
    "price_cents": 4900,
    "epoch_ms": 1735689600000,
    "is_vip": True,
    "notes": "[text, 13 characters]",
    "reason": None,
    "attendees": [{"name": "[name]", "email": "[e-mail]", "slot": 2}, "[name]"],
    "address": {"street": "[address]", "zip": "[address]"},
    "anything": "ruf [phone] an oder schreib [e-mail]",
    "api_key": "[secret]",
    "caller": {"id": "c-7", "phone": "[phone]"},
}


def test_personal_data_is_hidden_and_everything_else_stays_as_it_was() -> None:
    assert json.loads(redacted(json.dumps(PAYLOAD).encode())) == SHOWN


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", ""),
        (b"\xff\xfe\x00", "[3 bytes that are no text]"),
        (b"call 0171 2345678", "call [phone]"),
        (b'{"a": "' + b"\\u0000" + b'"}', '{\n  "a": "\\u0000"\n}'),
        (b"[" * 100_000, "[100,000 bytes or more of JSON that cannot be judged]"),
        (b' \n{"customer_name": "J\xc3\xb6rg", "no', "[32 bytes or more of JSON that cannot be judged]"),
        (b'{"customer_name": "Anna", "cost": NaN}', "[38 bytes or more of JSON that cannot be judged]"),
        (b'["Anna"', "[7 bytes or more of JSON that cannot be judged]"),
        (b'"Anna', "[5 bytes or more of JSON that cannot be judged]"),
        (b'{"from": "1"}', '{\n  "from": "1"\n}'),
        (b'{"name": 7}', '{\n  "name": "[name]"\n}'),
        (b'{"jo@example.org": 1}', '{\n  "[e-mail]": 1\n}'),
    ],
)
def test_what_is_not_as_expected_is_shown_as_far_as_it_can_be_judged(payload: bytes, shown: str) -> None:
    assert redacted(payload) == shown


def test_what_is_too_deep_or_too_long_is_cut_and_says_so() -> None:
    deep = redacted(b'{"a":' * 100 + b'"secret@example.org"' + b"}" * 100)
    assert "[deeper than is shown]" in deep
    assert "example" not in deep
    assert redacted(json.dumps({"a": "x" * 200_000}).encode()).endswith("more characters]")
    assert redacted(b"no JSON " * 30_000).endswith("more characters]")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def form(value: object) -> object:
    """The structure of a value: its keys and lists, whatever stands in them."""
    if isinstance(value, dict):
        return {without_contacts(key): form(inner) for key, inner in value.items()}
    return [form(inner) for inner in value] if isinstance(value, list) else None


@given(values)
def test_the_structure_of_any_payload_is_kept(value: object) -> None:
    assert form(json.loads(redacted(json.dumps(value).encode()))) == form(value)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(payload: bytes) -> None:
    redacted(payload)


@given(st.text(max_size=20), st.sampled_from(["+4917112345678", "0171 2345678", "089/123456", "a.b@example.org"]))
def test_no_number_and_no_address_gets_through_whatever_stands_before_it(before: str, contact: str) -> None:
    assert contact not in without_contacts(f"{before} {contact}")
