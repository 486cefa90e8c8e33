"""Retell's signature: golden vectors, the vendor's own code as the foreign client, and everything that is not right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retell.lib.webhook_auth import symmetric

from backend.domain.vocabulary import RejectReason
from backend.providers.retell.signature import HEADER, TOLERANCE_MS, sign, verify

NOW = 1_767_607_200_000
KEY = "key_test_0123456789abcdef"
BODY = (
    b'{"event":"call_started","call":{"call_id":"call_A1","call_type":"phone_call","agent_id":"agent_1",'
    b'"call_status":"ongoing","direction":"inbound","from_number":"+493012345678","to_number":"+4989123456",'
    b'"start_timestamp":1767607199000}}'
)
DIGEST = "e83bf0efd265fa016e54f31a5926f0549700765186f2ce7a3e0623084c817a93"


def headers(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"example.org"), (HEADER, value)]


def header(body: bytes = BODY, key: str = KEY, at_ms: int = NOW) -> list[tuple[bytes, bytes]]:
    return headers(sign(body, key, at_ms).encode())


@pytest.mark.parametrize(
    ("key", "at_ms", "body", "digest"),
    [
        (KEY, NOW, BODY, DIGEST),
        (
            "test-api-key",
            1_700_000_000_000,
            b'{"event":"call_ended"}',
            "07024cabe7dd8f6d1c6e4a8324ca92c812e6ad4a7ee506c04f7e462e3321823e",
        ),
    ],
)
def test_the_golden_vectors_hold(key: str, at_ms: int, body: bytes, digest: str) -> None:
    assert sign(body, key, at_ms) == f"v={at_ms},d={digest}"
    assert verify(body, headers(f"v={at_ms},d={digest}".encode()), [key], at_ms) is None


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text("abc_019-ÄÖ", min_size=1), st.integers(0, 2**41))
def test_what_the_vendor_signs_we_verify_and_the_other_way_round(body: str, key: str, at_ms: int) -> None:
    theirs = symmetric["sign"](body, key, at_ms)
    assert theirs == sign(body.encode(), key, at_ms)
    assert verify(body.encode(), headers(theirs.encode()), [key], at_ms) is None
    assert symmetric["verify"](body, key, sign(body.encode(), key, at_ms), {"timestamp": at_ms})


@pytest.mark.parametrize("distance", [-TOLERANCE_MS, TOLERANCE_MS])
def test_the_tolerance_is_inclusive_in_both_directions(distance: int) -> None:
    assert verify(BODY, header(at_ms=NOW + distance), [KEY], NOW) is None


@pytest.mark.parametrize("distance", [-TOLERANCE_MS - 1, TOLERANCE_MS + 1, -(10**12), 10**12])
def test_beyond_the_tolerance_a_delivery_is_stale(distance: int) -> None:
    assert verify(BODY, header(at_ms=NOW + distance), [KEY], NOW) is RejectReason.STALE


def test_a_stale_delivery_with_a_wrong_signature_is_just_wrong() -> None:
    assert verify(BODY, header(key="other", at_ms=0), [KEY], NOW) is RejectReason.SIGNATURE_WRONG


def test_any_of_several_keys_will_do() -> None:
    assert verify(BODY, header(), ["new", KEY], NOW) is None
    assert verify(BODY, header(), [KEY, "old"], NOW) is None
    assert verify(BODY, header(), ["new", "old"], NOW) is RejectReason.SIGNATURE_WRONG


def test_an_empty_key_verifies_nothing() -> None:
    assert verify(BODY, header(key=""), ["", KEY], NOW) is RejectReason.SIGNATURE_WRONG
    assert verify(BODY, header(key=""), [], NOW) is RejectReason.SIGNATURE_WRONG


def test_upper_case_hex_is_accepted() -> None:
    assert verify(BODY, headers(f"v={NOW},d={DIGEST.upper()}".encode()), [KEY], NOW) is None


def test_a_missing_header_is_told_from_a_wrong_one() -> None:
    assert verify(BODY, [(b"host", b"example.org")], [KEY], NOW) is RejectReason.SIGNATURE_MISSING


def test_a_header_that_comes_twice_is_wrong() -> None:
    twice = [*header(), *header()]
    assert verify(BODY, twice, [KEY], NOW) is RejectReason.SIGNATURE_WRONG


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"v=,d=",
        b"v=1767607200000",
        b"d=" + DIGEST.encode(),
        f"v=1767607200000,d={DIGEST}\n".encode(),
        f" v=1767607200000,d={DIGEST}".encode(),
        f"v=1767607200000,d={DIGEST}0".encode(),
        f"v=1767607200000,d={DIGEST[:-1]}".encode(),
        f"d={DIGEST},v=1767607200000".encode(),
        f"v=-1767607200000,d={DIGEST}".encode(),
        f"v=1.767607200000e12,d={DIGEST}".encode(),
        f"v={'9' * 400},d={DIGEST}".encode(),
        f"v=١٧٦٧٦٠٧٢٠٠٠٠٠,d={DIGEST}".encode(),
        b"v=\xb2\xb3,d=" + DIGEST.encode(),
        b"\x00" * 64,
        b"v=1,d=" + b"\xff" * 64,
    ],
)
def test_a_header_of_another_form_is_wrong(value: bytes) -> None:
    assert verify(BODY, headers(value), [KEY], NOW) is RejectReason.SIGNATURE_WRONG


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_header_makes_it_raise(value: bytes, body: bytes) -> None:
    assert verify(body, headers(value), [KEY], NOW) is RejectReason.SIGNATURE_WRONG


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_one_changed_byte_of_the_body_is_noticed(position: int, change: int) -> None:
    changed = bytearray(BODY)
    changed[position] ^= change
    assert verify(bytes(changed), header(), [KEY], NOW) is RejectReason.SIGNATURE_WRONG


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_one_changed_digit_of_the_signature_is_noticed(position: int, digit: str) -> None:
    changed = DIGEST[:position] + digit + DIGEST[position + 1 :]
    expected = None if changed == DIGEST else RejectReason.SIGNATURE_WRONG
    assert verify(BODY, headers(f"v={NOW},d={changed}".encode()), [KEY], NOW) is expected
