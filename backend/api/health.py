"""`/livez`: this process is not stuck. `/readyz`: it can do its work, and is not about to stop."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Scope, Send

from backend.api.problems import send_json
from backend.api.resources import Resources
from backend.postgres.migrate import MigrationError, pending
from backend.postgres.pools import DATABASE_ERRORS, Pool

LIVEZ = "/livez"
READYZ = "/readyz"

STUCK_S = 5.0
"""A loop that lags more is stuck."""

CACHE_S = 1.0
"""Probes get the same answer for so long, so that they cost the database nothing."""

PROBE_S = 1.0
"""Longest wait for a connection, and again for the database's answer."""

SCHEMA_CACHE_S = 30.0
"""A schema that was at head is looked at again after so long."""


class Livez:
    """200 while the event loop turns, 503 when it lagged by seconds lately. Asks nobody."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one probe."""
        lag = self._resources.lag.worst_s
        alive = lag < STUCK_S
        await send_json(
            send,
            200 if alive else 503,
            {
                "status": "pass" if alive else "fail",
                "loop_lag_s": round(lag, 3),
                "version": self._resources.config.version,
            },
        )


class Readyz:
    """200 when the database answers, its schema is this program's, and the process is not draining; else 503."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._checks: dict[str, str] = {}
        self._checked_at = float("-inf")
        self._checking: asyncio.Task[dict[str, str]] | None = None
        self._at_head_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one probe."""
        checks = {"draining": "yes" if self._resources.draining else "pass", **await self._cached()}
        ready = all(state == "pass" for state in checks.values())
        rates = self._resources.guard.rates
        content = {
            "status": "pass" if ready else "fail",
            "checks": checks,
            # Without Valkey the process does all of its work, so it is ready.
            "limits": {"mode": rates.mode, "processes": rates.processes},
        }
        await send_json(send, 200 if ready else 503, content)

    async def _cached(self) -> dict[str, str]:
        if time.monotonic() - self._checked_at < CACHE_S:
            return self._checks
        if self._checking is None:
            self._checking = asyncio.create_task(self._check(self._resources.running.pool), name="readiness")
        return await asyncio.shield(self._checking)

    async def _check(self, pool: Pool) -> dict[str, str]:
        try:
            self._checks = await self._ask(pool)
            self._checked_at = time.monotonic()
            return self._checks
        finally:
            self._checking = None

    async def _ask(self, pool: Pool) -> dict[str, str]:
        try:
            async with pool.acquire(timeout=PROBE_S) as connection:
                await connection.execute("select 1", timeout=PROBE_S)
                if time.monotonic() - self._at_head_at < SCHEMA_CACHE_S:
                    return {"database": "pass", "migrations": "pass"}
                missing = await pending(connection)
        except MigrationError as error:
            return {"database": "pass", "migrations": str(error)}
        except DATABASE_ERRORS as error:
            return {"database": type(error).__name__}  # anybody may ask, so no more than that
        if missing:
            return {"database": "pass", "migrations": f"missing: {', '.join(missing)}"}
        self._at_head_at = time.monotonic()
        return {"database": "pass", "migrations": "pass"}
