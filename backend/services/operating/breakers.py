"""Breakers by hand: closed at once. To hold one open is to pause its provider (`pauses`)."""

from __future__ import annotations

import msgspec

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection
from backend.services.operating.audit import By, record
from backend.services.operating.pauses import Resumed, resume
from backend.services.operating.refusals import AlreadySo
from backend.services.operating.subjects import known_provider

_RESET = """
insert into breaker_resets (provider, reset_by) values ($1, $2)
on conflict (provider) do update set reset_by = excluded.reset_by, reset_at = now()
"""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What closing a breaker did."""

    provider: str
    resumed: Resumed | None
    """None when the provider was not paused."""


async def close_breaker(
    connection: Connection, by: By, provider: str, *, reason: str, ramp_s: int | None = None
) -> Closed:
    """Let calls out again at once, whatever the breakers have learned. Raises NotPossible, asyncpg's errors."""
    known_provider(provider)
    try:
        resumed = await resume(connection, by, PauseKind.PROVIDER, provider, ramp_s=ramp_s, reason=reason)
    except AlreadySo:
        resumed = None
    await connection.execute(_RESET, provider, by.actor)
    await record(connection, by, "breaker.close", provider, reason=reason, detail={"was_paused": resumed is not None})
    return Closed(provider=provider, resumed=resumed)
