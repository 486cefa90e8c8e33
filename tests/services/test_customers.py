"""Who a caller is: by phone and name together, never by the phone alone."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from backend.postgres.pools import Connection, tenant
from backend.services.customers.finding import Caller, FoundCustomer, caller, find_or_create
from tests.services.conftest import Salon

PHONE = "0170 12345678"


@pytest.fixture
def hans() -> Caller:
    return caller(number=PHONE, name="Hans Müller")


async def find(salon: Salon, who: Caller) -> FoundCustomer | None:
    async with tenant(salon.pool, salon.company_id) as connection:
        return await find_or_create(connection, salon.company_id, who)


async def found_id(salon: Salon, who: Caller) -> UUID | None:
    found = await find(salon, who)
    return found.customer_id if found else None


async def test_a_new_name_on_a_usable_phone_becomes_a_customer(salon: Salon, hans: Caller) -> None:
    found = await find(salon, hans)
    assert found is not None
    assert found.is_new
    assert await salon.value("select phone from customers") == "+4917012345678"


async def test_the_same_name_on_the_same_phone_is_the_same_customer(salon: Salon, hans: Caller) -> None:
    first = await found_id(salon, hans)
    for name in ("Hans Müller", "hans mueller", "Herr Dr. Hans Muller", "Müller, Hans"):
        assert await found_id(salon, caller(number="+4917012345678", name=name)) == first, name
    assert await salon.value("select count(*) from customers") == 1


async def test_another_name_on_the_same_phone_is_another_customer(salon: Salon, hans: Caller) -> None:
    first = await found_id(salon, hans)
    assert await found_id(salon, caller(number=PHONE, name="Grete Müller")) != first
    assert await salon.value("select count(*) from customers") == 2


async def test_a_hidden_number_never_makes_a_customer(salon: Salon) -> None:
    for number in ("anonymous", "Restricted", "", "+266696687", "sip:hans@example.org", None):
        assert await find(salon, caller(number=number, name="Hans Müller", email="hans@example.org")) is None, number
    assert await salon.value("select count(*) from customers") == 0


async def test_a_hidden_number_with_a_known_mail_and_name_is_that_customer(salon: Salon) -> None:
    known = await found_id(salon, caller(number=PHONE, name="Hans Müller", email="hans@example.org"))
    assert await found_id(salon, caller(number="anonymous", name="Hans Mueller", email="HANS@example.org ")) == known
    assert await find(salon, caller(number="anonymous", name="Grete Müller", email="hans@example.org")) is None


async def test_no_name_is_the_customer_of_the_line_only_when_it_has_one(salon: Salon, hans: Caller) -> None:
    nobody = caller(number=PHONE, name=None)
    assert await find(salon, nobody) is None
    known = await found_id(salon, hans)
    assert await found_id(salon, nobody) == known
    await find(salon, caller(number=PHONE, name="Grete Müller"))
    assert await find(salon, nobody) is None
    assert await salon.value("select count(*) from customers") == 2


async def test_a_name_that_is_none_makes_no_customer(salon: Salon) -> None:
    for name in ("unbekannt", "Anonym", "", "  ", "…"):
        assert await find(salon, caller(number=PHONE, name=name)) is None, name


async def test_fifty_at_once_make_one_customer(salon: Salon, hans: Caller) -> None:
    found = await asyncio.gather(*(find(salon, hans) for _ in range(50)))
    assert len({customer.customer_id for customer in found if customer}) == 1
    assert sum(customer.is_new for customer in found if customer) == 1
    assert await salon.value("select count(*) from customers") == 1


async def test_a_mail_is_learned_once_and_kept(salon: Salon, hans: Caller) -> None:
    await find(salon, hans)
    await find(salon, caller(number=PHONE, name="Hans Müller", email="hans@example.org"))
    await find(salon, caller(number=PHONE, name="Hans Müller", email="other@example.org"))
    assert await salon.value("select email from customers") == "hans@example.org"


async def test_an_erased_customer_is_nobody(salon: Salon, hans: Caller, setup: Connection) -> None:
    first = await found_id(salon, hans)
    await setup.execute("update customers set erased_at = now()")
    assert await found_id(salon, hans) != first


async def test_a_customer_of_another_company_is_not_found(salon: Salon, hans: Caller, setup: Connection) -> None:
    other = await setup.fetchval("insert into companies (slug, name) values ('fremd', 'Fremd') returning id")
    await setup.execute(
        "insert into customers (company_id, phone, name_key) values ($1, '+4917012345678', 'hans muller')", other
    )
    found = await find(salon, hans)
    assert found is not None
    assert found.is_new
