"""What a company offers, by the names that requests use: branches, services, staff. One round trip."""

from __future__ import annotations

from uuid import UUID

import msgspec

from backend.postgres.pools import Connection

_FACTS = """
    select json_build_object(
        'slug', c.slug, 'name', c.name, 'time_zone', c.time_zone, 'locale', c.locale,
        'calendar_version', c.calendar_version,
        'branches', coalesce((
            select json_agg(json_build_object(
                'slug', b.slug, 'name', b.name, 'address', b.address, 'time_zone', b.time_zone,
                'is_active', b.is_active,
                'numbers', coalesce((select json_agg(n.number order by n.number) from phone_numbers n
                                     where n.company_id = $1 and n.branch_id = b.id), '[]')) order by b.slug)
            from branches b where b.company_id = $1), '[]'),
        'services', coalesce((
            select json_agg(json_build_object(
                'slug', s.slug, 'name', s.name, 'duration_min', s.duration_min, 'price_cents', s.price_cents,
                'notice_min', s.notice_min, 'horizon_days', s.horizon_days, 'capacity', s.capacity,
                'cancel_hours', s.cancel_hours, 'cancel_fee_cents', s.cancel_fee_cents,
                'is_active', s.is_active) order by s.slug)
            from services s where s.company_id = $1), '[]'),
        'staff', coalesce((
            select json_agg(json_build_object(
                'slug', p.slug, 'name', p.name, 'is_bookable', p.is_bookable,
                'branches', coalesce((select json_agg(b.slug order by b.slug) from staff_branches w
                                      join branches b on b.company_id = $1 and b.id = w.branch_id
                                      where w.company_id = $1 and w.staff_id = p.id), '[]'),
                'services', coalesce((select json_agg(s.slug order by s.slug) from staff_services o
                                      join services s on s.company_id = $1 and s.id = o.service_id
                                      where o.company_id = $1 and o.staff_id = p.id), '[]')) order by p.slug)
            from staff p where p.company_id = $1), '[]'))::text
    from companies c where c.id = $1
"""


class BranchFacts(msgspec.Struct, frozen=True):
    """A place."""

    slug: str
    name: str
    address: str
    time_zone: str
    is_active: bool
    numbers: list[str]


class ServiceFacts(msgspec.Struct, frozen=True):
    """Something that can be booked."""

    slug: str
    name: str
    duration_min: int
    price_cents: int
    notice_min: int
    horizon_days: int
    capacity: int
    cancel_hours: int
    cancel_fee_cents: int
    is_active: bool


class StaffFacts(msgspec.Struct, frozen=True):
    """Somebody who can be booked."""

    slug: str
    name: str
    is_bookable: bool
    branches: list[str]
    services: list[str]


class CompanyFacts(msgspec.Struct, frozen=True):
    """A company with all that it offers."""

    slug: str
    name: str
    time_zone: str
    locale: str
    calendar_version: int
    branches: list[BranchFacts]
    services: list[ServiceFacts]
    staff: list[StaffFacts]


async def read_facts(connection: Connection, company_id: UUID) -> CompanyFacts | None:
    """The company's facts, in its transaction; None when it is not there."""
    text: str | None = await connection.fetchval(_FACTS, company_id)
    return None if text is None else msgspec.json.decode(text, type=CompanyFacts)


async def read_staff_slugs(connection: Connection, company_id: UUID) -> dict[UUID, str]:
    """The slugs of the company's staff by id, in its transaction."""
    rows = await connection.fetch("select id, slug from staff where company_id = $1", company_id)
    return {row["id"]: row["slug"] for row in rows}
