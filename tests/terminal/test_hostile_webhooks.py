"""Hostile names through a real, signed webhook to every screen of the real console on a real pty."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import sys
from collections.abc import Iterator

import pytest

from askpro_console.system import System
from backend.postgres.address import Role
from backend.postgres.pools import connect
from tests.services.held_scenes import hold
from tests.terminal.terminals import Terminal
from tests.whole_system import WHOLE_SYSTEM, Running, booking_call, in_days

pytestmark = WHOLE_SYSTEM

HOSTILE = {
    "osc52": "Osc\x1b]52;c;aGFja2Vk\x07",
    "title": "Tit\x1b]0;hacked\x07\x1b[2J",
    "c1": "Con\x9b2Jtrol\x9d52;c;aGFja2Vk\x9c",
    "bidi": "Bid\u202egnp.exe\u2066",
    "markup": "Mar[/nope][@click=app.quit]kup[/]",
    "zalgo": "Zal" + "\u0301\u0327\u0336" * 60,
    "long": "Lon" + "g" * 10_000,
}
"""By a word that their harmless part begins with; a NUL is refused at the door (`test_a_nul_is_refused`)."""


@pytest.fixture(scope="module")
def hostile_calls(system: Running) -> list[str]:
    """Calls with hostile callers, folded and booked."""
    calls = []
    for number, (kind, name) in enumerate(HOSTILE.items()):
        call_id = f"call_hostile_{kind}"
        call = booking_call(call_id, in_days(20 + number, 9), name)
        assert system.deliver("call_analyzed", call).status_code < 300
        calls.append(call_id)
    for call_id in calls:
        system.row_when(call_id, status="ended")
    return calls


@pytest.fixture
def console(system: Running, hostile_calls: list[str]) -> Iterator[Terminal]:
    """The console, attached, on the list of calls."""
    assert len(hostile_calls) == len(HOSTILE)
    command = [sys.executable, "-m", "askpro_console"]
    with Terminal(command, columns=200, rows=50, environment=system.environment) as terminal:
        terminal.until_shows("Pulse", "Needs you", "LIVE")
        terminal.press("2")
        terminal.until_shows("Started", "LIVE")
        yield terminal


def harmless(output: bytes) -> None:
    """Nothing in the output came from a name as anything but plain characters."""
    assert not re.search(rb"\x1b\](?:0|2|8|52)[;:]", output), "an operating system command"
    assert b"\x1b[2J" not in output.replace(b"\x1b[2J\x1b[H", b""), "a cleared screen"
    assert b"\x00" not in output
    text = codecs.getincrementaldecoder("utf-8")().decode(output)
    assert not re.search("[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text), "a control or a direction"
    assert not re.search("[\u0300-\u036f]{9}", text), "more than eight marks on a cell"
    assert "g" * 500 not in text, "a name without end"


def test_the_lists_show_hostile_callers_harmlessly(console: Terminal) -> None:
    console.until_shows("Osc", "Bid", "Mar[/nope]", "Longgg")
    for key, sign in (("5", "Held, by cause"), ("9", "Machines"), ("1", "Customers feel"), ("2", "Started")):
        console.press(key)
        console.until_shows(sign)
    harmless(console.output)


@pytest.mark.parametrize("word", ["Osc", "Con", "Bid", "Mar", "Zal", "Lon"])
def test_a_hostile_caller_can_be_opened_with_everything_around_it(console: Terminal, word: str) -> None:
    console.press("/")
    for letter in word:
        console.press(letter)
    console.press("enter")
    console.until_shows(f"  /{word}", "⏎ open")
    console.press("enter")
    console.until_shows("Timeline", "call_analyzed", "At provider")
    harmless(console.output)


@pytest.fixture(scope="module")
def hostile_job(system: Running) -> int:
    """A held job whose error, traceback and payload are all the hostile texts."""
    text = "hostileheld " + " ".join(HOSTILE.values())

    async def held() -> int:
        address = System.load(system.environment).postgres()
        connection = await connect(address, Role.WORKER, application="test-hostile")
        try:
            payload = json.dumps({"note_id": text}, ensure_ascii=False)
            (job,) = await hold(connection, payload=payload.replace("#", ""))
            await connection.execute("update held_jobs set message = $2, traceback = $2 where job_id = $1", job, text)
            return job
        finally:
            await connection.close()

    return asyncio.run(held())


def test_a_hostile_job_can_be_found_opened_revealed_and_edited(console: Terminal, hostile_job: int) -> None:
    console.press("5")
    console.until_shows("Held, by cause")
    console.press("/")
    console.until_shows("keys of the list")
    console.press(*"hostileheld")
    console.until_shows("1 found", f"{hostile_job}")
    console.press("enter")
    console.until_shows("Traceback of the last attempt", "Longgg")
    console.press("t")
    console.until_shows("personal data hidden")
    console.press("v")
    console.until_shows("as it is?")
    console.press("w", "enter")
    console.until_shows("Payload, revealed")
    console.press("e")
    console.until_shows("Edit and run job", "unchanged")
    console.press("x")
    console.until_shows("No JSON: line 1")
    console.press("esc")
    console.until_shows("esc again throws your changes away.")
    console.press("esc")
    console.until_shows("Payload, revealed")
    harmless(console.output)


def test_a_nul_is_refused_at_the_door(system: Running) -> None:
    answer = system.deliver("call_analyzed", booking_call("call_hostile_nul", in_days(40, 9), "Nul\x00Name"))
    assert answer.status_code == 422
    assert system.call_rows("call_hostile_nul") == []
