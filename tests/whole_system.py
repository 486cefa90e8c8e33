"""One whole system for the tests that need one: started through the command line, used from outside.

Each test process that needs one starts it once. Modules that use `system` carry `pytestmark = WHOLE_SYSTEM`.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from retell.lib.webhook_auth import symmetric

WHOLE_SYSTEM = pytest.mark.timeout(240)

KEY = "key_demo_0123456789abcdef0123456789abcdef"
NUMBER = "+493023125990"
EFFECT_S = 20.0
"""Bound of a wait for what takes a second or less on an idle machine."""

DECLARATION = f"""
slug = "probe"
name = "Praxis Probe"

[[branches]]
slug = "mitte"
name = "Mitte"
# No holidays: the tests book in so many days, whenever they run.
bundesland = ""
numbers = ["{NUMBER}"]

[branches.opening_hours]
mon = [[00:00:00, 23:59:00]]
tue = [[00:00:00, 23:59:00]]
wed = [[00:00:00, 23:59:00]]
thu = [[00:00:00, 23:59:00]]
fri = [[00:00:00, 23:59:00]]
sat = [[00:00:00, 23:59:00]]
sun = [[00:00:00, 23:59:00]]

[[services]]
slug = "sprechstunde"
name = "Sprechstunde"
duration_min = 30
price_cents = 4200

[[staff]]
slug = "berg"
name = "Dr. Anna Berg"
branches = ["mitte"]
services = ["sprechstunde"]

[staff.hours.mitte]
mon = [[08:00:00, 20:00:00]]
tue = [[08:00:00, 20:00:00]]
wed = [[08:00:00, 20:00:00]]
thu = [[08:00:00, 20:00:00]]
fri = [[08:00:00, 20:00:00]]
sat = [[08:00:00, 20:00:00]]
sun = [[08:00:00, 20:00:00]]
"""


@dataclass
class Running:
    """A running system, used through its command line and its HTTP address."""

    home: Path
    environment: dict[str, str]

    def askpro(self, *arguments: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "askpro_console", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def told(self, *arguments: str) -> dict[str, Any]:
        done = self.askpro(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    @cached_property
    def api_url(self) -> str:
        return str(self.told("status")["api_url"])

    def deliver(self, event: str, call: dict[str, object], *, key: str = KEY) -> httpx.Response:
        body = json.dumps({"event": event, "call": call}, ensure_ascii=False)
        sign: Any = symmetric["sign"]
        return httpx.post(
            f"{self.api_url}/api/retell/webhook",
            content=body.encode(),
            headers={"x-retell-signature": sign(body, key), "content-type": "application/json"},
            timeout=10,
            trust_env=False,
        )

    def call_rows(self, call_id: str) -> list[dict[str, Any]]:
        snapshot = self.told("show", "calls")["snapshot"]
        return [row for row in snapshot["rows"] if row["provider_call_id"] == call_id]

    def row_when(self, call_id: str, **wanted: object) -> dict[str, Any]:
        end = time.monotonic() + EFFECT_S
        rows: list[dict[str, Any]] = []
        while time.monotonic() < end:
            rows = self.call_rows(call_id)
            if rows and all(rows[0][name] == value for name, value in wanted.items()):
                return rows[0]
        raise AssertionError(f"no row of {call_id} with {wanted}; the last look: {rows}")


@contextmanager
def running_system() -> Iterator[Running]:
    """A system of its own with one company, `probe`; stopped at the end, with nothing left behind."""
    home = Path(tempfile.mkdtemp(prefix="askpro-e2e-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASKPRO_")}
    own = {
        "ASKPRO_HOME": str(home),
        "ASKPRO_API_PORT": "0",
        "ASKPRO_SECRETS_KEYRING": "off",
        "ASKPRO_SECRET_RETELL_API_KEY": KEY,
    }
    running = Running(home, kept | own)
    try:
        up = running.askpro("up", limit_s=180)
        assert up.returncode == 0, up.stdout + up.stderr
        (home / "probe.toml").write_text(DECLARATION, encoding="utf-8")
        applied = running.askpro("company", "apply", "--yes", str(home / "probe.toml"))
        assert applied.returncode == 0, applied.stdout + applied.stderr
        yield running
        processes = [psutil.Process(process["pid"]) for process in running.told("status")["processes"]]
        down = running.askpro("down", limit_s=120)
        assert down.returncode == 0, down.stdout + down.stderr
        assert [process for process in processes if process.is_running()] == [], "down left processes behind"
    finally:
        running.askpro("down", limit_s=120)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def system() -> Iterator[Running]:
    """One whole system."""
    with running_system() as running:
        yield running


def call_of(call_id: str, **more: object) -> dict[str, object]:
    now = int(time.time() * 1000)
    return {
        "call_id": call_id,
        "call_type": "phone_call",
        "agent_id": "agent_probe",
        "call_status": "ended",
        "direction": "inbound",
        "from_number": "+4915123456789",
        "to_number": NUMBER,
        "start_timestamp": now - 90_000,
        "end_timestamp": now - 1_000,
        "duration_ms": 89_000,
        "disconnection_reason": "user_hangup",
        **more,
    }


def booking_call(call_id: str, starts_at: datetime.datetime, name: str = "Ömer Yıldız") -> dict[str, object]:
    return call_of(
        call_id,
        call_analysis={
            "call_summary": "Books an appointment.",
            "user_sentiment": "Positive",
            "custom_analysis_data": {
                "customer_name": name,
                "outcome": "booked",
                "booking": {
                    "service": "sprechstunde",
                    "staff": "berg",
                    "starts_at": starts_at.isoformat(),
                    "branch": "mitte",
                },
            },
        },
        call_cost={"combined_cost": 12.5},
    )


def in_days(days: int, hour: int) -> datetime.datetime:
    day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    return datetime.datetime.combine(day, datetime.time(hour), datetime.UTC)
