"""`/api/dashboard`: the snapshots as JSON, the same bytes for everybody until there are newer ones.

However many ask, the snapshots are read once a second at most, and while they are read the last answer is given.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from starlette.types import Receive, Scope, Send

from backend.api.access import authenticate, bearer, require, require_reader
from backend.api.coalesced import Coalesced, Readings
from backend.api.database import in_company
from backend.api.problems import Problem, send_bytes
from backend.api.resources import Resources
from backend.domain.vocabulary import TokenScope
from backend.services.tokens import PREFIX
from backend.watch.snapshots import BusinessSnapshot, CallRow, CallsSnapshot, CompanyRow, Snapshot

DASHBOARD = "/api/dashboard"

DOMAINS = ("business", "calls", "queues")

_slug = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_encode = msgspec.json.Encoder().encode


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a snapshot was read from, and why it is not newer."""

    source: str
    taken_at: float | None
    """Unix seconds; None when there is no snapshot."""
    error: str | None


class CompanyDashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One company: its day and its calls among the latest."""

    company: str
    origins: dict[str, Origin]
    today: CompanyRow
    calls: tuple[CallRow, ...]


class WholeDashboard(msgspec.Struct, frozen=True, kw_only=True):
    """All companies together."""

    origins: dict[str, Origin]
    business: Snapshot | None
    calls: Snapshot | None
    queues: Snapshot | None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer, ready to be sent."""

    body: bytes
    etag: bytes


@dataclass(slots=True)
class Pages:
    """What one load of the snapshots became, page by page."""

    readings: Readings
    ready: dict[str, Page] = field(default_factory=dict)
    """By company; the empty name stands for all."""

    def page(self, company: str) -> Page | None:
        """The page of one company, or of all when `company` is empty; None when there is no such company."""
        page = self.ready.get(company)
        if page is None:
            content = self._company(company) if company else self._whole()
            if content is None:
                return None
            page = self.ready[company] = page_of(content)
        return page

    def _origins(self) -> dict[str, Origin]:
        return {
            domain: Origin(
                source=reading.source,
                taken_at=None if reading.snapshot is None else reading.snapshot.taken_at,
                error=reading.error,
            )
            for domain, reading in self.readings.items()
        }

    def _whole(self) -> WholeDashboard:
        business, calls, queues = (self.readings[domain].snapshot for domain in DOMAINS)
        return WholeDashboard(origins=self._origins(), business=business, calls=calls, queues=queues)

    def _company(self, slug: str) -> CompanyDashboard | None:
        business = self.readings["business"].of(BusinessSnapshot)
        calls = self.readings["calls"].of(CallsSnapshot)
        today = next((row for row in business.companies if row.company == slug), None) if business else None
        if today is None:
            return None
        rows = tuple(row for row in calls.rows if row.company == slug) if calls else ()
        return CompanyDashboard(company=slug, origins=self._origins(), today=today, calls=rows)


def page_of(content: msgspec.Struct) -> Page:
    """The content as JSON with its ETag."""
    body = _encode(content)
    return Page(body=body, etag=b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode())


class Dashboard:
    """Answers `GET /api/dashboard[?company=SLUG]`, to a company's token with that company's page only."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._snapshots = Coalesced(DOMAINS)
        self._pages: Pages | None = None
        self._slugs: dict[UUID, str] = {}
        """Of companies whose tokens were used here; a slug never changes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        company = await self._company(scope)
        readings = await self._snapshots.load(self._resources.running.reader)
        if self._pages is None or self._pages.readings is not readings:
            self._pages = Pages(readings)
        page = self._pages.page(company)
        if page is None:
            raise Problem(404)
        cache = [(b"etag", page.etag), (b"cache-control", b"private, max-age=1")]
        for name, value in scope["headers"]:
            if name == b"if-none-match" and page.etag in value:
                await send({"type": "http.response.start", "status": 304, "headers": cache})
                await send({"type": "http.response.body", "body": b""})
                return
        await send_bytes(send, 200, page.body, content_type=b"application/json", headers=cache)

    async def _company(self, scope: Scope) -> str:
        """The company whose page is asked for; empty for all. With a company's token it is that company's.

        Raises a `Problem` for whoever may not see it.
        """
        if not bearer(scope).startswith(PREFIX):
            require_reader(scope, self._resources.config.dashboard_token)
            return wanted_company(scope["query_string"])
        caller = await authenticate(scope, self._resources)
        require(caller, TokenScope.DASHBOARD_READ)
        own = self._slugs.get(caller.company_id)
        if own is None:
            async with in_company(self._resources, caller.company_id) as connection:
                own = await connection.fetchval("select slug from companies where id = $1", caller.company_id)
            if own is None:
                raise Problem(404)
            self._slugs[caller.company_id] = own
        if wanted_company(scope["query_string"]) not in {"", own}:
            raise Problem(404)
        return own


def wanted_company(query: bytes) -> str:
    """The slug after `company=`; empty for all. Raises a 422 `Problem` for what can't be a slug."""
    if not query:
        return ""
    try:
        named = parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=8).get("company", [""])
    except ValueError:
        raise Problem(422, "the query cannot be read") from None
    if named == [""]:
        return ""
    if len(named) > 1 or not _slug.fullmatch(named[0]):
        raise Problem(422, "not the slug of a company", field="company")
    return named[0]
