"""Puts the invented companies into the database, the way `askpro company apply` puts in real ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.services.companies.applying import (
    WEEKDAYS,
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    Weekday,
    apply_company,
)
from backend.simulate.businesses import Business, Span, week
from backend.simulate.patience import ask


async def settle(address: PostgresAddress, companies: Sequence[Business], *, patience_s: float = 0.0) -> None:
    """Declare the companies; changes nothing where they are there already.

    Raises DeclarationWrong when a number belongs to somebody else; OSError and asyncpg's errors when the database is
    away for longer than `patience_s`.
    """

    async def apply_all(connection: Connection) -> None:
        for company in companies:
            await apply_company(connection, declaration(company))

    await ask(address, apply_all, role=Role.SETUP, patience_s=patience_s)


def declaration(company: Business) -> CompanyDeclaration:
    """An invented company in the words of the product."""
    return CompanyDeclaration(
        slug=company.slug,
        name=company.name,
        agents=(company.agent,),
        branches=tuple(
            BranchDeclaration(
                slug=branch.slug,
                name=branch.name,
                address=branch.address,
                bundesland=branch.bundesland,
                numbers=branch.numbers,
                opening_hours=_hours(branch.hours),
            )
            for branch in company.branches
        ),
        services=tuple(
            ServiceDeclaration(
                slug=service.slug,
                name=service.name,
                duration_min=service.minutes,
                buffer_before_min=service.before,
                buffer_after_min=service.after,
                notice_min=service.notice,
                horizon_days=service.horizon_days,
                price_cents=service.price_cents,
            )
            for service in company.services
        ),
        staff=tuple(
            StaffDeclaration(
                slug=person.slug,
                name=person.name,
                branches=person.branches,
                services=person.services,
                hours={branch: _hours(person.hours) for branch in person.branches},
            )
            for person in company.staff
        ),
    )


def _hours(text: str) -> dict[Weekday, tuple[tuple[time, time], ...]]:
    return {WEEKDAYS[day - 1]: tuple(map(_span, spans)) for day, spans in week(text).items()}


def _span(span: Span) -> tuple[time, time]:
    return time(span.start // 60, span.start % 60), time(span.end // 60, span.end % 60)
