"""`GET /api/company`: the token's company, with the slugs that all other requests use."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from backend.api.partners.answers import Visiting, answered, not_modified, problems
from backend.api.partners.conditions import IfNoneMatch, is_unchanged
from backend.api.partners.values import Cents, Told
from backend.api.problems import Problem
from backend.services.companies.facts import read_facts

router = APIRouter(tags=["company"])


class BranchShape(Told):
    """A place of the company."""

    slug: str
    name: str
    address: str
    time_zone: str = Field(description="IANA name.", examples=["Europe/Berlin"])
    is_active: bool = Field(description="Whether it can be booked.")
    numbers: list[str] = Field(description="Its phone numbers, E.164.")


class ServiceShape(Told):
    """Something that can be booked."""

    slug: str
    name: str
    duration_min: int
    price_cents: Cents
    notice_min: int = Field(description="At least so many minutes from now.")
    horizon_days: int = Field(description="At most so many days ahead.")
    capacity: int = Field(description="How many can be booked with one staff member at the same time.")
    cancel_hours: int = Field(description="Free of charge until so many hours before.")
    cancel_fee_cents: Cents
    is_active: bool


class StaffShape(Told):
    """Somebody who can be booked."""

    slug: str
    name: str
    is_bookable: bool
    branches: list[str] = Field(description="Slugs.")
    services: list[str] = Field(description="Slugs.")


class CompanyShape(Told):
    """A company and what it offers."""

    slug: str
    name: str
    time_zone: str
    locale: str
    branches: list[BranchShape]
    services: list[ServiceShape]
    staff: list[StaffShape]


@router.get(
    "/api/company",
    summary="Your company",
    description="What can be booked, with whom and where. Any token may read it.",
    response_model=CompanyShape,
    responses=problems(304),
)
async def get_company(visiting: Visiting, if_none_match: IfNoneMatch = None) -> Response:
    """The company of the token."""
    async with visiting.company() as connection:
        facts = await read_facts(connection, visiting.caller.company_id)
    if facts is None:
        raise Problem(404)
    content = CompanyShape.model_validate(facts, from_attributes=True)
    version = hashlib.sha256(content.model_dump_json().encode()).hexdigest()[:32]
    if is_unchanged(if_none_match, version):
        return not_modified(version)
    return answered(content, version=version)
