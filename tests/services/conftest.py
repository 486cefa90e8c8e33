"""A salon with two branches, three staff members and three services, and the ways to work in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from backend.domain.vocabulary import Provider
from backend.domain.weeks import parse_week
from backend.postgres.address import Role
from backend.postgres.pools import Connection, Pool, tenant
from backend.services.booking import Booked, BookingRequest, Refused, book
from backend.services.calls.folding import FoldResult, fold_call_events
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from tests.databases import OpenConnection, OpenPool

ASKED_AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""When calls take place in these tests: a Monday, 09:00 in Berlin."""

SLOT = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)

SALON = CompanyDeclaration(
    slug="salon-anna",
    name="Salon Anna",
    agents=("agent_anna",),
    branches=(
        BranchDeclaration(slug="mitte", name="Mitte", numbers=("+4930123456",)),
        BranchDeclaration(slug="nord", name="Nord", numbers=("+4930123457",)),
    ),
    services=(
        ServiceDeclaration(
            slug="schnitt", name="Schnitt", duration_min=30, step_min=5, horizon_days=365, price_cents=3500
        ),
        ServiceDeclaration(
            slug="farbe", name="Farbe", duration_min=60, step_min=5, buffer_after_min=10, price_cents=8000
        ),
        ServiceDeclaration(slug="bart", name="Bart", duration_min=15, price_cents=1500),
    ),
    staff=(
        StaffDeclaration(slug="anna", name="Anna Weiß", branches=("mitte",), services=("schnitt", "farbe")),
        StaffDeclaration(slug="ben", name="Ben Kaya", branches=("mitte", "nord"), services=("schnitt",)),
        StaffDeclaration(slug="cem", name="Cem Öz", branches=("mitte",), services=("schnitt",)),
    ),
)

HOURS = {
    "anna": {"mitte": parse_week("Mon-Sun 00:00-24:00")},
    "ben": {"mitte": parse_week("Mon-Sun 00:00-20:30"), "nord": parse_week("Mon-Sun 21:00-24:00")},
    "cem": {"mitte": parse_week("Mon-Sun 00:00-24:00")},
}

OPEN_SALON = replace(SALON, staff=tuple(replace(person, hours=HOURS[person.slug]) for person in SALON.staff))
"""The salon with people who work around the clock."""


@dataclass(frozen=True, slots=True)
class Salon:
    """The company, its rows' ids, and a pool of the worker's connections."""

    company_id: UUID
    branches: dict[str, UUID]
    staff: dict[str, UUID]
    pool: Pool

    async def book(self, request: BookingRequest) -> Booked | Refused:
        """Book in a transaction of its own, as the job does."""
        async with tenant(self.pool, self.company_id) as connection:
            return await book(connection, request)

    async def fold(self, call_id: str) -> FoldResult | None:
        """Fold in a transaction of its own, as the job does."""
        async with tenant(self.pool, self.company_id) as connection:
            return await fold_call_events(connection, self.company_id, Provider.RETELL, call_id)

    async def value(self, query: str, *arguments: object) -> object:
        """The first column of the first row, as the worker sees it."""
        async with tenant(self.pool, self.company_id) as connection:
            found: object = await connection.fetchval(query, *arguments)
            return found

    def request(self, key: str = "call:one", **changes: object) -> BookingRequest:
        """A haircut with Anna in Mitte, with some fields changed."""
        fields: dict[str, object] = {
            "key": key,
            "company_id": self.company_id,
            "service": "schnitt",
            "staff": "anna",
            "branch": "mitte",
            "starts_at": SLOT,
            "asked_at": ASKED_AT,
            "attendee_name": "Hans Müller",
        }
        return BookingRequest(**{**fields, **changes})  # type: ignore[arg-type] # the tests name fields of the record


@pytest.fixture
async def setup(open_connection: OpenConnection) -> Connection:
    """A connection that may declare companies."""
    return await open_connection(Role.SETUP)


@pytest.fixture
async def salon(setup: Connection, open_role_pool: OpenPool) -> Salon:
    """The declared salon."""
    applied = await apply_company(setup, OPEN_SALON)
    ids = {
        table: {
            row["slug"]: row["id"]
            for row in await setup.fetch(f"select slug, id from {table} where company_id = $1", applied.company_id)
        }
        for table in ("branches", "staff")
    }
    return Salon(applied.company_id, ids["branches"], ids["staff"], await open_role_pool(Role.WORKER, 8))


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Puts signed-off deliveries into the inbox as the intake would."""

    connection: Connection
    salon: Salon

    async def __call__(self, event: str, call_id: str = "call_1", **call: object) -> UUID:
        """Store one delivery about a call; more fields of the call by keyword."""
        body = {
            "event": event,
            "call": {
                "call_id": call_id,
                "call_type": "phone_call",
                "direction": "inbound",
                "from_number": "+4917012345678",
                "to_number": "+4930123456",
                "start_timestamp": int(ASKED_AT.timestamp() * 1000),
                **call,
            },
        }
        raw = json.dumps(body).encode()
        inbox_id: UUID = await self.connection.fetchval(
            "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body, state) "
            "values ('retell', gen_random_uuid()::text, $1, $2, $3, $4, $5, 'accepted') returning id",
            event,
            call_id,
            self.salon.company_id,
            self.salon.branches["mitte"],
            raw,
        )
        return inbox_id

    async def whole_call(self, call_id: str = "call_1", **extracted: object) -> None:
        """A call with its three usual events; what the agent extracted by keyword."""
        end = int((ASKED_AT + timedelta(minutes=2)).timestamp() * 1000)
        await self("call_started", call_id, call_status="ongoing")
        await self("call_ended", call_id, call_status="ended", end_timestamp=end, transcript="Hallo.")
        await self.analyzed(call_id, **extracted)

    async def analyzed(self, call_id: str = "call_1", **extracted: object) -> None:
        """The last event of a call alone."""
        await self(
            "call_analyzed",
            call_id,
            call_status="ended",
            call_analysis={"call_summary": "Kurz.", "user_sentiment": "Positive", "custom_analysis_data": extracted},
        )


@pytest.fixture
def deliver(setup: Connection, salon: Salon) -> Deliveries:
    """`await deliver("call_started", "call_1")`, `await deliver.whole_call(outcome="booked", …)`."""
    return Deliveries(setup, salon)
