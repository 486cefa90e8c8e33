"""A tool call's body: whose call, which function, which arguments, and when two of them are the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from backend.providers.delivery import Malformed
from backend.providers.retell.functions import read_function_call

CALL = {
    "call_id": "call_1",
    "agent_id": "agent_1",
    "direction": "inbound",
    "from_number": "+4915112345678",
    "to_number": "+493012345678",
    "start_timestamp": 1767607199000,
    "transcript": "…",
}


def body(**fields: object) -> bytes:
    return json.dumps({"name": "get_services", "call": CALL, **fields}).encode()


def test_a_tool_call_is_understood() -> None:
    call = read_function_call(body(args={"branch": "mitte"}, tool_call_id="tool_7"))
    assert (call.name, call.provider_call_id, call.agent) == ("get_services", "call_1", "agent_1")
    assert (call.dialled, call.caller_number) == ("+493012345678", "+4915112345678")
    assert call.started_at == datetime(2026, 1, 5, 9, 59, 59, tzinfo=UTC)
    assert (call.arguments, call.tool_key) == ({"branch": "mitte"}, "id:tool_7")


def test_an_outbound_call_is_from_our_number() -> None:
    call = read_function_call(body(call=CALL | {"direction": "outbound"}))
    assert (call.dialled, call.caller_number) == ("+4915112345678", "+493012345678")


@pytest.mark.parametrize(
    "fields",
    [
        {"args": {"a": 1, "b": [2]}},
        {"args": '{"b": [2], "a": 1}'},
        {"arguments": {"b": [2], "a": 1}},
        {"a": 1, "b": [2]},
    ],
)
def test_arguments_stand_in_several_places_and_mean_the_same(fields: dict[str, object]) -> None:
    call = read_function_call(body(**fields))
    assert call.arguments == {"a": 1, "b": [2]}
    assert call.payload_hash == read_function_call(body(args={"b": [2], "a": 1})).payload_hash
    assert call.tool_key == "args:" + call.payload_hash.hex()


def test_other_arguments_or_another_function_are_another_tool_call() -> None:
    keys = {
        read_function_call(content).tool_key
        for content in (body(args={"a": 1}), body(args={"a": "1"}), body(args={}), body(name="x", args={"a": 1}))
    }
    assert len(keys) == 4


def test_what_changes_while_the_call_goes_on_does_not_make_another_tool_call() -> None:
    later = CALL | {"transcript": "… and more", "call_status": "ongoing", "latency": {"e2e": {}}}
    assert (
        read_function_call(body(args={"a": 1})).tool_key == read_function_call(body(args={"a": 1}, call=later)).tool_key
    )


@pytest.mark.parametrize("args", ["", "no json", "[1]", "7", '{"a": "\\u0000"}', '{"a": ' * 70 + "1" + "}" * 70])
def test_arguments_that_cannot_be_read_count_as_none(args: str) -> None:
    assert read_function_call(body(args=args)).arguments == {}


@pytest.mark.parametrize("name", ["from_number", "to_number", "agent_id", "start_timestamp", "direction"])
@pytest.mark.parametrize("value", [None, 7.5, -1, True, [], {"a": 1}, "x" * 100_000, 10**18])
def test_a_strange_field_of_the_call_refuses_nothing(name: str, value: object) -> None:
    call = read_function_call(body(call=CALL | {name: value}))
    assert call.provider_call_id == "call_1"


@pytest.mark.parametrize(
    "content",
    [
        body(name=""),
        body(name=None),
        body(name="x" * 257),
        body(call=None),
        body(call={}),
        body(call={"call_id": ""}),
        body(call={"call_id": 7}),
        b"[]",
    ],
)
def test_without_a_function_or_a_call_there_is_no_answer(content: bytes) -> None:
    with pytest.raises(Malformed):
        read_function_call(content)


def test_a_tool_call_id_without_end_is_kept_as_its_hash() -> None:
    call = read_function_call(body(tool_call_id="t" * 100_000))
    assert call.tool_key.startswith("id:sha256:")
    assert len(call.tool_key) < 100
    assert read_function_call(body(tool_call_id=["x"])).tool_key.startswith("args:")
