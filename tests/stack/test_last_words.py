"""What a crashed process said is told in a few lines for a person."""

from __future__ import annotations

import json

from backend.stack.last_words import LINES_LIMIT, WORDS_LIMIT, last_words


def record(level: str, message: str, exception: str = "") -> str:
    return json.dumps({"level": level, "message": message, "exception": exception})


def test_a_log_record_becomes_its_message_and_the_last_line_of_its_exception() -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no such thing'
    lines = [record("info", "starts"), record("critical", "ends by an error", trace)]
    assert last_words(lines) == ["ends by an error: ValueError: no such thing"]


def test_grave_lines_are_told_rather_than_the_last_ones() -> None:
    lines = [
        "2026-11-24 06:33:42 UTC [1] LOG:  starting",
        '2026-11-24 06:33:42 UTC [1] FATAL:  could not open file "global/pg_control"',
        "2026-11-24 06:33:42 UTC [1] LOG:  database system is shut down",
        "[supervisor] postgres ended with exit code 1; starts again in 0.3 s",
    ]
    assert last_words(lines) == [lines[1]]


def test_what_a_crash_loop_repeats_is_told_once_and_briefly() -> None:
    assert last_words(["the same"] * 5) == ["the same"]
    assert last_words(str(number) for number in range(9)) == ["6", "7", "8"]
    [long] = last_words(["x" * 5000])
    assert len(long) == WORDS_LIMIT
    assert LINES_LIMIT == 3
