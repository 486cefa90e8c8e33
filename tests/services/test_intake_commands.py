"""`askpro intake` against a real database: it shows, it asks before it changes, and it says what it did."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from askpro_console.cli import main
from backend.domain.vocabulary import Provider, RejectReason
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import open_pool
from backend.providers.retell.payloads import read_delivery
from backend.providers.retell.signature import sign
from backend.services.intake.inbox import store
from backend.services.intake.rejects import Rejects
from backend.services.intake.seal import Seal
from tests.databases import OpenConnection
from tests.home import settle_home

REJECT_KEY = bytes(range(32))
KEY = "key_of_today"

Run = Callable[..., "tuple[int, str]"]


def call(number: int) -> bytes:
    content = {"call_id": f"call_{number}", "direction": "inbound", "to_number": "+49301234567", "agent_id": "agent_1"}
    return json.dumps({"event": "call_started", "call": content}).encode()


@pytest.fixture
async def prepared(database: PostgresAddress, open_connection: OpenConnection) -> None:
    """A company, three quarantined deliveries, and three refused ones of which two are good with today's key."""
    setup = await open_connection(Role.SETUP)
    company = await setup.fetchval("insert into companies (slug, name) values ('praxis', 'Praxis Ost') returning id")
    await setup.execute("insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte')", company)
    await store(await open_connection(Role.API), [read_delivery(call(number), []) for number in range(3)])
    pool = await open_pool(database, Role.API, application="test")
    rejects = Rejects(pool, Seal(REJECT_KEY))
    await rejects.start()
    now_ms = time.time_ns() // 1_000_000
    for number, key in ((10, KEY), (11, KEY), (12, "forged")):
        headers = {"x-retell-signature": sign(call(number), key, now_ms)}
        rejects.note(Provider.RETELL, RejectReason.SIGNATURE_WRONG, "192.0.2.1", headers=headers, body=call(number))
    await rejects.close()
    await pool.close()


@pytest.fixture
def run(
    database: PostgresAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """`run(*arguments)`: exit code and output of `askpro intake …` for this test's database."""
    settle_home(tmp_path / "home", database, monkeypatch)
    monkeypatch.setenv("ASKPRO_SECRET_RETELL_API_KEY", KEY)
    monkeypatch.setenv("ASKPRO_SECRET_REJECT_KEY", REJECT_KEY.hex())
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

    def ran(*arguments: str) -> tuple[int, str]:
        code = main(["intake", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return ran


async def in_thread(run: Run, *arguments: str) -> tuple[int, str]:
    """The command starts an event loop of its own, so it runs beside the test's."""
    return await asyncio.to_thread(run, *arguments)


@pytest.mark.usefixtures("prepared")
async def test_status_counts_what_is_there(run: Run) -> None:
    code, output = await in_thread(run, "status", "--json")
    assert code == 0
    status = json.loads(output)
    assert (status["accepted_1h"], status["quarantined"], status["waiting"]) == (3, 3, 0)
    assert status["rejected_1h"] == {"signature_wrong": 3}
    assert status["kept"] == 3
    code, output = await in_thread(run, "status")
    assert code == 0
    assert "signature_wrong 3" in output


@pytest.mark.usefixtures("prepared")
async def test_quarantine_and_rejects_are_shown_in_groups(run: Run) -> None:
    code, output = await in_thread(run, "quarantine", "--json")
    assert code == 0
    (group,) = json.loads(output)
    assert (group["dialled"], group["agent_id"], group["deliveries"]) == ("+49301234567", "agent_1", 3)
    code, output = await in_thread(run, "rejects", "--json")
    assert code == 0
    (refused,) = json.loads(output)
    assert (refused["reason"], refused["refused"], refused["open"]) == ("signature_wrong", 3, 3)
    for verb in ("quarantine", "rejects"):
        code, output = await in_thread(run, verb)
        assert code == 0
        assert "2" in output


@pytest.mark.usefixtures("prepared")
async def test_assigning_asks_first_and_then_releases(run: Run, open_connection: OpenConnection) -> None:
    watch = await open_connection(Role.WATCH)
    code, output = await in_thread(run, "assign", "+49 30 1234567", "praxis/mitte", "--dry-run")
    assert (code, "Would assign +49301234567 to Praxis Ost / mitte and release 3" in output) == (0, True)
    code, output = await in_thread(run, "assign", "+49301234567", "praxis/mitte")
    assert (code, "--yes" in output) == (2, True)
    assert await watch.fetchval("select count(*) from phone_numbers") == 0
    code, output = await in_thread(run, "assign", "+49301234567", "praxis", "--yes", "--json")
    assert code == 0
    assert json.loads(output)["released"] == 3
    assert await watch.fetchval("select count(*) from webhook_inbox where state = 'accepted'") == 3
    assert await watch.fetchval("select count(*) from pgqueuer") == 3
    code, output = await in_thread(run, "assign", "+49301234567", "praxis", "--yes")
    assert (code, "belongs to the company praxis already" in output) == (1, True)


@pytest.mark.usefixtures("prepared")
async def test_a_mistyped_company_is_told_the_right_one(run: Run) -> None:
    code, output = await in_thread(run, "assign", "+49301234567", "praxsi/mitte", "--yes")
    assert code == 1
    assert "Did you mean praxis?" in output


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("typed", ["12", "301234567", "(030) 1234567", "049/30"])
async def test_a_mistyped_number_is_not_taken_for_an_agent(
    run: Run, open_connection: OpenConnection, typed: str
) -> None:
    code, output = await in_thread(run, "assign", typed, "praxis/mitte", "--yes")
    assert code == 1
    assert f"{typed} is no phone number with its country code" in output
    assert await (await open_connection(Role.SETUP)).fetchval("select count(*) from agents") == 0


@pytest.mark.usefixtures("prepared")
async def test_replay_accepts_what_is_good_with_todays_key(run: Run, open_connection: OpenConnection) -> None:
    watch = await open_connection(Role.WATCH)
    code, output = await in_thread(run, "replay", "--provider", "retell", "--since", "2h", "--dry-run", "--json")
    assert code == 0
    assert json.loads(output) == {"looked_at": 3, "accepted": {"good": 2}, "refused": {"signature_wrong": 1}}
    assert await watch.fetchval("select count(*) from webhook_inbox") == 3
    code, output = await in_thread(run, "replay", "--provider", "retell")
    assert (code, "--yes" in output) == (2, True)
    code, output = await in_thread(run, "replay", "--provider", "retell", "--yes")
    assert code == 0
    assert "2 accepted (quarantined 2)" in output
    assert await watch.fetchval("select count(*) from webhook_inbox") == 5


async def test_replay_without_a_key_says_which_is_missing(run: Run) -> None:
    code, output = await in_thread(run, "replay", "--provider", "calcom", "--yes")
    assert code == 1
    assert "calcom_webhook_secret" in output


@pytest.mark.parametrize("arguments", [("replay",), ("replay", "--provider", "retell", "--since", "soon"), ("assign",)])
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert output
