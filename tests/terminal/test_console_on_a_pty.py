"""The console on a real pty: hostile text, signals, pastes, sizes, colours, terminals that do not read."""

from __future__ import annotations

import codecs
import json
import os
import re
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal.terminals import Terminal

CONSOLE = (sys.executable, "-m", "tests.terminal.small_console")

ALTERNATE_OFF = b"\x1b[?1049l"
CURSOR_ON = b"\x1b[?25h"
MOUSE_OFF = b"\x1b[?1003l"

MARKUP = "[/nope][@click=app.quit]Ann[/]"

HOSTILE = (
    "Ann\x1b]52;c;aGFja2Vk\x07a",
    "Ann\x1b]0;hacked\x07a",
    "Ann\x1b[2Ja",
    "Ann\x9b2Ja",
    "Ann\x1b]8;;http://hacked\x1b\\a",
    "Ann\u202egnp.exe",
    "Ann\x00Null",
    MARKUP,
    "A" + "\u0301" * 300,
    "Ann " + "x" * 10_000,
    "安" * 200,
)
"""Clipboard, title, clear, C1, link, right-to-left override, NUL, markup, a pile of marks, too long, too wide."""


@pytest.fixture
def console() -> Iterator[Terminal]:
    """The small console, its first frame drawn."""
    with Terminal(CONSOLE) as terminal:
        terminal.until_shows("Calls", "Started", "LIVE")
        yield terminal


