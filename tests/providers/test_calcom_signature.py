"""Cal.com's signature: bare hex, an optional prefix, and no way around a secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.vocabulary import RejectReason
from backend.providers.calcom.signature import HEADER, NO_SECRET, sign, verify

BODY = b'{"triggerEvent":"BOOKING_CREATED","payload":{"uid":"bk1"}}'
SECRET = "calcom-secret"
DIGEST = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def headers(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(HEADER, value)]


def test_signing_is_hmac_sha256_of_the_raw_body_in_hex() -> None:
    assert sign(BODY, SECRET) == DIGEST


@pytest.mark.parametrize("value", [DIGEST, DIGEST.upper(), f"sha256={DIGEST}"])
def test_the_digest_is_accepted_bare_or_with_its_prefix(value: str) -> None:
    assert verify(BODY, headers(value.encode()), [SECRET]) is None


def test_any_of_several_secrets_will_do() -> None:
    assert verify(BODY, headers(DIGEST.encode()), ["new", SECRET]) is None


@pytest.mark.parametrize("value", [NO_SECRET, b"No-Secret-Provided", b" no-secret-provided "])
def test_a_webhook_set_up_without_a_secret_is_refused(value: bytes) -> None:
    assert verify(BODY, headers(value), [SECRET]) is RejectReason.SIGNATURE_MISSING
    assert verify(BODY, headers(value), [NO_SECRET.decode()]) is RejectReason.SIGNATURE_MISSING


def test_no_header_is_a_missing_signature() -> None:
    assert verify(BODY, [], [SECRET]) is RejectReason.SIGNATURE_MISSING


@pytest.mark.parametrize("value", [f"sha1={DIGEST}", DIGEST[:-1], f"{DIGEST} ", "", "zz" * 32])
def test_a_header_of_another_form_is_wrong(value: str) -> None:
    assert verify(BODY, headers(value.encode()), [SECRET]) is RejectReason.SIGNATURE_WRONG


def test_an_empty_secret_verifies_nothing() -> None:
    assert verify(BODY, headers(sign(BODY, "").encode()), ["", SECRET]) is RejectReason.SIGNATURE_WRONG


@given(st.binary(max_size=200))
def test_no_header_makes_it_raise(value: bytes) -> None:
    assert verify(BODY, headers(value), [SECRET]) is not None
