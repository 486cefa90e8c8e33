"""API tokens: shown once, kept as a digest, good for one company until they expire or are revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.domain.vocabulary import TokenScope
from backend.postgres.address import Role
from backend.services import tokens
from backend.services.tokens import (
    CompanyUnknown,
    TokenRefused,
    TokenUnknown,
    create_token,
    find_caller,
    list_tokens,
    revoke_token,
    rotate_token,
)
from backend.stack.log_records import redact
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection

DAY = timedelta(days=1)


@pytest.fixture
async def setup(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.SETUP)


@pytest.fixture
async def api(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.API)


@pytest.fixture
async def superuser(superuser_connection: SuperuserConnection) -> OwnConnection:
    return await superuser_connection()


@pytest.fixture
async def company(setup: OwnConnection) -> UUID:
    company_id: UUID = await setup.fetchval(
        "insert into companies (slug, name) values ('praxis', 'Praxis Ost') returning id"
    )
    return company_id


async def a_token(setup: OwnConnection, **changes: object) -> tokens.NewToken:
    given: dict[str, object] = {"name": "till", "scopes": [TokenScope.APPOINTMENTS_WRITE], "life": DAY}
    return await create_token(setup, "praxis", **(given | changes))  # type: ignore[arg-type]


async def test_a_token_is_its_companys_with_its_scopes(setup: OwnConnection, api: OwnConnection, company: UUID) -> None:
    made = await a_token(setup)
    caller = await find_caller(api, made.token)
    assert caller is not None
    assert (caller.company_id, caller.token_id) == (company, made.id)
    assert caller.may(TokenScope.APPOINTMENTS_WRITE)
    assert caller.may(TokenScope.APPOINTMENTS_READ)
    assert not caller.may(TokenScope.CUSTOMERS_READ)
    reader = await find_caller(api, (await a_token(setup, scopes=[TokenScope.APPOINTMENTS_READ])).token)
    assert reader is not None
    assert not reader.may(TokenScope.APPOINTMENTS_WRITE)


async def test_anything_but_the_whole_token_is_nobody(setup: OwnConnection, api: OwnConnection, company: UUID) -> None:
    made = await a_token(setup)
    other = await a_token(setup)
    mixed = f"ap_live_{made.id}_{other.token.rsplit('_', 1)[-1]}"
    wrongs = ["", made.id, made.token[:-1], made.token + "A", made.token.upper(), mixed, f" {made.token}", "ap_live_\0"]
    flipped = made.token[:-5] + ("A" if made.token[-5] != "A" else "B") + made.token[-4:]
    for wrong in [*wrongs, flipped]:
        assert await find_caller(api, wrong) is None, wrong


async def test_the_database_keeps_no_token(setup: OwnConnection, company: UUID, superuser: OwnConnection) -> None:
    made = await a_token(setup)
    row = await superuser.fetchrow("select * from askpro.api_tokens")
    assert row is not None
    assert made.token.rsplit(f"{made.id}_", 1)[1] not in str(dict(row))
    assert bytes(row["digest"]) == tokens.digest(made.token)


async def test_an_expired_a_revoked_and_an_inactive_companys_token_are_nobodys(
    setup: OwnConnection, api: OwnConnection, company: UUID, superuser: OwnConnection
) -> None:
    expired, revoked, good = [await a_token(setup) for _ in range(3)]
    await superuser.execute(
        "update askpro.api_tokens set created_at = now() - interval '2 days', expires_at = now() where id = $1",
        expired.id,
    )
    assert await revoke_token(setup, revoked.id)
    assert not await revoke_token(setup, revoked.id)
    assert await find_caller(api, expired.token) is None
    assert await find_caller(api, revoked.token) is None
    assert await find_caller(api, good.token) is not None
    assert [line.state for line in await list_tokens(setup, "praxis")] == ["expired", "revoked", "good"]
    await setup.execute("update companies set is_active = false")
    assert await find_caller(api, good.token) is None


async def test_a_use_is_noted_once_a_minute(
    setup: OwnConnection, api: OwnConnection, company: UUID, superuser: OwnConnection
) -> None:
    made = await a_token(setup)
    wrong = made.token[:-5] + ("A" if made.token[-5] != "A" else "B") + made.token[-4:]

    async def last_used() -> datetime | None:
        (line,) = await list_tokens(setup)
        return line.last_used_at

    await find_caller(api, wrong)
    assert await last_used() is None
    await find_caller(api, made.token)
    first = await last_used()
    assert first is not None
    await find_caller(api, made.token)
    assert await last_used() == first
    await superuser.execute("update askpro.api_tokens set last_used_at = now() - interval '61 seconds'")
    await find_caller(api, made.token)
    later = await last_used()
    assert later is not None
    assert later >= first


async def test_rotating_leaves_both_good_for_the_overlap(
    setup: OwnConnection, api: OwnConnection, company: UUID
) -> None:
    old = await a_token(setup, life=90 * DAY)
    new = await rotate_token(setup, old.id, overlap=timedelta(hours=1))
    assert (new.name, new.scopes) == (old.name, old.scopes)
    assert new.expires_at - datetime.now(UTC) > 89 * DAY
    assert new.old_expires_at is not None
    assert new.old_expires_at < datetime.now(UTC) + timedelta(hours=2)
    assert await find_caller(api, old.token) is not None
    assert await find_caller(api, new.token) is not None
    newest = await rotate_token(setup, new.id, overlap=timedelta(0), life=DAY)
    assert await find_caller(api, new.token) is None
    assert await find_caller(api, newest.token) is not None
    assert [line.rotated_from for line in await list_tokens(setup)] == [None, old.id, new.id]


async def test_what_cannot_be_made_is_told(setup: OwnConnection, company: UUID) -> None:
    wrongs: tuple[dict[str, object], ...] = (
        {"scopes": []},
        {"name": ""},
        {"life": timedelta(0)},
        {"life": 800 * DAY},
    )
    for wrong in wrongs:
        with pytest.raises(TokenRefused):
            await a_token(setup, **wrong)
    with pytest.raises(CompanyUnknown) as caught:
        await create_token(setup, "praxi", name="x", scopes=[TokenScope.CALLS_READ], life=DAY)
    assert caught.value.slugs == ("praxis",)
    with pytest.raises(TokenUnknown):
        await revoke_token(setup, "aaaaaaa2")
    revoked = await a_token(setup)
    await revoke_token(setup, revoked.id)
    with pytest.raises(TokenRefused, match="revoked"):
        await rotate_token(setup, revoked.id, overlap=DAY)


async def test_no_role_that_serves_requests_reads_a_digest(
    setup: OwnConnection, company: UUID, open_connection: OpenConnection
) -> None:
    await a_token(setup)
    for role in Role:
        if role is Role.MIGRATE:
            continue
        connection = await open_connection(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("select digest from api_tokens")


async def test_a_token_in_a_log_line_is_hidden(setup: OwnConnection, company: UUID) -> None:
    for _ in range(20):
        made = await a_token(setup)
        for text in (f"Authorization: Bearer {made.token}", f"?token={made.token}&x", f"got {made.token}.", made.token):
            told = redact(text)
            assert made.token.rsplit(f"{made.id}_", 1)[1][:8] not in told, told
    without_digits = "ap_live_abcdefgh_" + "A" * 43
    assert "A" * 8 not in redact(f"got {without_digits}")
