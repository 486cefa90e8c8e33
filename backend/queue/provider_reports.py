"""What a worker process tells about the providers that it calls: their breakers, how long calls take, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import BreakerState, Provider
from backend.postgres.pools import Pool
from backend.providers.breaker import Breaker
from backend.providers.calling import EndpointFigures, ProviderClient
from backend.providers.clients import ProviderConfig, Providers
from backend.queue.control import Control
from backend.queue.outages import TRANSIENT, Patience

TELL_S = 10.0
"""A used client is reported so often, and at once when its breaker changes."""

LAST_WORD_S = 2.0
"""Longest wait for the last report."""

KEEP = timedelta(hours=1)
"""Reports of processes that ended are deleted after so long."""

_TELL = """
with gone as (
    delete from provider_state where updated_at < now() - $9::interval
)
insert into provider_state as known (provider, worker_id, breaker, open_until, opened, calls, failures, endpoints)
values ($1, $2, $3, now() + $4::interval, $5, $6, $7, $8::jsonb)
on conflict (provider, worker_id) do update
set breaker = excluded.breaker, open_until = excluded.open_until, opened = excluded.opened, calls = excluded.calls,
    failures = excluded.failures, endpoints = excluded.endpoints, updated_at = now(),
    since = case when known.breaker = excluded.breaker then known.since else now() end
"""


class ProviderReports:
    """The providers of one worker, and the reports about them."""

    def __init__(self, config: ProviderConfig, pool: Pool, worker_id: UUID) -> None:
        self.providers = Providers(config, self._changed)
        self._pool = pool
        self._worker_id = worker_id
        self._news = asyncio.Event()
        self._resets: dict[str, float] | None = None
        """Those that happened so far; None before the first word about them."""

    def heed(self, control: Control) -> None:
        """Leave providers alone that are paused; close the breakers that somebody closed since the last word."""
        held, resets = control.held_open(time.monotonic()), dict(control.resets)
        self.providers.hold({provider: held[provider] for provider in Provider if provider in held})
        if self._resets is not None:
            for provider in Provider:
                if resets.get(provider) != self._resets.get(provider):
                    self.providers.close_breaker(provider)
        self._resets = resets

    def _changed(self, _breaker: Breaker) -> None:
        self._news.set()

    async def run(self) -> None:
        """Report until cancelled. Nothing is written while no provider is called."""
        patience = Patience("telling about providers")
        while True:
            try:
                async with asyncio.timeout(TELL_S):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self.tell()
            except TRANSIENT as error:
                await patience.wait(error)
            else:
                patience.over()

    async def tell(self) -> None:
        """Write one report for each provider that was called. Raises asyncpg's errors."""
        for provider, client in self.providers.used.items():
            figures = client.figures.values()
            await self._pool.execute(
                _TELL,
                provider.value,
                self._worker_id,
                client.breaker.state.value,
                _open_for(client),
                client.breaker.opened,
                sum(one.durations.count for one in figures),
                sum(one.outcomes.get("unreachable", 0) for one in figures),
                msgspec.json.encode({name: _told(one) for name, one in client.figures.items()}).decode(),
                KEEP,
            )

    async def aclose(self) -> None:
        """Report a last time, if that is possible at once, and close the providers' connections."""
        with contextlib.suppress(*TRANSIENT):
            async with asyncio.timeout(LAST_WORD_S):
                await self.tell()
        await self.providers.aclose()


def _open_for(client: ProviderClient) -> timedelta | None:
    if client.breaker.state is BreakerState.CLOSED or client.breaker.is_held:
        return None
    return timedelta(seconds=client.breaker.retry_after_s / client.clock.speed)


def _told(figures: EndpointFigures) -> dict[str, int | float | None]:
    durations = figures.durations
    return {**figures.outcomes, "p50_s": durations.quantile(0.5), "p99_s": durations.quantile(0.99)}
