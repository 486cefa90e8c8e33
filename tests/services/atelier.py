"""A studio with all that makes booking hard: hours, notice, seats, parts done by several people, fees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import parse_week
from backend.postgres.pools import Connection, Pool, tenant
from backend.services.booking import Booked, BookingRequest, Refused, book
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
    apply_company,
)

ASKED = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
"""A Monday, 08:00 in Berlin."""

TEN = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
"""Wednesday at 10:00 in Berlin."""

HOURS = parse_week("Mon-Fri 09:00-17:00")

ATELIER = CompanyDeclaration(
    slug="atelier",
    name="Atelier",
    branches=(BranchDeclaration(slug="mitte", name="Mitte", opening_hours=parse_week("Mon-Sat 08:00-20:00")),),
    services=(
        ServiceDeclaration(
            slug="schnitt",
            name="Schnitt",
            duration_min=30,
            notice_min=120,
            horizon_days=60,
            price_cents=3500,
            cancel_hours=24,
            cancel_fee_cents=1500,
        ),
        ServiceDeclaration(slug="beratung", name="Beratung", duration_min=30, cancel_hours=24),
        ServiceDeclaration(slug="kurs", name="Kurs", duration_min=60, step_min=30, capacity=3),
        ServiceDeclaration(slug="yoga", name="Yoga", duration_min=60, step_min=30, capacity=3),
        ServiceDeclaration(
            slug="farbe",
            name="Farbe",
            buffer_before_min=5,
            buffer_after_min=10,
            segments=(
                SegmentDeclaration(label="Auftragen", duration_min=30),
                SegmentDeclaration(label="Einwirken", duration_min=60, gap=True),
                SegmentDeclaration(label="Schneiden", duration_min=30, role="cutter", skill="schnitt"),
            ),
        ),
        ServiceDeclaration(slug="kopf", name="Kopf", duration_min=15),
        ServiceDeclaration(slug="hand", name="Hand", duration_min=15),
        ServiceDeclaration(
            slug="kopf-hand",
            name="Erst Kopf, dann Hand",
            segments=(
                SegmentDeclaration(label="Kopf", duration_min=40, role="one", skill="kopf"),
                SegmentDeclaration(label="Hand", duration_min=40, role="two", skill="hand"),
            ),
        ),
        ServiceDeclaration(
            slug="hand-kopf",
            name="Erst Hand, dann Kopf",
            segments=(
                SegmentDeclaration(label="Hand", duration_min=50, role="one", skill="hand"),
                SegmentDeclaration(label="Kopf", duration_min=50, role="two", skill="kopf"),
            ),
        ),
    ),
    staff=(
        StaffDeclaration(
            slug="anna",
            name="Anna",
            branches=("mitte",),
            services=("schnitt", "beratung", "kurs", "yoga", "farbe", "kopf"),
            hours={"mitte": HOURS},
        ),
        StaffDeclaration(
            slug="ben",
            name="Ben",
            branches=("mitte",),
            services=("schnitt", "hand"),
            hours={"mitte": HOURS},
            breaks=parse_week("Mon-Fri 12:00-13:00"),
            exceptions=(StaffException(kind=ExceptionKind.CLOSED, first_day=date(2026, 3, 5)),),
        ),
        StaffDeclaration(
            slug="cem", name="Cem", branches=("mitte",), services=("schnitt", "kurs"), hours={"mitte": HOURS}
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Atelier:
    """The company, its people, and ways to work in it."""

    company_id: UUID
    staff: dict[str, UUID]
    pool: Pool

    def request(self, key: str = "one", **changes: object) -> BookingRequest:
        """A haircut with Anna on Wednesday at ten, with some fields changed."""
        fields: dict[str, object] = {
            "key": key,
            "company_id": self.company_id,
            "service": "schnitt",
            "staff": "anna",
            "branch": "mitte",
            "starts_at": TEN,
            "asked_at": ASKED,
        }
        return BookingRequest(**{**fields, **changes})  # type: ignore[arg-type] # the tests name fields of the record

    async def ask(self, key: str = "one", **changes: object) -> Booked | Refused:
        """Book in a transaction of its own."""
        async with tenant(self.pool, self.company_id) as connection:
            return await book(connection, self.request(key, **changes))

    async def book(self, key: str = "one", **changes: object) -> Booked:
        """Book what must succeed."""
        answer = await self.ask(key, **changes)
        assert isinstance(answer, Booked), answer
        return answer

    async def refused(self, key: str = "one", **changes: object) -> Refused:
        """Ask for what must be refused."""
        answer = await self.ask(key, **changes)
        assert isinstance(answer, Refused), answer
        return answer

    async def value(self, query: str, *arguments: object) -> object:
        """The first column of the first row, as the worker sees it."""
        async with tenant(self.pool, self.company_id) as connection:
            found: object = await connection.fetchval(query, *arguments)
            return found

    def name(self, staff_id: UUID) -> str:
        """Of a staff member."""
        return next(slug for slug, one in self.staff.items() if one == staff_id)


async def open_atelier(setup: Connection, pool: Pool) -> Atelier:
    """Declare it."""
    applied = await apply_company(setup, ATELIER)
    rows = await setup.fetch("select id, slug from staff where company_id = $1", applied.company_id)
    return Atelier(applied.company_id, {row["slug"]: row["id"] for row in rows}, pool)
