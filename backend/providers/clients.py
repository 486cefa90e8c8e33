"""The providers as one process calls them: one client each, made at first use, with the keys that are needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backend.domain.vocabulary import Provider
from backend.providers.breaker import Breaker, BreakerPolicy
from backend.providers.calcom.client import DEFAULT_URL, CalcomClient
from backend.providers.calling import Clock, ProviderClient, Retries, SystemClock, Timeouts

SECRET_LIFE_S = 60.0
"""A key is looked up again after so long, so that a new one needs no restart."""

RETELL_URL = "https://api.retellai.com"


def _no_secret(_name: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """Where the providers are, and how patiently they are called."""

    calcom_url: str = DEFAULT_URL
    retell_url: str = RETELL_URL
    secret: Callable[[str], str | None] = field(default=_no_secret, repr=False)
    """The value of a secret; may block, is called in a thread. Raises LookupError when it must not be read."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    clock: Clock = field(default_factory=SystemClock)
    settle_s: float = 30.0
    """What was asked for and not answered may still happen for so long, by this clock."""


class Providers:
    """All clients of one process. Belongs to one event loop; close it with `aclose()`."""

    def __init__(self, config: ProviderConfig, on_change: Callable[[Breaker], None] = lambda breaker: None) -> None:
        """`on_change` is called when a breaker changes its state."""
        self.config = config
        self._on_change = on_change
        self._clients: dict[Provider, ProviderClient] = {}
        self._secrets: dict[str, tuple[float, str]] = {}
        self._held: dict[Provider, float] = {}

    def hold(self, until: Mapping[Provider, float]) -> None:
        """Call these providers no more until then (`time.monotonic()`; inf: until told otherwise), and others again."""
        self._held = dict(until)
        for provider, client in self._clients.items():
            self._obey(provider, client.breaker)

    def close_breaker(self, provider: Provider) -> None:
        """Let calls out again and forget what failed, unless the provider is held."""
        if (client := self._clients.get(provider)) is not None and provider not in self._held:
            client.breaker.close()

    def _obey(self, provider: Provider, breaker: Breaker) -> None:
        if (until := self._held.get(provider)) is not None:
            breaker.hold(max(0.0, until - time.monotonic()) * self.clock.speed)
        else:
            breaker.let_go()

    @property
    def clock(self) -> Clock:
        """The time by which waits are counted."""
        return self.config.clock

    @property
    def used(self) -> dict[Provider, ProviderClient]:
        """The clients that have called so far, or may not call."""
        return {
            provider: client for provider, client in self._clients.items() if client.figures or client.breaker.is_held
        }

    def silent_s(self, provider: Provider) -> float:
        """How long an answer of this provider has been waited for; 0 when none is."""
        client = self._clients.get(provider)
        return 0.0 if client is None else client.silent_s

    def client(self, provider: Provider) -> ProviderClient:
        """The client of a provider."""
        found = self._clients.get(provider)
        if found is None:
            config = self.config
            url = config.calcom_url if provider is Provider.CALCOM else config.retell_url
            name = "Cal.com" if provider is Provider.CALCOM else "Retell"
            breaker = Breaker(name, config.clock.monotonic, config.breaker, self._on_change)
            found = self._clients[provider] = ProviderClient(
                name, url, breaker=breaker, clock=config.clock, timeouts=config.timeouts, retries=config.retries
            )
            self._obey(provider, breaker)
        return found

    def calendar(self, api_key: str) -> CalcomClient:
        """Cal.com with this key."""
        return CalcomClient(self.client(Provider.CALCOM), api_key)

    async def secret(self, name: str) -> str | None:
        """The value of a secret, None when it is not set. Raises LookupError when it must not be read as it is."""
        known = self._secrets.get(name)
        if known is not None and time.monotonic() - known[0] < SECRET_LIFE_S:
            return known[1]
        value = await asyncio.to_thread(self.config.secret, name)
        if value is not None:
            self._secrets[name] = (time.monotonic(), value)
        return value

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()
