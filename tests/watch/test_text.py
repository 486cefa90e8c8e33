"""Snapshots as text: every domain, every state, and nothing in it that a terminal would obey."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from backend.watch.plain_text import harmless_json, masked_phone, plain
from backend.watch.reader import Reading
from backend.watch.snapshots import DOMAINS, Snapshot
from backend.watch.text import age, render, seconds, size
from tests.watch.samples import HOSTILE, SAMPLES, hostile


def reading(snapshot: Snapshot, **changes: object) -> Reading:
    fields: dict[str, object] = {
        "domain": snapshot.domain,
        "snapshot": snapshot,
        "source": "valkey",
        "age_s": 0.4,
        "error": None,
        "freshness": "live",
    }
    return Reading(**(fields | changes))  # type: ignore[arg-type]  # the fields are those of Reading


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_every_domain_is_told_with_its_freshness(domain: str) -> None:
    text = render(reading(SAMPLES[domain]))
    assert text.startswith(f"{domain}: live, 0.4 s old, from valkey, ")
    assert len(text.splitlines()) > 2


def test_calls_are_told_line_by_line_with_masked_numbers() -> None:
    text = render(reading(SAMPLES["calls"]))
    assert "Anna Schmidt" in text
    assert "+49••••678" in text
    assert "+4915112345678" not in text
    assert "+4915112345678" in render(reading(SAMPLES["calls"]), reveal=True)


def test_the_queues_tell_age_and_drain_time() -> None:
    lines = render(reading(SAMPLES["queues"])).splitlines()
    (webhooks,) = [line for line in lines if line.startswith("webhooks ")]
    assert webhooks.split()[1:8] == ["12", "400", "ms", "3.0", "s", "2.0/s", "6.0/s"]
    assert any("HTTP 429" in line for line in lines)


def test_the_queues_tell_what_people_and_the_balancer_said() -> None:
    lines = render(reading(SAMPLES["queues"])).splitlines()
    assert "notifications paused by anna for 12 m, 30 m to go: the mail server moves; 41 jobs wait" in lines
    assert any("held before they run by anna" in line for line in lines)
    assert "slots: webhooks clears in 5 s" in lines
    assert not any("calcom" in line and "ramp" in line for line in lines)


def test_what_is_unknown_is_said_and_why() -> None:
    unknown = Reading("calls", None, "nowhere", None, "PostgreSQL: connection refused", "unknown")
    assert render(unknown) == "calls: unknown  (PostgreSQL: connection refused)"
    stale = render(reading(SAMPLES["database"], freshness="stale", age_s=75.0, error="Valkey: gone"))
    assert stale.startswith("database: stale, 1 m old, from valkey")
    assert "(Valkey: gone)" in stale.splitlines()[0]
    assert "note: disk: the data directory is not on this machine" in stale


def test_a_long_list_says_how_much_is_left_out() -> None:
    snapshot = SAMPLES["calls"]
    many = msgspec.structs.replace(snapshot, rows=snapshot.rows * 30)  # type: ignore[attr-defined]  # a calls snapshot
    text = render(reading(many), rows=10)
    assert f"… and {len(many.rows) - 10} more calls" in text  # type: ignore[attr-defined]  # a calls snapshot


@pytest.mark.parametrize("domain", sorted(DOMAINS))
@pytest.mark.parametrize("width", [20, 80, 120])
def test_nothing_hostile_reaches_the_terminal(domain: str, width: int) -> None:
    text = render(reading(hostile(SAMPLES[domain])), width=width)
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert cell_len(line) <= width
        assert not any(unicodedata.category(character) in {"Cc", "Cf"} for character in line)


@given(st.text(max_size=300), st.integers(min_value=1, max_value=100))
@settings(deadline=None)
def test_plain_text_is_printable_bounded_and_stays_as_it_is(text: str, limit: int) -> None:
    made = plain(text, limit)
    assert made.isprintable()
    assert len(made) <= limit
    assert plain(made, limit) == made


def test_plain_text_keeps_what_is_harmless() -> None:
    assert plain("Größe Łódź 東京 💥 [/nope]") == "Größe Łódź 東京 💥 [/nope]"
    assert plain(HOSTILE[0]) == "Ann\ufffd]52;c;QUJD\ufffd"
    assert plain("a\u202eb\u200bc") == "a\ufffdbc"
    assert plain("e" + "\u0301" * 50) == "e" + "\u0301" * 8
    assert plain("x" * 300, 10) == "x" * 9 + "…"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_json_stays_the_same_and_becomes_harmless(text: str) -> None:
    made = harmless_json(msgspec.json.encode({"name": text}).decode())
    assert made.isprintable()
    assert msgspec.json.decode(made) == {"name": text}


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+4915112345678", "+49••••678"),
        ("030 1234567", "••••567"),
        ("1234", "••••"),
        ("", ""),
        ("anonymous", "anonymous"),
        ("+49\x1b[2J15112345", "+49••••345"),
    ],
)
def test_phones_are_masked(number: str, shown: str) -> None:
    assert masked_phone(number) == shown


def test_durations_and_sizes_are_short() -> None:
    assert [age(s) for s in (0.4, 12, 180, 7200, 5 * 86400)] == ["0.4 s", "12 s", "3 m", "2 h", "5 d"]
    assert [seconds(s) for s in (None, 0.0, 0.2, 75)] == ["–", "0.0 s", "200 ms", "1 m"]
    assert [size(b) for b in (None, 0, 999, 1200, 41_000_000, 2_100_000_000)] == [
        "?",
        "0 B",
        "999 B",
        "1.2 kB",
        "41 MB",
        "2.1 GB",
    ]
