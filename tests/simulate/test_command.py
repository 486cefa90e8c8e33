"""`askpro simulate`: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from askpro_console.cli import main
from askpro_console.commands import simulate
from backend.simulate.presets import DAY_S, PACES
from backend.simulate.run import Order, Report


def order_of(*arguments: str) -> Order:
    parser = argparse.ArgumentParser()
    simulate.configure(parser)
    return simulate.order(parser.parse_args(arguments))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    return tmp_path


def test_the_presets_offered_are_those_there_are() -> None:
    assert set(simulate.PRESETS) == set(PACES)


def test_without_options_a_run_is_a_usual_day_as_fast_as_possible() -> None:
    order = order_of()
    assert (order.calls, order.pace, order.speed, order.faults, order.check) == (2_000, PACES["now"], None, True, False)


def test_a_preset_brings_its_own_number_of_calls() -> None:
    assert order_of("--preset", "storm").calls == 6_000
    assert order_of("--preset", "storm", "--calls", "5").calls == 5


def test_a_rate_is_calls_per_second_around_the_clock() -> None:
    pace = order_of("--rate", "2.5").pace
    assert pace.calls_per_day == 2.5 * DAY_S
    assert not pace.shaped


@pytest.mark.parametrize(("text", "speed"), [("real", 1.0), ("max", None), ("60", 60.0), ("0.5", 0.5)])
def test_speeds(text: str, speed: float | None) -> None:
    assert order_of("--speed", text).speed == speed


def test_two_runs_without_a_name_have_different_ones() -> None:
    assert order_of("--run", "a1").run == "a1"
    assert order_of().run.isalnum()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--calls", "0"],
        ["--calls", "x"],
        ["--calls", "1000000"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--speed", "fast"],
        ["--speed", "0"],
        ["--speed", "nan"],
        ["--run", "A b"],
        ["--seed", "-1"],
        ["--connections", "0"],
        ["--preset", "yesterday"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_said_in_a_sentence_and_ends_with_two(
    arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["simulate", *arguments])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    said = capsys.readouterr().err
    assert said
    assert "Traceback" not in said


def test_without_a_running_system_it_says_how_to_start_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--calls", "1"]) == 1
    assert "askpro up" in capsys.readouterr().err


def report(**changes: object) -> Report:
    fields: dict[str, object] = {
        "seed": 1, "run": "a", "calls": 2, "outcomes": {"booked": 2}, "faults": {}, "deliveries": 8, "accepted": 8,
        "refused": 0, "undeliverable": 0, "failures": {}, "unsent": 0, "retries": 0, "send_s": 1.0,
        "deliveries_per_s": 8.0, "answer_p50_ms": 1.0, "answer_p99_ms": 2.0, "checked": True, "drain_s": 0.1,
        "check_s": 0.1, "expected": {"calls": 2},
    }  # fmt: skip
    return Report(**(fields | changes))  # type: ignore[arg-type] # a record's fields by name


def test_the_report_shows_differences_and_how_many_more_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    simulate.show(report(differences=50, shown=("calls: call_1: 0 rows, should be 1",)))
    said = capsys.readouterr().out
    assert "50 differences" in said
    assert "call_1: 0 rows" in said
    assert "and 49 more" in said


def test_the_report_says_why_deliveries_were_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    simulate.show(report(undeliverable=3, failures={"answered 503": 3}))
    said = capsys.readouterr().out
    assert "3 answered 503" in said
    assert "in what was accepted" in said


@pytest.mark.parametrize(
    ("changes", "code"),
    [({}, 0), ({"differences": 1}, 1), ({"undeliverable": 1}, 1), ({"unsent": 1}, 1)],
    ids=["clean", "different", "given up", "stopped"],
)
def test_only_a_clean_run_ends_with_zero(changes: dict[str, object], code: int) -> None:
    assert simulate.exit_code(report(**changes)) == code
