"""Calls that Retell knows and that were never delivered are taken in, once, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.domain.vocabulary import DifferenceKind, Provider, RunCause, RunState
from backend.postgres.pools import Connection
from backend.providers.calling import Timeouts
from backend.providers.clients import ProviderConfig, Providers
from backend.providers.retell.payloads import read_delivery
from backend.services.intake.inbox import Stored, store
from backend.services.reconciliation.calls import reconcile_calls
from backend.services.reconciliation.differences import prune
from backend.services.reconciliation.running import (
    SYSTEM,
    Account,
    NoKey,
    PoolScope,
    Report,
    RunUnderWay,
    accounts,
    run,
    window,
)
from tests.fakes.retell import (
    BROKEN_JSON,
    FAILING,
    KEY,
    PAGE_AGAIN,
    Fault,
    RetellFake,
    busy,
    call_of,
    ongoing,
    running_retell,
)
from tests.providers.clocks import HandClock
from tests.services.conftest import Salon

NOW = datetime.now(UTC).replace(microsecond=0)
ACCOUNT = Account(SYSTEM, "retell_api_key")


def ms(minutes_ago: float) -> int:
    return int((NOW - timedelta(minutes=minutes_ago)).timestamp() * 1000)


@dataclass
class Scene:
    """The salon, the provider, and whoever reconciles."""

    salon: Salon
    setup: Connection
    fake: RetellFake
    providers: Providers
    scope: PoolScope
    secrets: dict[str, str]

    async def reconcile(self, **how: object) -> Report:
        """One run by schedule, as the job does it."""
        given: dict[str, Any] = {"cause": RunCause.SCHEDULE, "holder": "test", "now": NOW, **how}
        account = given.pop("account", ACCOUNT)
        return await reconcile_calls(self.scope, self.providers, account, **given)

    async def deliver(self, event: str, call: dict[str, Any]) -> Stored:
        """A webhook that came."""
        (stored,) = await store(self.setup, [read_delivery(json.dumps({"event": event, "call": call}).encode(), ())])
        return stored

    async def fold(self, *call_ids: str) -> None:
        """What the jobs do with what is in the inbox."""
        for call_id in call_ids:
            await self.salon.fold(call_id)

    async def inbox(self) -> list[str]:
        """Keys of all deliveries."""
        return [row[0] for row in await self.setup.fetch("select dedup_key from webhook_inbox order by 1")]

    async def noted(self) -> list[tuple[str, str, str]]:
        """Kind, subject and action of all differences."""
        rows = await self.setup.fetch("select kind, subject, action from reconciliation_differences order by 1, 2")
        return [tuple(row) for row in rows]


@pytest.fixture
async def scene(salon: Salon, setup: Connection) -> AsyncIterator[Scene]:
    with running_retell() as fake:
        secrets = {"retell_api_key": KEY}
        config = ProviderConfig(
            retell_url=fake.url,
            secret=secrets.get,
            clock=HandClock(),
            timeouts=Timeouts(connect_s=1.0, total_s=2.0),
        )
        providers = Providers(config)
        yield Scene(salon, setup, fake, providers, PoolScope(salon.pool), secrets)
        await providers.aclose()


def kinds(report: Report) -> list[tuple[DifferenceKind, str]]:
    return [(difference.kind, difference.subject) for difference in report.differences]


async def test_a_lost_end_is_recovered_and_the_late_webhook_has_no_second_effect(scene: Scene) -> None:
    call = call_of("call_1", ms(30))
    scene.fake.add(call)
    await scene.deliver("call_started", ongoing("call_1", ms(30)))
    report = await scene.reconcile()
    assert kinds(report) == [(DifferenceKind.END_MISSING, "call_1")]
    assert (report.state, report.unrepaired, report.listed) == (RunState.DONE, 0, 1)
    await scene.fold("call_1")
    row = await scene.setup.fetchrow(
        "select c.status, c.duration_ms, c.transcript, c.recording_url, c.cost_cents, p.last_name "
        "from calls c join customers p on p.id = c.customer_id"
    )
    assert row is not None
    assert tuple(row) == (
        "ended",
        90_000,
        "Agent: Hallo.\nUser: Guten Tag.",
        "https://recordings.example/call_1.wav",
        12,
        "Müller",
    )
    assert await scene.deliver("call_ended", call) is Stored.DUPLICATE
    assert kinds(await scene.reconcile()) == []


async def test_a_call_of_which_nothing_came_appears_and_goes_to_its_company(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(45)), ongoing("call_2", ms(5)))
    assert kinds(await scene.reconcile()) == [
        (DifferenceKind.CALL_MISSING, "call_1"),
        (DifferenceKind.CALL_MISSING, "call_2"),
    ]
    await scene.fold("call_1", "call_2")
    rows = await scene.setup.fetch("select provider_call_id, status, company_id from calls order by 1")
    assert [tuple(row) for row in rows] == [
        ("call_1", "ended", scene.salon.company_id),
        ("call_2", "ongoing", scene.salon.company_id),
    ]
    assert await scene.inbox() == ["call_analyzed:call_1", "call_ended:call_1", "call_started:call_2"]
    assert await scene.setup.fetchval("select count(*) from pgqueuer where entrypoint = 'webhooks.retell_call'") == 3


async def test_what_may_still_be_delivered_is_left_alone(scene: Scene) -> None:
    scene.fake.add(
        ongoing("call_rings", ms(2)),
        call_of("call_just_over", ms(4)),
        call_of("call_not_analysed", ms(30), call_analysis=None),
        call_of("call_being_analysed", ms(9)),
    )
    for call_id in ("call_not_analysed", "call_being_analysed"):
        await scene.deliver("call_ended", scene.fake.calls[call_id])
    assert kinds(await scene.reconcile()) == []


async def test_an_analysis_that_never_came_is_taken_in_and_books(scene: Scene) -> None:
    wish = {
        "service": "schnitt",
        "staff": "anna",
        "branch": "mitte",
        "starts_at": (NOW + timedelta(days=3)).isoformat(),
    }
    found = {"customer_name": "Hans Müller", "outcome": "booked", "booking": wish}
    call = call_of("call_1", ms(30), call_analysis={"call_summary": "Books.", "custom_analysis_data": found})
    scene.fake.add(call)
    await scene.deliver("call_ended", {**call, "call_analysis": None})
    assert kinds(await scene.reconcile()) == [(DifferenceKind.ANALYSIS_MISSING, "call_1")]
    folded = await scene.salon.fold("call_1")
    assert folded is not None
    assert folded.booking is not None
    assert folded.booking.service == "schnitt"


async def test_a_call_to_a_number_that_nobody_has_is_quarantined(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(30), to_number="+49309999999", agent_id="agent_x"))
    assert kinds(await scene.reconcile()) == [(DifferenceKind.CALL_UNASSIGNED, "call_1")]
    states = await scene.setup.fetch("select state, dialled from webhook_inbox")
    assert {tuple(row) for row in states} == {("quarantined", "+49309999999")}
    assert kinds(await scene.reconcile()) == []


async def test_a_run_that_is_broken_off_goes_on_where_it_got_to(scene: Scene) -> None:
    scene.fake.add(*(call_of(f"call_{number}", ms(300 - number)) for number in range(6)))
    scene.fake.misbehave(FAILING, times=3, on="/v3/", after=2)
    first = await scene.reconcile(page=2)
    assert (first.state, first.retry_s > 0, len(first.differences)) == (RunState.DELAYED, True, 4)
    begins, _ = await window(scene.scope, Provider.RETELL, ACCOUNT, RunCause.SCHEDULE, NOW)
    assert begins == NOW - timedelta(minutes=297, hours=1)
    second = await scene.reconcile(page=2)
    assert (second.state, kinds(second)) == (
        RunState.DONE,
        [(DifferenceKind.CALL_MISSING, "call_4"), (DifferenceKind.CALL_MISSING, "call_5")],
    )
    states = await scene.setup.fetch("select state, error is not null from reconciliation_runs order by started_at")
    assert [tuple(row) for row in states] == [("delayed", True), ("done", False)]


async def test_a_page_that_comes_again_is_gone_past(scene: Scene) -> None:
    scene.fake.add(*(call_of(f"call_{number}", ms(300 - number)) for number in range(5)))
    scene.fake.misbehave(PAGE_AGAIN, on="/v3/", after=1)
    report = await scene.reconcile(page=2)
    assert (report.state, report.listed, len(report.differences)) == (RunState.DONE, 5, 5)


async def test_a_list_that_goes_in_circles_ends(scene: Scene) -> None:
    scene.fake.add(*(call_of(f"call_{number}", ms(300 - number)) for number in range(5)))
    scene.fake.misbehave(PAGE_AGAIN, times=50, on="/v3/", after=1)
    report = await scene.reconcile(page=2)
    assert (report.state, report.error, report.listed) == (RunState.DELAYED, "the list of calls goes in circles", 2)


async def test_a_provider_that_asks_to_wait_is_left_alone_for_so_long(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(30)))
    scene.fake.misbehave(busy("240"))
    report = await scene.reconcile()
    assert (report.state, report.retry_s) == (RunState.DELAYED, 240)
    asked = len(scene.fake.requests)
    again = await scene.reconcile()
    assert (again.state, len(scene.fake.requests)) == (RunState.DELAYED, asked), "it is not even asked"
    assert await scene.setup.fetchval("select retry_at > ended_at + interval '3 minutes' from reconciliation_runs")


@pytest.mark.parametrize("fault", [FAILING, BROKEN_JSON])
async def test_nothing_is_lost_while_the_provider_is_down(scene: Scene, fault: Fault) -> None:
    scene.fake.add(call_of("call_1", ms(30)))
    scene.fake.misbehave(fault, times=3)
    report = await scene.reconcile()
    assert (report.state, report.differences) == (RunState.DELAYED, [])
    scene.fake.behave()
    assert kinds(await scene.reconcile(now=NOW + timedelta(minutes=1))) == [(DifferenceKind.CALL_MISSING, "call_1")]


async def test_a_key_that_is_refused_is_a_failed_run(scene: Scene) -> None:
    scene.secrets["retell_api_key"] = "key_wrong"
    report = await scene.reconcile()
    assert (report.state, report.error) == (RunState.FAILED, "401 Invalid API key")


@pytest.mark.parametrize("key", ["", "key_demo_0123456789"])
async def test_without_a_real_key_nobody_is_asked(scene: Scene, key: str) -> None:
    scene.secrets["retell_api_key"] = key
    with pytest.raises(NoKey, match="retell_api_key"):
        await scene.reconcile()
    assert scene.fake.requests == []
    assert scene.fake.refused_keys == 0


async def test_two_runs_at_once_have_one_effect(scene: Scene) -> None:
    scene.fake.add(*(call_of(f"call_{number}", ms(60 - number)) for number in range(5)))
    ended = await asyncio.gather(
        *(scene.reconcile(holder=f"worker {number}") for number in range(4)), return_exceptions=True
    )
    reports = [one for one in ended if isinstance(one, Report)]
    assert all(isinstance(one, Report | RunUnderWay) for one in ended)
    assert sum(len(report.differences) for report in reports) == 5
    assert len(await scene.inbox()) == 10
    assert len(await scene.noted()) == 5


async def test_a_run_whose_holder_died_is_taken_over(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(30)))
    report = Report(Provider.RETELL, SYSTEM, NOW - timedelta(hours=2), NOW)
    died = run(scene.scope, ACCOUNT, report, cause=RunCause.SCHEDULE, holder="job 7")
    await died.__aenter__()
    with pytest.raises(RunUnderWay):
        await scene.reconcile(holder="job 8")
    assert (await scene.reconcile(holder="job 7")).state is RunState.DONE, "the same job, started again"
    await died.__aexit__(None, None, None)


async def test_calls_that_go_on_for_long_end_as_the_provider_says(scene: Scene) -> None:
    for call_id, minutes in (("call_over", 2000), ("call_gone", 2000), ("call_talks", 30), ("call_unknown", 20)):
        await scene.deliver("call_started", ongoing(call_id, ms(minutes)))
        await scene.fold(call_id)
    scene.fake.add(call_of("call_over", ms(2000)), ongoing("call_talks", ms(30)))
    report = await scene.reconcile()
    assert sorted(kinds(report)) == [
        (DifferenceKind.CALL_UNKNOWN_THERE, "call_gone"),
        (DifferenceKind.END_MISSING, "call_over"),
    ]
    await scene.fold("call_over")
    rows = await scene.setup.fetch("select provider_call_id, status, disconnection_reason from calls order by 1")
    assert [tuple(row) for row in rows] == [
        ("call_gone", "ended", "closed_as_unknown"),
        ("call_over", "ended", "user_hangup"),
        ("call_talks", "ongoing", None),
        ("call_unknown", "ongoing", None),
    ]


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(30)), call_of("call_2", ms(20)))
    await scene.deliver("call_started", ongoing("call_2", ms(20)))
    await scene.fold("call_2")
    report = await scene.reconcile(is_dry=True, cause=RunCause.COMMAND)
    assert kinds(report) == [(DifferenceKind.CALL_MISSING, "call_1"), (DifferenceKind.END_MISSING, "call_2")]
    assert (await scene.inbox(), await scene.noted()) == (["call_started:call_2"], [])
    assert await scene.setup.fetchval("select count(*) from reconciliation_runs") == 0


async def test_a_company_with_an_account_of_its_own_takes_in_only_its_own_calls(scene: Scene) -> None:
    await scene.setup.execute(
        """update companies set settings = '{"retell": {"api_key_secret": "retell_anna"}}' where slug = 'salon-anna'"""
    )
    scene.secrets["retell_anna"] = KEY
    system, own = await accounts(scene.scope, Provider.RETELL)
    assert (system, own.secret, own.company_id) == (ACCOUNT, "retell_anna", scene.salon.company_id)
    scene.fake.add(call_of("call_1", ms(30)), call_of("call_2", ms(29), to_number="+49309999999", agent_id="agent_x"))
    assert kinds(await scene.reconcile(account=own)) == [(DifferenceKind.CALL_MISSING, "call_1")]


async def test_what_is_old_is_forgotten_and_what_nobody_sees_any_more_is_settled(scene: Scene) -> None:
    scene.fake.add(call_of("call_1", ms(30), agent_id=7), call_of("call_2", ms(30)))
    await scene.reconcile()
    await scene.reconcile(now=NOW + timedelta(minutes=1))
    async with scene.scope.housekeeping() as connection:
        assert await prune(connection) == 0
    async with scene.scope.tenant(scene.salon.company_id) as connection:
        await connection.execute(
            "update reconciliation_differences set seen_at = now() - interval '15 days', "
            "resolved_at = case when resolved_at is not null then now() - interval '91 days' end"
        )
        await connection.execute("update reconciliation_runs set started_at = now() - interval '91 days'")
    async with scene.scope.housekeeping() as connection:
        assert await prune(connection) == 2
    rows = await scene.setup.fetch("select subject, resolved_at is not null from reconciliation_differences")
    assert [tuple(row) for row in rows] == [("call_1", True)]
    assert await scene.setup.fetchval("select count(*) from reconciliation_runs") == 1
