"""Tokens of the HTTP API: made, listed, rotated and revoked by operators, recognised by the API.

A token reads `ap_live_<id>_<secret>`: eight characters that name it and 32 random bytes. It is shown once, when it is
made; kept is only its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import TokenScope
from backend.postgres.pools import Connection

PREFIX = "ap_live_"

LONGEST_LIFE = timedelta(days=731)
"""No token is good for longer."""

SECRET_BYTES = 32

_FORM = re.compile(r"ap_live_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_DIGITS = "23456789"

_COMPANY = "select id from companies where slug = $1"

_SLUGS = "select slug from companies order by slug"

_INSERT = """
    insert into api_tokens (id, company_id, name, scopes, digest, created_by, expires_at, rotated_from)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""

_LIST = """
    select t.id, c.slug as company, t.name, t.scopes, t.created_by, t.created_at, t.expires_at, t.last_used_at,
           t.revoked_at, t.rotated_from,
           case when t.revoked_at is not null then 'revoked' when t.expires_at <= now() then 'expired'
                when not c.is_active then 'company inactive' else 'good' end as state
    from api_tokens t
    join companies c on c.id = t.company_id
    where $1::text is null or c.slug = $1
    order by c.slug, t.created_at, t.id
"""

_REVOKE = """
    with present as materialized (
        select id, revoked_at from api_tokens where id = $1
    ), revoked as (
        update api_tokens set revoked_at = now() where id = $1 and revoked_at is null returning id
    )
    select present.id, revoked.id is not null as is_new from present left join revoked on true
"""

_ROTATED = """
    select t.company_id, t.name, t.scopes, t.created_at, t.expires_at, t.revoked_at,
           greatest(t.expires_at - t.created_at, interval '1 hour') as life
    from api_tokens t where t.id = $1 for update of t
"""

_SHORTEN = "update api_tokens set expires_at = least(expires_at, $2) where id = $1"

_FIND = "select company_id, digest, scopes, touch from api_token($1)"

_USED = "select api_token_used($1)"


class TokenRefused(Exception):
    """A token that can't be made or changed like this; the message says why, in a sentence."""


class CompanyUnknown(TokenRefused):
    """There is no company of that slug."""

    def __init__(self, slug: str, slugs: tuple[str, ...]) -> None:
        self.slug = slug
        self.slugs = slugs
        """Those that there are."""
        super().__init__(f"There is no company {slug}.")


class TokenUnknown(TokenRefused):
    """There is no token of that id."""


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made: the only time that it is known whole."""

    id: str
    token: str
    company: str
    name: str
    scopes: tuple[TokenScope, ...]
    expires_at: datetime
    old_expires_at: datetime | None = None
    """Until when the token that it takes the place of is good."""


class TokenLine(msgspec.Struct, frozen=True, kw_only=True):
    """One token in a list; its secret is known to nobody here."""

    id: str
    company: str
    name: str
    scopes: tuple[TokenScope, ...]
    state: str
    """good, expired, revoked, company inactive."""
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    """To the minute."""
    revoked_at: datetime | None
    rotated_from: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: a token of one company."""

    company_id: UUID
    token_id: str
    scopes: frozenset[TokenScope]

    def may(self, scope: TokenScope) -> bool:
        """Whether the token has the scope, or the one for writing that includes it."""
        return scope in self.scopes or scope.value.replace(":read", ":write") in self.scopes

    @property
    def actor(self) -> str:
        """How the caller stands in the events of what it changes."""
        return f"api:{self.token_id}"


async def create_token(
    connection: Connection,
    company: str,
    *,
    name: str,
    scopes: Iterable[TokenScope],
    life: timedelta,
    created_by: str = "",
) -> NewToken:
    """Make a token for the company of that slug, good for `life`. Needs the setup role.

    Raises CompanyUnknown; TokenRefused for no scope, an empty name, or a life of nothing or over two years.
    """
    kept = tuple(sorted(set(scopes)))
    if not kept:
        raise TokenRefused("A token needs at least one scope.")
    if not 1 <= len(name) <= 200:
        raise TokenRefused("A token needs a name of at most 200 characters.")
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise TokenRefused(f"A token is good for at most {LONGEST_LIFE.days} days.")
    company_id = await connection.fetchval(_COMPANY, company)
    if company_id is None:
        raise CompanyUnknown(company, tuple(row["slug"] for row in await connection.fetch(_SLUGS)))
    token_id, token = _make()
    expires_at = datetime.now(UTC) + life
    await connection.execute(
        _INSERT,
        token_id,
        company_id,
        name,
        [scope.value for scope in kept],
        digest(token),
        created_by,
        expires_at,
        None,
    )
    return NewToken(id=token_id, token=token, company=company, name=name, scopes=kept, expires_at=expires_at)


