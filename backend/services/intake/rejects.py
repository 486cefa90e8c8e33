"""Refused deliveries: counted by reason, and kept sealed for a while so that a wrong secret can be mended.

Noting one never waits and never fails, so a flood of bad requests costs little more than its answers. What is kept is
bounded for each sender and minute, and in total; what is beyond is counted only. The counts of the last half second
are lost when the process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from backend.domain.vocabulary import Provider, RejectReason
from backend.postgres.pools import ACQUIRE_TIMEOUT_S, DATABASE_ERRORS, Connection, Pool
from backend.services.intake.seal import Seal

log = logging.getLogger(__name__)

KEEP = timedelta(hours=72)
"""Life of a refused delivery."""

FLUSH_S = 0.5

MEASURE_S = 60.0
"""Time between two looks at how much is kept in the database."""

STORE = "select intake_reject($1::text[], $2::text[], $3::text[], $4::bytea[], $5::integer[], $6)"

EVERYBODY = "*"
"""Stands for the senders beyond those that are told apart."""


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """How much of what strangers send is kept."""

    per_minute: int = 600
    """Deliveries of one sender in a minute."""
    bytes_per_minute: int = 8 * 1024 * 1024
    """Their size, before sealing."""
    total_bytes: int = 256 * 1024 * 1024
    """Sealed bytes in the database, over all senders."""
    senders: int = 1_000
    """Senders that are told apart within a minute."""
    waiting: int = 1_000
    """Deliveries that wait to be written."""


@dataclass(slots=True)
class Allowance:
    """What one sender has used of this minute."""

    deliveries: int = 0
    size: int = 0


Row: TypeAlias = tuple[Provider, RejectReason, str, bytes | None, int]
"""Provider, reason, sender, what is sealed (None: counted only), and how many refusals the row stands for."""


class Rejects:
    """Notes refused deliveries for one process; `start()` before, `close()` after."""

    def __init__(self, pool: Pool, seal: Seal, *, limits: KeepLimits | None = None) -> None:
        self._pool = pool
        self._seal = seal
        self.limits = limits or KeepLimits()
        self.counts: dict[tuple[Provider, RejectReason], int] = {}
        """Refusals since the start."""
        self._kept: deque[Row] = deque()
        self._counts: dict[tuple[Provider, RejectReason, str], int] = {}
        self._allowances: dict[str, Allowance] = {}
        self._minute = 0
        self._kept_bytes: int | None = None
        """Sealed bytes in the database; None until it was asked, and then nothing is kept."""
        self._measured_at = float("-inf")
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def note(
        self,
        provider: Provider,
        reason: RejectReason,
        remote: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        """Count a refusal, and keep the delivery if it is given and the sender's allowance has room for it."""
        total = (provider, reason)
        self.counts[total] = self.counts.get(total, 0) + 1
        sender = network_of(remote)
        if body is not None and self._may_keep(sender, len(body)):
            sealed = self._seal.close(provider, headers or {}, body)
            self._kept_bytes = (self._kept_bytes or 0) + len(sealed)
            self._kept.append((provider, reason, sender, sealed, 1))
            return
        key = (provider, reason, sender)
        if key not in self._counts and len(self._counts) >= self.limits.senders:
            key = (provider, reason, EVERYBODY)
        self._counts[key] = self._counts.get(key, 0) + 1

    async def start(self) -> None:
        """Ask how much is kept already, and start writing in the running event loop."""
        await self.flush()
        self._task = asyncio.create_task(self._run(), name="rejects")

    async def close(self) -> None:
        """Write what waits, as far as the database lets us, and end."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def flush(self) -> None:
        """Write what waits; what cannot be written waits on, within its bounds."""
        rows: list[Row] = list(self._kept)
        rows += [(*key, None, count) for key, count in self._counts.items()]
        measure = time.monotonic() - self._measured_at > MEASURE_S
        if not rows and not measure:
            return
        kept, self._kept = self._kept, deque()
        counts, self._counts = self._counts, {}
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                if rows:
                    await connection.execute(STORE, *(list(column) for column in zip(*rows, strict=True)), KEEP)
                if measure:
                    await self._measure(connection)
        except DATABASE_ERRORS as error:
            self._kept.extendleft(reversed(kept))
            for key, count in counts.items():
                self._counts[key] = self._counts.get(key, 0) + count
            if not self._failing:
                log.warning("refused deliveries cannot be recorded: %s: %s", type(error).__name__, error)
            self._failing = True
        else:
            self._failing = False

    async def _run(self) -> None:
        stopping = False
        while not stopping:
            with contextlib.suppress(TimeoutError):
                stopping = await asyncio.wait_for(self._stop.wait(), FLUSH_S)
            await self.flush()

    async def _measure(self, connection: Connection) -> None:
        self._kept_bytes = await connection.fetchval("select intake_kept_bytes()")
        self._measured_at = time.monotonic()

    def _may_keep(self, sender: str, size: int) -> bool:
        limits = self.limits
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._allowances.clear()
        if (
            self._kept_bytes is None
            or self._kept_bytes >= limits.total_bytes
            or len(self._kept) >= limits.waiting
            or (sender not in self._allowances and len(self._allowances) >= limits.senders)
        ):
            return False
        used = self._allowances.setdefault(sender, Allowance())
        if used.deliveries >= limits.per_minute or used.size + size > limits.bytes_per_minute:
            return False
        used.deliveries += 1
        used.size += size
        return True


def network_of(remote: str) -> str:
    """The sender that an address stands for: itself, or its /64 for IPv6, where one sender has many addresses."""
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return remote[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
