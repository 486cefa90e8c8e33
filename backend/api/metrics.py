"""`/metrics` for Prometheus: this process's own figures, and the system's from the snapshots."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from backend.api.access import require_reader
from backend.api.coalesced import Coalesced
from backend.api.exposition import own_figures
from backend.api.problems import send_bytes
from backend.api.resources import Resources
from backend.watch.metrics import system_figures
from backend.watch.prometheus import CONTENT_TYPE
from backend.watch.snapshots import DOMAINS

METRICS = "/metrics"


class Metrics:
    """Answers `GET /metrics`."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._snapshots = Coalesced(tuple(DOMAINS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scrape."""
        require_reader(scope, self._resources.config.dashboard_token)
        readings = await self._snapshots.load(self._resources.running.reader)
        text = own_figures(self._resources) + system_figures(readings.values())
        await send_bytes(send, 200, text.encode(), content_type=CONTENT_TYPE.encode())