async def list_tokens(connection: Connection, company: str | None = None) -> list[TokenLine]:
    """The tokens of one company, or of all. Raises CompanyUnknown."""
    if company is not None and await connection.fetchval(_COMPANY, company) is None:
        raise CompanyUnknown(company, tuple(row["slug"] for row in await connection.fetch(_SLUGS)))
    return [msgspec.convert(dict(row), TokenLine) for row in await connection.fetch(_LIST, company)]


async def revoke_token(connection: Connection, token_id: str) -> bool:
    """End a token at once; False when it was revoked before. Needs the setup role. Raises TokenUnknown."""
    row = await connection.fetchrow(_REVOKE, token_id)
    if row is None:
        raise await _unknown(connection, token_id)
    is_new: bool = row["is_new"]
    return is_new


async def rotate_token(
    connection: Connection, token_id: str, *, overlap: timedelta, life: timedelta | None = None, created_by: str = ""
) -> NewToken:
    """A new token with the same company, name and scopes; the old one is good for `overlap` longer.

    The new one lives for as long as the old one was made to, unless `life` is given. Needs the setup role.
    Raises TokenUnknown; TokenRefused when the token is revoked, or a time makes no sense.
    """
    if overlap < timedelta(0):
        raise TokenRefused("An overlap can't be negative.")
    if life is not None and not timedelta(0) < life <= LONGEST_LIFE:
        raise TokenRefused(f"A token is good for at most {LONGEST_LIFE.days} days.")
    async with connection.transaction():
        row = await connection.fetchrow(_ROTATED, token_id)
        if row is None:
            raise await _unknown(connection, token_id)
        if row["revoked_at"] is not None:
            raise TokenRefused(f"The token {token_id} is revoked: make a new one instead.")
        company: str = await connection.fetchval("select slug from companies where id = $1", row["company_id"])
        new_id, token = _make()
        now = datetime.now(UTC)
        expires_at = now + (life or row["life"])
        await connection.execute(
            _INSERT,
            new_id,
            row["company_id"],
            row["name"],
            row["scopes"],
            digest(token),
            created_by,
            expires_at,
            token_id,
        )
        # At once means now; only a token made in this very moment cannot end before it began.
        old_expires_at = min(row["expires_at"], max(now + overlap, row["created_at"] + timedelta(microseconds=1)))
        await connection.execute(_SHORTEN, token_id, old_expires_at)
    return NewToken(
        id=new_id,
        token=token,
        company=company,
        name=row["name"],
        scopes=tuple(TokenScope(scope) for scope in row["scopes"]),
        expires_at=expires_at,
        old_expires_at=old_expires_at,
    )


async def find_caller(connection: Connection, token: str) -> Caller | None:
    """Who a token belongs to; None when it is malformed, unknown, wrong, expired or revoked.

    One round trip, and once a minute for each token another that notes its use. Needs no tenant.
    """
    form = _FORM.fullmatch(token)
    if form is None:
        return None
    row = await connection.fetchrow(_FIND, form[1])
    kept = bytes(32) if row is None else row["digest"]
    if not hmac.compare_digest(digest(token), kept) or row is None:
        return None
    if row["touch"]:
        await connection.execute(_USED, form[1])
    return Caller(row["company_id"], form[1], frozenset(TokenScope(scope) for scope in row["scopes"]))


def digest(token: str) -> bytes:
    """What is kept of a token: its SHA-256. It has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode()).digest()


def token_id_of(token: str) -> str | None:
    """The id in a well-formed token; None for anything else. Says nothing about whether the token is good."""
    form = _FORM.fullmatch(token)
    return None if form is None else form[1]


def _make() -> tuple[str, str]:
    """A new id and its token. An id has a digit, so that it can't be taken for a word."""
    token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(7)) + secrets.choice(_DIGITS)
    return token_id, f"{PREFIX}{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


async def _unknown(connection: Connection, token_id: str) -> TokenUnknown:
    if token_id.startswith(PREFIX):
        return TokenUnknown("Give the token's id, which `askpro token list` shows, never the token itself.")
    known: int = await connection.fetchval("select count(*) from api_tokens")
    return TokenUnknown(f"There is no token {token_id[:40]} (there are {known}).")
