"""Reading snapshots for everybody at once: however many ask, one load a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from backend.watch.reader import Reading, SnapshotReader

LOAD_EVERY_S = 1.0

OLDEST_S = 5.0
"""What is older than this is not given while something newer is on its way."""

Readings: TypeAlias = Mapping[str, Reading]
"""By domain. Every load makes a new mapping."""


class Coalesced:
    """Reads some domains' snapshots, at most once a second."""

    def __init__(self, domains: Sequence[str]) -> None:
        self._domains = tuple(domains)
        self._readings: Readings | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[Readings] | None = None

    async def load(self, reader: SnapshotReader) -> Readings:
        """What was read within the last second; else, while that is read anew, what was read before."""
        readings = self._readings
        age_s = time.monotonic() - self._read_at
        if readings is not None and age_s < LOAD_EVERY_S:
            return readings
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(reader), name="snapshots")
        if readings is not None and age_s < OLDEST_S:
            return readings
        return await asyncio.shield(self._reading)

    async def _read(self, reader: SnapshotReader) -> Readings:
        try:
            started = time.monotonic()
            found = await asyncio.gather(*(reader.read(domain) for domain in self._domains))
            self._readings, self._read_at = dict(zip(self._domains, found, strict=True)), started
            return self._readings
        finally:
            self._reading = None
