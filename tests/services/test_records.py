"""Lists for partners: one statement a page, which reads about as much as it shows, however much there is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from asyncpg.connection import LoggedQuery

from backend.domain.vocabulary import AppointmentStatus, CallOutcome
from backend.postgres.address import Role
from backend.postgres.pools import Connection, tenant_transaction
from backend.services.booking.listing import (
    AppointmentFilter,
    AppointmentRecord,
    list_appointments,
    list_events,
    read_appointment,
)
from backend.services.calls.listing import CallFilter, CallRecord, list_calls, read_call
from backend.services.companies.facts import read_facts
from backend.services.customers.listing import CustomerFilter, CustomerRecord, list_customers, read_customer
from tests.databases import OpenConnection, SuperuserConnection

MANY = """
    set search_path = askpro, public;
    set session_replication_role = replica;
    insert into companies (slug, name) select 'c' || n, 'C' from generate_series(1, 3) n;
    insert into branches (company_id, slug, name) select id, 'b', 'B' from companies;
    insert into services (company_id, slug, name, duration_min) select id, 's' || n, 'S', 30
        from companies, generate_series(1, 20) n;
    insert into staff (company_id, slug, name) select id, 'p' || n, 'P' from companies, generate_series(1, 10) n;
    create temporary table numbers as
        select c.id as company, c.slug, n, b.id as branch, timestamptz '2026-01-01Z' + n * interval '10 minutes' as at
        from companies c join branches b on b.company_id = c.id, generate_series(1, 5000) n;
    insert into customers (company_id, name_key, phone, email)
        select company, 'name ' || lpad(n::text, 5, '0'), '+49151' || n, n || '@example.org' from numbers;
    create temporary table people as select company_id, id, substr(phone, 7)::integer as n from customers;
    analyze numbers, people;
    insert into calls (company_id, provider, provider_call_id, status, outcome, started_at, customer_id)
        select company, 'retell', slug || numbers.n, 'ended',
               case numbers.n % 100 when 0 then 'transfer' else 'booked' end, at, people.id
        from numbers join people on people.company_id = company and people.n = 1 + numbers.n % 2000;
    insert into appointments (company_id, branch_id, staff_id, service_id, customer_id, starts_at, ends_at, time_zone,
                              status, source, version)
        select company, branch, p.id, s.id, u.id, at, at + interval '30 minutes', 'Europe/Berlin',
               case numbers.n % 100 when 0 then 'cancelled' else 'confirmed' end, 'api', 1
        from numbers
        join people u on u.company_id = company and u.n = 1 + numbers.n % 2000
        join staff p on p.company_id = company and p.slug = 'p' || (1 + numbers.n % 10)
        join services s on s.company_id = company and s.slug = 's' || (1 + numbers.n % 20);
    insert into appointment_events (company_id, appointment_id, version, kind, actor)
        select company_id, id, 1, 'booked', 'api' from appointments;
    analyze;
"""

BEGIN = datetime(2026, 1, 10, tzinfo=UTC)
END = datetime(2026, 2, 10, tzinfo=UTC)
MIDDLE = (datetime(2026, 1, 20, tzinfo=UTC), UUID(int=0))

MOST_PAGES = 400
"""Pages of the database that one page of fifty rows may read: a row and what it is joined to take about seven."""


@dataclass(frozen=True)
class Many:
    """The API's connection, and one of three companies with a lot of everything."""

    connection: Connection
    company: UUID
    customer: UUID
    """Has appointments and calls behind the middle of all."""

    async def appointments(self, **wanted: object) -> list[AppointmentRecord]:
        """A page from the middle of all."""
        chosen = AppointmentFilter(**wanted)  # type: ignore[arg-type] # the tests name fields of the filter
        return await list_appointments(self.connection, self.company, chosen, after=MIDDLE, limit=51)

    async def calls(self, **wanted: object) -> list[CallRecord]:
        """A page from the middle of all."""
        chosen = CallFilter(**wanted)  # type: ignore[arg-type] # the tests name fields of the filter
        return await list_calls(self.connection, self.company, chosen, after=MIDDLE, limit=51)

    async def customers(self, after: tuple[str, UUID] | None = None, **wanted: object) -> list[CustomerRecord]:
        """A page."""
        chosen = CustomerFilter(**wanted)  # type: ignore[arg-type] # the tests name fields of the filter
        return await list_customers(self.connection, self.company, chosen, after=after, limit=51)


