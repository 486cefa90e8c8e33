"""Log records: what a line holds, and what it never holds."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.stack import log_records
from backend.stack.log_records import JsonLines, PoolNoise, redact, write_to_file, write_to_stderr


def line(message: str, *args: object, extra: dict[str, object] | None = None) -> dict[str, object]:
    logger = logging.Logger("askpro.test")
    record = logger.makeRecord("askpro.test", logging.INFO, __file__, 1, message, args, None, extra=extra)
    told: dict[str, object] = json.loads(JsonLines("api").format(record))
    return told


@pytest.fixture
def restored() -> Iterator[None]:
    hook = sys.excepthook
    yield
    sys.excepthook = hook


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdef.ghi-jkl", "Authorization: Bearer ***"),
        ("uses sk_live_a1b2c3d4e5", "uses sk_***"),
        ("token ap_live_12345678_abcdefgh", "token ap_live_***"),
        ("key_0123456789abcdef", "key_***"),
        ("redis://user:hunter22@cache:6379/0", "redis://user:***@cache:6379/0"),
        ("called +493012345678 twice", "called +49•••78 twice"),
        ("called +49 30 1234 5678 twice", "called +49•••78 twice"),
        ("called 030 12345678", "called 030•••78"),
        ("mail of anna.berg@example.com", "mail of ***@example.com"),
        ("v=1767607200000,d=e83bf0efd265", "v=***,d=***"),
        ('{"api_key": "verysecret"}', '{"api_key": "***"}'),
        ("password=hunter22", "password=***"),
    ],
)
def test_what_identifies_or_opens_something_is_not_written(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "job 19876543210 took 1732428000000 ms",
        "inbox 01987654-1234-7abc-8def-0123456789ab",
        "2025-11-24T06:15:00.123Z",
        "127.0.0.1:54320",
        "1 + 1 = 2",
        "column name_key of customers",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.timeout(20)  # Patterns that look at the same text again and again take minutes.
@pytest.mark.parametrize(
    "piece", ["a", "+1 ", "a.b-", "key_", "key_a", "://a", "x@a-", "0123 ", "secret:", "bearer ", "v=1,"]
)
@pytest.mark.parametrize("end", ["+", "@", "@x.", ":@", "key_", " d="])
def test_hostile_text_of_any_length_is_redacted_at_once(piece: str, end: str) -> None:
    redact(piece * (50_000 // len(piece)) + end)


def test_a_line_has_utc_time_process_and_the_extra_fields() -> None:
    told = line("took %d jobs", 3, extra={"queue": "webhooks", "count": 3})

    assert told["message"] == "took 3 jobs"
    assert told["process"] == "api"
    assert told["queue"] == "webhooks"
    assert told["count"] == 3
    assert str(told["at"]).endswith("Z")


def test_a_field_named_like_a_secret_is_hidden_at_any_depth() -> None:
    told = line(
        "x", extra={"retell_api_key": "abc", "request": {"authorization": "abc", "path": "/"}, "dedup_key": "c1"}
    )

    assert told["retell_api_key"] == "***"
    assert told["request"] == {"authorization": "***", "path": "/"}
    assert told["dedup_key"] == "c1"


def test_data_cannot_forge_a_second_line_or_reach_a_terminal_as_an_escape() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "name \n\x1b]52;c;aGk=\x07 \u202e", (), None)

    text = JsonLines("api").format(record)

    assert "\n" not in text
    assert text.isascii()
    assert "\x1b" not in text


def test_a_traceback_is_kept_and_redacted(restored: None) -> None:
    out = io.StringIO()
    written = write_to_stderr("worker", stream=out)
    try:
        raise ValueError("cannot reach +493012345678")
    except ValueError:
        logging.getLogger("askpro.jobs").exception("the job failed")
    written.close()

    told = json.loads(out.getvalue())
    assert "Traceback" in told["exception"]
    assert "+493012345678" not in out.getvalue()


def test_a_pool_complains_in_one_line_and_not_again_at_once() -> None:
    now = 0.0
    noise = PoolNoise(clock=lambda: now)

    def complaint() -> logging.LogRecord:
        error = OSError("gone")
        return logging.LogRecord("asyncpg.pool", logging.WARNING, "f", 1, "retrying", (), (OSError, error, None))

    first = complaint()
    assert noise.filter(first)
    assert first.getMessage() == "retrying (OSError: gone)"
    assert first.exc_info is None
    assert not noise.filter(complaint())
    now = PoolNoise.EVERY_S
    assert noise.filter(complaint())


def test_logging_to_a_file_writes_nothing_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], restored: None
) -> None:
    written = write_to_file("console", tmp_path / "logs" / "console.log")
    logging.getLogger("asyncpg.pool").warning("Failed to restore the pool connection floor; retrying")
    logging.getLogger("askpro").info("painted")
    written.close()

    assert capfd.readouterr().err == ""
    lines = (tmp_path / "logs" / "console.log").read_text().splitlines()
    assert [json.loads(text)["message"] for text in lines] == [
        "Failed to restore the pool connection floor; retrying",
        "painted",
    ]


def test_a_full_disk_loses_lines_and_nothing_else(capfd: pytest.CaptureFixture[str], restored: None) -> None:
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:
        written = write_to_stderr("api", stream=full)
        logging.getLogger("askpro").error("lost")
        written.close()

    assert capfd.readouterr().err == ""


def test_an_uncaught_error_of_the_process_is_a_log_line(restored: None) -> None:
    out = io.StringIO()
    written = write_to_stderr("api", stream=out)
    error = RuntimeError("broken")
    sys.excepthook(RuntimeError, error, None)
    written.close()

    told = json.loads(out.getvalue())
    assert told["level"] == "critical"
    assert "RuntimeError: broken" in told["exception"]


def test_a_process_that_ends_abruptly_can_have_its_last_words_written(restored: None) -> None:
    out = io.StringIO()
    written = write_to_stderr("worker", stream=out)
    for number in range(500):
        logging.getLogger("askpro").info("word %d", number)
    written.handler.flush()

    assert len(out.getvalue().splitlines()) == 500
    written.close()


def test_a_reader_that_is_behind_costs_records_and_not_time(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_records, "QUEUE_LIMIT", 10)
    held = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            held.wait(30)
            return super().write(text)

    out = Stuck()
    written = write_to_stderr("api", stream=out)
    for number in range(100):
        logging.getLogger("askpro").info("word %d", number)
    held.set()
    written.close()

    kept = len(out.getvalue().splitlines())
    assert kept + written.handler.dropped == 100
    assert written.handler.dropped >= 88


def test_a_sink_that_takes_nothing_does_not_hold_the_end_up(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_records, "FLUSH_S", 0.05)
    held = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            held.wait(60)
            return super().write(text)

    written = write_to_stderr("api", stream=Stuck())
    logging.getLogger("askpro").info("word")
    written.close()

    assert not held.is_set()
    held.set()


def test_a_very_long_message_is_cut() -> None:
    assert line("x" * 100_000)["message"] == "x" * log_records.TEXT_LIMIT
