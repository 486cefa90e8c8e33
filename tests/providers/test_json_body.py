"""The strict reader agrees with Python's own on good JSON and refuses what has two meanings."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.providers.delivery import Malformed
from backend.providers.json_body import MAX_DEPTH, MAX_INTEGER, read_object

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(-1e300, 1e300) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=30,
)
objects = st.dictionaries(texts, values)


@given(objects, st.booleans(), st.sampled_from([None, 1, "\t"]), st.sampled_from([(",", ":"), (", ", " : ")]))
def test_good_json_is_read_as_it_was_written(
    content: dict[str, object], ascii_only: bool, indent: int | str | None, separators: tuple[str, str]
) -> None:
    body = json.dumps(content, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    assert read_object(body) == content


@given(objects, texts, values, values, st.sampled_from([b":", b" :", b"\n\t:\r\n"]))
def test_a_name_that_comes_twice_is_refused_wherever_it_stands(
    content: dict[str, object], name: str, one: object, other: object, colon: bytes
) -> None:
    pair = json.dumps(name).encode()
    twice = b"{%s%s%s,%s:%s}" % (pair, colon, json.dumps(one).encode(), pair, json.dumps(other).encode())
    around = json.dumps({"content": content, "here": 0}).encode().replace(b'"here": 0', b'"here": ' + twice)
    with pytest.raises(Malformed, match="twice"):
        read_object(around)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise_anything_else(body: bytes) -> None:
    try:
        content = read_object(body)
    except Malformed:
        return
    assert content == json.loads(body)


@given(objects, st.data())
def test_no_damage_to_good_json_makes_it_raise_anything_else(content: dict[str, object], data: st.DataObject) -> None:
    body = bytearray(json.dumps(content).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        assert read_object(bytes(body)) == json.loads(body)


def nested(levels: int) -> bytes:
    return b'{"x":' * levels + b"1" + b"}" * levels


def test_nesting_is_bounded() -> None:
    assert read_object(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 900, 10_000, 100_000):
        with pytest.raises(Malformed, match="nested"):
            read_object(nested(levels))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", str(2**63), "9" * 10_000])
def test_numbers_that_others_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read_object(b'{"a":[{"b":%s}]}' % text.encode())


@pytest.mark.parametrize("text", [r'"\u0000"', r'["\u0000"]', r'{"\u0000":1}', r'"\\\u0000"'])
def test_nul_in_a_string_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="NUL"):
        read_object(b'{"a":%s}' % text.encode())


@pytest.mark.parametrize("text", [r'"\\u0000"', r'"\\\\u0000"'])
def test_text_that_only_looks_like_nul_is_kept(text: str) -> None:
    assert read_object(b'{"a":%s}' % text.encode()) == {"a": json.loads(text)}