LISTS: dict[str, Callable[[Many], Awaitable[Sequence[object]]]] = {
    "appointments": lambda many: many.appointments(),
    "appointments between": lambda many: many.appointments(starts_from=BEGIN, starts_until=END),
    "appointments confirmed": lambda many: many.appointments(statuses=[AppointmentStatus.CONFIRMED]),
    "appointments cancelled": lambda many: many.appointments(statuses=[AppointmentStatus.CANCELLED]),
    "appointments of staff": lambda many: many.appointments(staff="p3"),
    "appointments of a service": lambda many: many.appointments(service="s3"),
    "appointments of a customer": lambda many: many.appointments(customer_id=many.customer),
    "calls": lambda many: many.calls(),
    "calls between": lambda many: many.calls(started_from=BEGIN, started_until=END),
    "calls of a customer": lambda many: many.calls(customer_id=many.customer),
    "calls transferred": lambda many: many.calls(outcome=CallOutcome.TRANSFER),
    "customers": lambda many: many.customers(),
    "customers by name": lambda many: many.customers(name="name 01"),
    "customers by name, further": lambda many: many.customers(("name 01050", UUID(int=0)), name="name 01"),
    "customers by phone": lambda many: many.customers(phone="+4915177"),
    "customers by e-mail": lambda many: many.customers(email="77@example.org"),
}


@pytest.fixture
async def many(superuser_connection: SuperuserConnection, open_connection: OpenConnection) -> Many:
    """Three companies with a lot of everything."""
    administrator = await superuser_connection()
    await administrator.execute(MANY)
    company = await administrator.fetchval("select id from companies where slug = 'c3'")
    customer = await administrator.fetchval(
        "select a.customer_id from appointments a join calls c using (company_id, customer_id) "
        "where company_id = $1 and a.starts_at > $2 and c.started_at < $2 limit 1",
        company,
        MIDDLE[0],
    )
    return Many(await open_connection(Role.API), company, customer)


@asynccontextmanager
async def noted(connection: Connection) -> AsyncIterator[list[LoggedQuery]]:
    """What is sent within the block."""
    sent: list[LoggedQuery] = []
    connection.add_query_logger(sent.append)
    try:
        yield sent
        await asyncio.sleep(0)  # the loggers are called in the loop's next turn
    finally:
        connection.remove_query_logger(sent.append)


def pages_read(plan: dict[str, object]) -> int:
    """Pages of the database that a plan's run touched."""
    return sum(int(str(plan[f"Shared {kind} Blocks"])) for kind in ("Hit", "Read"))


async def test_a_page_is_one_statement_that_reads_about_what_it_shows(many: Many) -> None:
    connection = many.connection
    for name, read in LISTS.items():
        async with tenant_transaction(connection, many.company):
            async with noted(connection) as sent:
                assert await read(many), name
            (statement,) = sent
            for mode in ("force_custom_plan", "force_generic_plan"):
                await connection.execute(f"set local plan_cache_mode = {mode}")
                explained = await connection.fetchval(
                    f"explain (analyze, buffers, timing off, format json) {statement.query}", *statement.args
                )
                read_pages = pages_read(json.loads(explained)[0]["Plan"])
                assert read_pages <= MOST_PAGES, (name, mode, read_pages, explained)

    await single_records_are_one_round_trip_each(many)


async def single_records_are_one_round_trip_each(many: Many) -> None:
    """A part of the test above, because its scene takes seconds to set."""
    connection, company = many.connection, many.company
    async with tenant_transaction(connection, company):
        appointment = (await many.appointments())[0].id
        call = (await many.calls())[0].id
    async with tenant_transaction(connection, company):
        async with noted(connection) as sent:
            assert await read_appointment(connection, company, appointment)
            assert await list_events(connection, company, appointment, after=0, limit=51)
            assert await read_customer(connection, company, many.customer)
            assert await read_call(connection, company, call)
            assert await read_facts(connection, company)
        assert len(sent) == 5
    assert await many.appointments() == []  # without a company's transaction
    assert await many.customers() == []
    assert await many.calls() == []