def test_hostile_text_is_shown_harmlessly_on_every_screen() -> None:
    environment = {"SAMPLE_TEXTS": json.dumps(HOSTILE)}
    with Terminal(CONSOLE, columns=200, rows=40, environment=environment) as terminal:
        terminal.until_shows("Calls", "LIVE", "Ann\ufffdNull", MARKUP[:26], "Ann\ufffd]52;c;aGFja2Vk\ufffda")
        terminal.press("9")
        terminal.until_shows("Fleet", "Machines")
        terminal.press("2")
        terminal.until_shows("Started")
        output = terminal.output
    escapes = set(re.findall(rb"\x1b(?:\[[?<>=]?[0-9;:]*[a-zA-Z$]|\][0-9]+)", output))
    assert not {escape for escape in escapes if escape.startswith((b"\x1b]0", b"\x1b]52", b"\x1b]8", b"\x1b[2J"))}
    assert b"\x00" not in output
    text = codecs.getincrementaldecoder("utf-8")().decode(output)
    assert not re.search("[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
    assert not re.search("\u0301{9}", text)
    assert not re.search("x{500}", text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_ends_the_console(console: Terminal, number: signal.Signals) -> None:
    before = termios.tcgetattr(console.process.fd)
    assert not before[3] & termios.ECHO
    console.process.kill(number)
    assert console.until_ended() == 0
    console.until(lambda: ALTERNATE_OFF in console.output, "the shell's screen")
    assert CURSOR_ON in console.output
    assert MOUSE_OFF in console.output


def test_the_terminal_is_given_back_when_the_user_quits(console: Terminal) -> None:
    console.press("q")
    assert console.until_ended() == 0
    console.until(lambda: b"farewell" in console.output, "the farewell")
    output = console.output
    assert output.rindex(ALTERNATE_OFF) < output.rindex(b"farewell")
    assert CURSOR_ON in output
    assert MOUSE_OFF in output


def test_a_closed_terminal_ends_the_console(console: Terminal) -> None:
    os.close(console.process.fd)
    console.process.closed = True
    console.until(lambda: not console.process.isalive(), "the end")


def test_a_signal_ends_the_console_even_when_the_terminal_does_not_read(console: Terminal) -> None:
    console.stop_reading()
    for _ in range(40):
        console.press("9", "2")
    console.process.kill(signal.SIGTERM)
    console.until(lambda: not console.process.isalive(), "the end")


def test_the_event_loop_lives_while_the_terminal_does_not_read(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    with Terminal(CONSOLE, environment={"HEARTBEATS": str(beats)}) as terminal:
        terminal.until_shows("LIVE")
        terminal.stop_reading()
        for _ in range(60):
            terminal.press("9", "2")
        before = beats.stat().st_size
        terminal.until(lambda: beats.stat().st_size > before + 60, "heartbeats")
        terminal.go_on_reading()
        terminal.press("9")
        terminal.until_shows("Machines")


def test_what_a_library_prints_on_descriptor_two_does_not_reach_the_screen() -> None:
    with Terminal(CONSOLE, environment={"NOISE": "NOISE-ON-STDERR"}) as terminal:
        terminal.until_shows("LIVE")
        terminal.press("q")
        terminal.until_ended()
        assert b"NOISE-ON-STDERR" not in terminal.output


@pytest.mark.parametrize("data", [b"a" * 1_000_000, b"\x1b[31mX" * 15_000], ids=["a megabyte", "with escapes"])
def test_a_paste_is_cut_short_and_freed_of_escapes(console: Terminal, data: bytes) -> None:
    memory = console.resident_bytes()
    console.press("/")
    console.until_shows("word without")
    console.paste(data)
    console.press("enter")
    console.until_shows("0 of 60")
    assert console.resident_bytes() < memory + 20 * 1024 * 1024
    console.press("esc")
    console.until(lambda: "of 60" not in console.text, "the filter to be gone")


def test_a_terminal_too_small_says_so_and_comes_back(console: Terminal) -> None:
    for size in ((20, 5), (1, 1), (39, 12), (120, 9)):
        console.resize(*size)
        if size[0] >= 9:
            console.until_shows("Too small")
        console.resize(120, 40)
        console.until_shows("Started", "Caller", "1 Pulse")
        assert "Too small" not in console.text


def test_a_storm_of_sizes_does_no_harm(console: Terminal) -> None:
    for step in range(60):
        console.resize(20 + step * 37 % 180, 3 + step * 11 % 50)
    console.resize(120, 40)
    console.until_shows("Started", "Caller", "1 Pulse")


def test_no_color_leaves_no_colour() -> None:
    with Terminal(CONSOLE, environment={"NO_COLOR": "1"}) as terminal:
        terminal.until_shows("LIVE", "Started")
        assert terminal.colours() == {("default", "default")}


def test_sixteen_colours_suffice() -> None:
    with Terminal(CONSOLE, environment={"THEME": "ansi"}) as terminal:
        terminal.until_shows("LIVE", "Started")
        assert not [colour for pair in terminal.colours() for colour in pair if re.fullmatch("[0-9a-f]{6}", colour)]


@pytest.mark.parametrize("theme", ["night", "day", "clear"])
def test_every_theme_draws(theme: str) -> None:
    with Terminal(CONSOLE, environment={"THEME": theme}) as terminal:
        terminal.until_shows("LIVE", "Started")
        assert len(terminal.colours()) > 3


def test_what_is_typed_ahead_reaches_what_the_first_key_opened(console: Terminal) -> None:
    console.write(b":cals\r")
    console.until_shows("There is no command :cals. Did you mean")
    console.write(b"/schmidt")
    console.until_shows("/schmidt", "of 60")
    console.write(b"\x1b")
    console.until(lambda: "of 60" not in console.text, "the filter to be gone")
    console.write(b":fleet\r")
    console.until_shows("Machines")
    console.write(b"2:fleet\rR")
    console.until_shows("Restart postgres?")
    console.write(b"\x1b")
    console.until(lambda: "Restart postgres?" not in console.text, "the question to be gone")
    console.write(b"2")
    console.until_shows("── Calls  60 ──")
    console.write(b"\r?")
    console.until_shows("turn the order round")
    console.write(b"\x1b")
    console.until_shows("Calls › ")


def test_lines_that_the_terminal_moves_by_itself_end_where_a_full_repaint_puts_them(tmp_path: Path) -> None:
    new_calls = tmp_path / "new"
    with Terminal(CONSOLE, columns=120, rows=36, environment={"NEW_CALLS": str(new_calls)}) as console:
        console.until_shows("── Calls  60 ──")
        for count in (1, 2, 3, 5, 9):
            new_calls.write_text(str(count))
            console.until_shows(f"── Calls  {60 + count} ──")
        for keys in ("j" * 40, "kkkkk", "jjjjjjjjj", "G", "k" * 40, "g", "j"):
            console.press(keys)
        new_calls.write_text("12")
        console.until_shows("3 new ↑")
        console.press("g")
        console.until_shows("── Calls  72 ──")
        assert b"L\x1b[r" in console.output, "lines moved down"
        assert b"M\x1b[r" in console.output, "lines moved up"
        moved = rows_of(console)
        console.press("9")
        console.until_shows("Machines")
        console.press("2")
        console.until_shows("── Calls  72 ──", "Started▼")
        console.until(lambda: rows_of(console) == moved, "the same rows after a full repaint")


def rows_of(console: Terminal) -> list[str]:
    """The rows of the table, as the emulator shows them."""
    return [line for line in console.text.splitlines() if re.match(r"[ ▌]\d\d:\d\d:\d\d ", line)]
