"""Kill -9 of every process while signed webhooks come in: nothing accepted is lost, nothing doubled, nothing left.

The long form is `askpro bench kill --rounds 20`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from askpro_console.console_on_pty import ConsoleOnPty
from backend.stack.kill_loop import VICTIMS, KillLoop, KillPlan


@pytest.mark.timeout(400)
async def test_whatever_is_killed_under_traffic_comes_back_and_no_delivery_is_lost_or_doubled() -> None:
    home = Path(tempfile.mkdtemp(prefix="askpro-"))
    try:
        report = await KillLoop(home, KillPlan(rounds=1, calls=60), bystanders=[ConsoleOnPty()]).run()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    assert report.wrong == ()
    assert {recovery.victim for recovery in report.recoveries} == {*VICTIMS, "console"}
    assert {look.name for look in report.inspections} == {"pg_amcheck", "askpro db verify"}
    assert report.servers.most == 1
