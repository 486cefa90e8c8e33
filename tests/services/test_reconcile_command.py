"""`askpro reconcile` against a real database and a provider: what it says, and with which code it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from askpro_console.cli import main
from backend.postgres.address import PostgresAddress
from tests.databases import OwnConnection
from tests.fakes.retell import FAILING, KEY, RetellFake, call_of, running_retell
from tests.home import settle_home
from tests.services.conftest import Salon

Run = Callable[..., "tuple[int, str]"]


@pytest.fixture
def fake() -> Iterator[RetellFake]:
    """The provider, with one call of half an hour ago that was never delivered."""
    with running_retell() as running:
        running.add(call_of("call_1", int(time.time() * 1000) - 1_800_000))
        yield running


@pytest.fixture
def run(
    database: PostgresAddress,
    fake: RetellFake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """`run(*arguments)`: exit code and output of `askpro reconcile …` for this test's database."""
    settle_home(tmp_path / "home", database, monkeypatch)
    monkeypatch.setenv("ASKPRO_SECRET_RETELL_API_KEY", KEY)
    monkeypatch.setenv("ASKPRO_PROVIDERS_RETELL_URL", fake.url)
    monkeypatch.setenv("ASKPRO_SECRETS_KEYRING", "off")

    def ran(*arguments: str) -> tuple[int, str]:
        code = main(["reconcile", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return ran


async def test_it_says_what_it_would_do_does_it_and_then_has_nothing_to_say(run: Run, salon: Salon) -> None:
    code, said = await asyncio.to_thread(run, "retell", "--dry-run")
    assert code == 0
    assert "call missing" in said
    assert "would be taken over" in said
    code, said = await asyncio.to_thread(run, "retell", "--json")
    (report,) = json.loads(said)
    assert (code, report["state"], report["listed"], report["unrepaired"]) == (0, "done", 1, 0)
    assert [(one["kind"], one["subject"], one["action"]) for one in report["differences"]] == [
        ("call_missing", "call_1", "folded_in")
    ]
    code, said = await asyncio.to_thread(run, "retell", "--since", "2h", "--company", "salon-anna")
    assert (code, "Nothing differs." in said) == (0, True)
    code, said = await asyncio.to_thread(run, "status")
    assert (code, "retell" in said, "done" in said) == (0, True, True)


async def test_before_the_first_run_the_status_says_so(run: Run, salon: Salon) -> None:
    assert await asyncio.to_thread(run, "status") == (
        0,
        "Nothing was compared yet. `askpro reconcile retell` does it now.\n",
    )


async def test_without_a_key_it_names_the_secret_and_ends_with_2(
    run: Run, salon: Salon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKPRO_SECRET_RETELL_API_KEY", "key_demo_1234")
    code, said = await asyncio.to_thread(run, "retell")
    assert code == 2
    assert "the secret retell_api_key is not set" in said
    assert "askpro secrets set retell_api_key" in said


async def test_a_provider_that_fails_or_refuses_is_said_so(
    run: Run, salon: Salon, fake: RetellFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.misbehave(FAILING, times=3)
    code, said = await asyncio.to_thread(run, "retell")
    assert code == 1
    assert "Retell could not be asked to the end: answered 500 Something went wrong" in said
    monkeypatch.setenv("ASKPRO_SECRET_RETELL_API_KEY", "key_wrong")
    code, said = await asyncio.to_thread(run, "retell")
    assert (code, "Retell refuses: 401 Invalid API key." in said) == (1, True)


async def test_companies_without_a_calendar_have_nothing_to_compare(run: Run, salon: Salon) -> None:
    code, said = await asyncio.to_thread(run, "calcom", "--company", "salon-anna")
    assert (code, "does not write its appointments to Cal.com" in said) == (2, True)
    code, said = await asyncio.to_thread(run, "retell", "--company", "salon-ana")
    assert (code, "Did you mean salon-anna?" in said) == (1, True)


async def test_what_somebody_has_to_decide_ends_with_1_and_stays_in_the_status(
    run: Run, salon: Salon, fake: RetellFake, setup: OwnConnection
) -> None:
    fake.calls["call_1"]["agent_id"] = 7
    code, said = await asyncio.to_thread(run, "retell")
    assert (code, "needs somebody" in said) == (1, True)
    code, said = await asyncio.to_thread(run, "status")
    assert (code, "call missing" in said) == (0, True)
