"""Refused deliveries are counted, kept sealed within bounds, and replayed once the secret is right."""

from __future__ import annotations

import json
from datetime import timedelta

import asyncpg
import pytest

from backend.domain.vocabulary import Provider, RejectReason
from backend.postgres.address import Role
from backend.providers.calcom.signature import sign as sign_calcom
from backend.providers.retell.signature import sign as sign_retell
from backend.services.intake.rejects import KeepLimits, Rejects, network_of
from backend.services.intake.replay import UNREADABLE, reject_groups, replay
from backend.services.intake.seal import Seal, SealBroken
from tests.databases import OpenConnection, OpenPool, OwnConnection

KEY = bytes(range(32))
BODY = b'{"event":"call_started","call":{"call_id":"c1","agent_id":"a"}}'
HEADERS = {"x-retell-signature": "v=1,d=00"}


@pytest.fixture
async def setup(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.SETUP)


async def rows(connection: OwnConnection) -> list[tuple[str, str, str, int, bool]]:
    found = await connection.fetch(
        "select provider, reason, remote, count, sealed is not null from webhook_rejects order by reason, remote, id"
    )
    return [tuple(row) for row in found]


def test_a_seal_opens_with_its_key_only_and_for_its_provider_only() -> None:
    sealed = Seal(KEY).close(Provider.RETELL, HEADERS, BODY)
    assert BODY not in sealed
    opened = Seal(KEY).open(Provider.RETELL, sealed)
    assert (opened.headers, opened.body) == (HEADERS, BODY)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for key, provider, given in (
        (bytes(32), Provider.RETELL, sealed),
        (KEY, Provider.CALCOM, sealed),
        (KEY, Provider.RETELL, changed),
        (KEY, Provider.RETELL, b""),
        (KEY, Provider.RETELL, b"\x02" + sealed[1:]),
    ):
        with pytest.raises(SealBroken):
            Seal(key).open(provider, given)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(b"short")


@pytest.mark.parametrize(
    ("remote", "sender"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("local", "local"),
    ],
)
def test_a_sender_is_an_address_or_its_ipv6_network(remote: str, sender: str) -> None:
    assert network_of(remote) == sender


