"""Answers to requests that may come twice, kept in the transaction of the effect that they tell of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from backend.postgres.pools import Connection

AT_MOST = 1_000
"""Expired answers that one transaction deletes."""

_BEGIN = "select state, status, headers::text as headers, answer from begin_idempotent($1, $2, $3, $4)"

_STORE = """
    insert into idempotency_keys (company_id, token_id, key, request, status, headers, answer, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, now() + $8::interval)
    on conflict (token_id, key) do update set
        request = excluded.request, status = excluded.status, headers = excluded.headers, answer = excluded.answer,
        created_at = now(), expires_at = excluded.expires_at
"""


class Begun(StrEnum):
    """How a request with a key begins."""

    NEW = "new"
    RUNNING = "running"
    """Another transaction works on the same key just now."""
    OTHER = "other"
    """The key was used for another request."""
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that has a key."""

    company_id: UUID
    token_id: str
    key: str
    digest: bytes
    """SHA-256 of what makes two requests the same."""


async def begin(connection: Connection, request: KeyedRequest) -> tuple[Begun, StoredAnswer | None]:
    """Begin a request in the company's transaction; until that ends, another one of the key is told `running`."""
    row = await connection.fetchrow(_BEGIN, request.company_id, request.token_id, request.key, request.digest)
    assert row is not None
    begun = Begun(row["state"])
    if begun is not Begun.STORED:
        return begun, None
    headers: dict[str, str] = msgspec.json.decode(row["headers"], type=dict[str, str])
    return begun, StoredAnswer(row["status"], headers, row["answer"])


async def store(connection: Connection, request: KeyedRequest, answer: StoredAnswer, kept: timedelta) -> None:
    """Keep an answer that had an effect, in the transaction of that effect."""
    headers = msgspec.json.encode(answer.headers).decode()
    await connection.execute(
        _STORE,
        request.company_id,
        request.token_id,
        request.key,
        request.digest,
        answer.status,
        headers,
        answer.body,
        kept,
    )


async def prune(connection: Connection) -> int:
    """Delete answers whose time is over, every tenant's; how many. Call it until it says less than `AT_MOST`."""
    pruned: int = await connection.fetchval("select prune_idempotency_keys($1)", AT_MOST)
    return pruned
