"""The whole thread, from outside: `askpro up`, a webhook signed by the vendor's SDK, a row in `askpro show calls`.

The system is started in an `ASKPRO_HOME` of its own, through the command line as a person would.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from tests.whole_system import EFFECT_S, KEY, WHOLE_SYSTEM, Running, booking_call, call_of, in_days

pytestmark = WHOLE_SYSTEM


def test_status_tells_what_scripts_rely_on(system: Running) -> None:
    told = system.told("status")

    assert told["ready"] is True
    assert told["api_url"].startswith("http://127.0.0.1:")
    names = {process["name"] for process in told["processes"]}
    queues = {"worker-webhooks", "worker-appointments", "worker-default", "worker-notifications"}
    assert {"postgres", "valkey", "api", "publisher"} | queues <= names
    for process in told["processes"]:
        assert {"name", "pid", "state", "rss_bytes", "restarts"} <= process.keys()
        assert psutil.pid_exists(process["pid"])


def test_a_signed_webhook_is_a_row_of_the_calls(system: Running) -> None:
    answer = system.deliver("call_ended", call_of("call_e2e_1"))

    assert answer.is_success, answer.text
    row = system.row_when("call_e2e_1", status="ended")
    assert row["company"] == "probe"
    assert row["from_number"] == "+4915123456789"
    assert row["duration_s"] == 89.0


def test_events_out_of_order_and_twice_make_one_call(system: Running) -> None:
    starts = in_days(3, 10)
    analysed = booking_call("call_e2e_2", starts)
    started = call_of("call_e2e_2", call_status="ongoing")
    for gone in ("end_timestamp", "duration_ms", "disconnection_reason"):
        started.pop(gone)

    answers = [
        system.deliver(event, call)
        for event, call in (
            ("call_analyzed", analysed),
            ("call_analyzed", analysed),
            ("call_started", started),
            ("call_ended", call_of("call_e2e_2")),
        )
    ]

    assert [answer.is_success for answer in answers] == [True] * 4
    row = system.row_when("call_e2e_2", outcome="booked", status="ended")
    assert row["caller"] == "Ömer Yıldız"
    assert len(system.call_rows("call_e2e_2")) == 1


def test_a_booking_that_a_call_carries_becomes_an_appointment_of_a_customer(system: Running) -> None:
    starts = in_days(4, 11)
    assert system.deliver("call_analyzed", booking_call("call_e2e_3", starts, "Jana Köhler")).is_success

    end = time.monotonic() + EFFECT_S
    found: list[dict[str, Any]] = []
    while time.monotonic() < end and not found:
        snapshot = system.told("show", "appointments")["snapshot"]
        found = [row for row in snapshot["latest"] if row["customer"] == "Jana Köhler"]
    [row] = found
    assert row["starts_at"] == starts.timestamp()
    assert (row["staff"], row["status"], row["price_cents"]) == ("Dr. Anna Berg", "confirmed", 4200)
    call = system.row_when("call_e2e_3")
    assert row["call_id"] == call["id"]
    assert row["customer_id"] == call["customer_id"]


def test_two_callers_who_want_the_same_slot_do_not_both_get_it(system: Running) -> None:
    starts = in_days(5, 9)
    for number, name in ((4, "Erste Anruferin"), (5, "Zweiter Anrufer")):
        assert system.deliver("call_analyzed", booking_call(f"call_e2e_{number}", starts, name)).is_success

    system.row_when("call_e2e_4")
    system.row_when("call_e2e_5")
    end = time.monotonic() + EFFECT_S
    appointments: dict[str, Any] = {}
    while time.monotonic() < end and not (appointments and appointments["open_callbacks"]):
        appointments = system.told("show", "appointments")["snapshot"]
    at_that_time = [row for row in appointments["latest"] if row["starts_at"] == starts.timestamp()]
    assert len(at_that_time) == 1
    assert appointments["open_callbacks"] >= 1


def test_a_wrong_signature_is_refused_without_detail_and_counted(system: Running) -> None:
    answer = system.deliver("call_ended", call_of("call_e2e_forged"), key="key_of_somebody_else")

    assert answer.status_code == 401
    assert "signature" not in answer.text.lower()
    assert system.call_rows("call_e2e_forged") == []
    end = time.monotonic() + EFFECT_S
    rejected = 0
    while time.monotonic() < end and not rejected:
        rejected = system.told("show", "queues")["snapshot"]["rejected_1h"]
    assert rejected >= 1


def test_a_call_to_a_number_of_nobody_is_quarantined_and_nobody_s_call(system: Running) -> None:
    answer = system.deliver("call_ended", call_of("call_e2e_nobody", to_number="+493023125001", agent_id="agent_x"))

    assert answer.is_success
    end = time.monotonic() + EFFECT_S
    waiting = 0
    while time.monotonic() < end and not waiting:
        waiting = system.told("show", "queues")["snapshot"]["quarantined"]
    assert waiting >= 1
    assert system.call_rows("call_e2e_nobody") == []


@pytest.mark.parametrize("domain", ["calls", "appointments", "queues", "database", "fleet", "business"])
def test_every_domain_can_be_shown_as_json_and_as_text(system: Running, domain: str) -> None:
    told = system.told("show", domain)

    assert told["source"] in {"valkey", "database"}
    assert told["snapshot"]["taken_at"] > time.time() - 60
    text = system.askpro("show", domain)
    assert text.returncode == 0, text.stderr
    assert len(text.stdout.splitlines()) > 1


def test_a_hostile_name_reaches_no_terminal_as_an_escape(system: Running) -> None:
    name = "Ann\x1b]52;c;aGVsbG8=\x07 \x9b2J \u202eevil [/nope]"
    assert system.deliver("call_analyzed", booking_call("call_e2e_hostile", in_days(6, 12), name)).is_success

    system.row_when("call_e2e_hostile")
    for command in (("show", "calls"), ("show", "appointments")):
        shown = system.askpro(*command).stdout
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)


def test_without_a_terminal_the_console_prints_snapshots_and_leaves_a_running_system_alone(system: Running) -> None:
    console = subprocess.Popen(
        [sys.executable, "-m", "askpro_console"],
        env=system.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert console.stdout is not None
    lines = []
    for line in console.stdout:
        lines.append(line)
        if line.startswith("=== "):
            console.send_signal(signal.SIGINT)
            break
    rest = console.stdout.read()

    assert console.wait(30) == 0, "".join(lines) + rest
    assert lines[0].startswith("Standard input and output are not a terminal: ")
    assert any(line.startswith("ready: http://") for line in lines)
    assert system.told("status")["ready"] is True


def test_the_doctor_finds_the_running_system_in_order(system: Running) -> None:
    done = system.askpro("doctor", "--json")

    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    for name in ("supervisor", "readiness", "PostgreSQL", "schema", "Valkey", "API", "api", "worker-webhooks"):
        assert findings[name]["verdict"] == "ok", findings[name]


def test_what_the_database_holds_verifies(system: Running) -> None:
    told = system.told("db", "verify")

    assert [check["broken"] for check in told["checks"]] == [0] * len(told["checks"])
    assert all(check["looked_at"] for check in told["checks"])
    assert "nothing to apply" in system.askpro("db", "migrate").stdout


def test_no_secret_and_no_phone_number_is_in_any_log(system: Running) -> None:
    passwords = json.loads((system.home / "data" / "credentials.json").read_text()).values()
    logs = list((system.home / "state" / "logs").iterdir())
    written = "".join(log.read_text(errors="replace") for log in logs if log.suffix == ".log")

    assert written
    for hidden in (KEY, "+4915123456789", *passwords):
        assert hidden not in written


def test_every_log_line_of_our_own_processes_is_json_or_the_supervisor_s(system: Running) -> None:
    for name in ("api", "worker-webhooks", "publisher"):
        log = system.home / "state" / "logs" / f"{name}.log"
        for line in log.read_text().splitlines():
            if not line.startswith("[supervisor]"):
                assert json.loads(line)["process"] == name
