"""Companies with everything that a partner can see, and the partner: a client with one company's token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx

from backend.domain.vocabulary import TokenScope
from backend.domain.weeks import parse_week
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from backend.services.tokens import create_token
from tests.databases import OwnConnection

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = parse_week("Mon-Sun 08:00-18:00")
LIFE = timedelta(days=30)


def salon(slug: str = "salon", number: str = "+493012300200") -> CompanyDeclaration:
    """Open every day from eight to six; Anna and Ben cut, Anna alone gives advice, which is costly to cancel late.

    Colour is Anna's for half an hour, then waits as long, and is washed out by whoever cuts.
    """
    return CompanyDeclaration(
        slug=slug,
        name=f"Salon {slug}",
        agents=(f"agent_{slug}",),
        branches=(BranchDeclaration(slug="mitte", name="Mitte", bundesland="", numbers=(number,), opening_hours=WEEK),),
        services=(
            ServiceDeclaration(slug="schnitt", name="Haarschnitt", duration_min=30, step_min=30, price_cents=3500),
            ServiceDeclaration(
                slug="beratung", name="Beratung", duration_min=30, step_min=30, cancel_hours=720, cancel_fee_cents=900
            ),
            ServiceDeclaration(
                slug="farbe",
                name="Farbe",
                step_min=30,
                segments=(
                    SegmentDeclaration(label="Auftragen", duration_min=30),
                    SegmentDeclaration(label="Einwirken", duration_min=30, gap=True),
                    SegmentDeclaration(label="Auswaschen", duration_min=30, role="help", skill="schnitt"),
                ),
            ),
        ),
        staff=(
            StaffDeclaration(
                slug="anna",
                name="Anna Weiß",
                branches=("mitte",),
                services=("schnitt", "beratung", "farbe"),
                hours={"mitte": WEEK},
            ),
            StaffDeclaration(
                slug="ben", name="Ben Kaya", branches=("mitte",), services=("schnitt",), hours={"mitte": WEEK}
            ),
        ),
    )


def at(ahead: int, hour: int, minute: int = 0) -> str:
    """A time so many days from today in Berlin, with its offset."""
    day = datetime.now(BERLIN).date() + timedelta(days=ahead)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=BERLIN).isoformat()


@dataclass(frozen=True)
class Partner:
    """A partner's program: a client that carries a token of one company."""

    client: httpx.AsyncClient
    company_id: UUID
    token: str
    token_id: str
    slug: str
    number: int = 0
    """Tells companies of one database apart."""

    async def book(self, starts_at: str, *, key: str | None = None, **changes: object) -> httpx.Response:
        """A haircut with Anna for Hans Müller, unless `changes` say otherwise."""
        body: dict[str, object] = {
            "service": "schnitt",
            "staff": "anna",
            "starts_at": starts_at,
            "attendee": {"name": "Hans Müller", "phone": "+4915112345678", "email": "Hans@Example.org"},
        }
        headers = {} if key is None else {"idempotency-key": key}
        return await self.client.post("/api/appointments", json=body | changes, headers=headers)

    async def booked(self, starts_at: str, **changes: object) -> dict[str, Any]:
        """The appointment, which must come about."""
        response = await self.book(starts_at, **changes)  # type: ignore[arg-type] # the tests name fields of the body
        assert response.status_code == 201, response.text
        made: dict[str, Any] = response.json()
        return made

    async def does(self, appointment_id: str, verb: str, *, key: str | None = None, **body: object) -> httpx.Response:
        """Let something happen to an appointment."""
        headers = {} if key is None else {"idempotency-key": key}
        path = f"/api/appointments/{appointment_id}/{verb}"
        return (
            await self.client.post(path, headers=headers, json=body)
            if body
            else await self.client.post(path, headers=headers)
        )


@asynccontextmanager
async def partner_of(
    url: str,
    setup: OwnConnection,
    declaration: CompanyDeclaration,
    scopes: Sequence[TokenScope] = tuple(TokenScope),
    *,
    number: int = 0,
) -> AsyncIterator[Partner]:
    """The company, declared, and a partner with a token for it."""
    company_id = (await apply_company(setup, declaration)).company_id
    made = await create_token(setup, declaration.slug, name="partner", scopes=scopes, life=LIFE)
    headers = {"authorization": f"Bearer {made.token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) as client:
        yield Partner(client, company_id, made.token, made.id, declaration.slug, number)


async def add_call(superuser: OwnConnection, company_id: UUID, provider_call_id: str, **fields: object) -> UUID:
    """A call that ended, with its transcript."""
    given: dict[str, object] = {
        "started_at": datetime.now(UTC) - timedelta(hours=1),
        "transcript": "Agent: Guten Tag!",
        "summary": "A haircut.",
        "status": "ended",
        "outcome": "booked",
        "from_number": "+4915112345678",
    } | fields
    columns = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(3, len(given) + 3))
    call_id: UUID = await superuser.fetchval(
        f"insert into calls (company_id, provider, provider_call_id, {columns}) "
        f"values ($1, 'retell', $2, {places}) returning id",
        company_id,
        provider_call_id,
        *given.values(),
    )
    return call_id