async def test_refusals_are_kept_up_to_a_sender_s_allowance_and_then_counted(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    rejects = Rejects(await open_role_pool(Role.API), Seal(KEY), limits=KeepLimits(per_minute=2))
    await rejects.start()
    for _ in range(5):
        rejects.note(Provider.RETELL, RejectReason.SIGNATURE_WRONG, "192.0.2.1", headers=HEADERS, body=BODY)
    rejects.note(Provider.RETELL, RejectReason.SIGNATURE_WRONG, "192.0.2.2", headers=HEADERS, body=BODY)
    rejects.note(Provider.CALCOM, RejectReason.TOO_LARGE, "192.0.2.1")
    await rejects.close()
    assert await rows(setup) == [
        ("retell", "signature_wrong", "192.0.2.1", 1, True),
        ("retell", "signature_wrong", "192.0.2.1", 1, True),
        ("retell", "signature_wrong", "192.0.2.1", 3, False),
        ("retell", "signature_wrong", "192.0.2.2", 1, True),
        ("calcom", "too_large", "192.0.2.1", 1, False),
    ]
    assert rejects.counts == {
        (Provider.RETELL, RejectReason.SIGNATURE_WRONG): 6,
        (Provider.CALCOM, RejectReason.TOO_LARGE): 1,
    }
    assert await setup.fetchval(
        "select bool_and(expires_at between now() + '71 h' and now() + '72 h') from webhook_rejects"
    )


async def test_a_flood_from_anywhere_costs_a_bounded_number_of_rows(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    limits = KeepLimits(per_minute=5, senders=10, waiting=20)
    rejects = Rejects(await open_role_pool(Role.API), Seal(KEY), limits=limits)
    await rejects.start()
    for number in range(5_000):
        remote = f"198.51.{number % 100}.{number % 250}"
        rejects.note(Provider.RETELL, RejectReason.SIGNATURE_MISSING, remote, headers={}, body=BODY)
    await rejects.close()
    assert await setup.fetchval("select sum(count) from webhook_rejects") == 5_000
    assert await setup.fetchval("select count(*) from webhook_rejects") <= 20 + 10 + 1
    assert await setup.fetchval("select count(sealed) from webhook_rejects") <= 20


async def test_nothing_is_kept_beyond_the_total(open_role_pool: OpenPool, setup: OwnConnection) -> None:
    pool = await open_role_pool(Role.API)
    for _ in range(2):
        rejects = Rejects(pool, Seal(KEY), limits=KeepLimits(total_bytes=1))
        await rejects.start()
        rejects.note(Provider.RETELL, RejectReason.STALE, "192.0.2.1", headers=HEADERS, body=BODY)
        rejects.note(Provider.RETELL, RejectReason.STALE, "192.0.2.1", headers=HEADERS, body=BODY)
        await rejects.close()
    assert await setup.fetchval("select count(sealed) from webhook_rejects") == 1
    assert await setup.fetchval("select sum(count) from webhook_rejects") == 4


async def test_refusals_noted_while_the_database_is_away_are_written_later(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    pool = await open_role_pool(Role.API, 1)
    rejects = Rejects(pool, Seal(KEY))
    await rejects.flush()
    async with pool.acquire() as connection:
        connection.terminate()
    rejects.note(Provider.RETELL, RejectReason.STALE, "192.0.2.1", headers=HEADERS, body=BODY)
    rejects.note(Provider.RETELL, RejectReason.TOO_LARGE, "192.0.2.1")
    async with pool.acquire() as connection:
        await connection.execute("set statement_timeout = '1ms'")
        await connection.execute("set default_transaction_read_only = on")
    await rejects.flush()
    assert await rows(setup) == []
    async with pool.acquire() as connection:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("set statement_timeout = '5s'")
    await rejects.flush()
    assert len(await rows(setup)) == 2


async def keep(
    open_role_pool: OpenPool, provider: Provider, reason: RejectReason, bodies: list[tuple[bytes, dict[str, str]]]
) -> None:
    rejects = Rejects(await open_role_pool(Role.API), Seal(KEY))
    await rejects.start()
    for body, headers in bodies:
        rejects.note(provider, reason, "192.0.2.1", headers=headers, body=body)
    await rejects.close()


def retell_call(number: int) -> bytes:
    call = {"call_id": f"call_{number}", "to_number": "+49301234", "direction": "inbound"}
    return json.dumps({"event": "call_started", "call": call}).encode()


async def test_after_the_key_is_mended_refused_deliveries_are_replayed_once(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    now_ms = round((await setup.fetchval("select extract(epoch from now())")) * 1000)
    good = [
        (body := retell_call(number), {"x-retell-signature": sign_retell(body, "right", now_ms)}) for number in range(3)
    ]
    forged = [(body := retell_call(9), {"x-retell-signature": sign_retell(body, "forged", now_ms)})]
    await keep(open_role_pool, Provider.RETELL, RejectReason.SIGNATURE_WRONG, good + forged)

    plan = await replay(setup, Seal(KEY), Provider.RETELL, ["right"], since=timedelta(hours=1), dry_run=True)
    assert (plan.looked_at, plan.accepted, plan.refused) == (4, {"good": 3}, {"signature_wrong": 1})
    assert await setup.fetchval("select count(*) from webhook_inbox") == 0

    done = await replay(setup, Seal(KEY), Provider.RETELL, ["right"], since=timedelta(hours=1))
    assert (done.accepted, done.refused) == ({"quarantined": 3}, {"signature_wrong": 1})
    again = await replay(setup, Seal(KEY), Provider.RETELL, ["right"], since=timedelta(hours=1))
    assert (again.looked_at, again.accepted) == (1, {})
    assert await setup.fetchval("select count(*) from webhook_inbox") == 3
    (group,) = await reject_groups(setup)
    assert (group.refused, group.kept, group.open) == (4, 4, 1)


async def test_replay_judges_the_time_of_a_signature_by_its_arrival(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    now_ms = round((await setup.fetchval("select extract(epoch from now())")) * 1000)
    late = [(body := retell_call(1), {"x-retell-signature": sign_retell(body, "right", now_ms - 400_000)})]
    await keep(open_role_pool, Provider.RETELL, RejectReason.STALE, late)
    done = await replay(setup, Seal(KEY), Provider.RETELL, ["right"], since=timedelta(hours=1))
    assert done.refused == {"stale": 1}


async def test_a_replayed_delivery_that_came_again_meanwhile_has_no_second_effect(
    open_role_pool: OpenPool, setup: OwnConnection
) -> None:
    body = b'{"triggerEvent":"BOOKING_CREATED","payload":{"uid":"bk1"}}'
    signed = [(body, {"x-cal-signature-256": sign_calcom(body, "right")})]
    await keep(open_role_pool, Provider.CALCOM, RejectReason.SIGNATURE_WRONG, signed * 2)
    done = await replay(setup, Seal(KEY), Provider.CALCOM, ["right"], since=timedelta(hours=1))
    assert done.accepted == {"quarantined": 1, "duplicate": 1}
    assert await setup.fetchval("select count(*) from webhook_inbox") == 1


async def test_what_another_key_sealed_is_reported_and_left(open_role_pool: OpenPool, setup: OwnConnection) -> None:
    await keep(open_role_pool, Provider.RETELL, RejectReason.STALE, [(BODY, HEADERS)])
    done = await replay(setup, Seal(bytes(32)), Provider.RETELL, ["right"], since=timedelta(hours=1))
    assert (done.looked_at, done.refused) == (1, {UNREADABLE: 1})


@pytest.mark.parametrize(
    "statement",
    [
        "select * from webhook_rejects",
        "delete from webhook_rejects",
        "insert into webhook_inbox (provider, dedup_key, event, subject, body, state)"
        " values ('retell', 'k', 'e', 's', '', 'accepted')",
        "update webhook_inbox set state = 'processed'",
    ],
)
async def test_the_api_may_do_nothing_to_the_inbox_but_through_its_functions(
    open_connection: OpenConnection, statement: str
) -> None:
    api = await open_connection(Role.API)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute(statement)


@pytest.mark.parametrize("role", [Role.WORKER, Role.WATCH, Role.CONSOLE])
async def test_only_the_intake_s_own_roles_may_call_its_functions(open_connection: OpenConnection, role: Role) -> None:
    connection = await open_connection(role)
    closed = ["intake_release(1)", "intake_kept_bytes()", "intake_tenant('+49', 'a')"]
    if role is not Role.WORKER:  # which puts in what a reconciliation finds
        closed.append("intake_accept('[]', '')")
    for call in closed:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"select * from {call}")
