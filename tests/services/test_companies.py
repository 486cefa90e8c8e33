"""Declared companies: applying is idempotent, says what it changes, and never takes what belongs to another."""

from __future__ import annotations

from datetime import time

import msgspec
import pytest

from backend.postgres.pools import Connection
from backend.services.booking import Booked, Refused
from backend.services.companies.applying import (
    CompanyDeclaration,
    DeclarationWrong,
    StaffDeclaration,
    apply_company,
    read_declaration,
)
from tests.services.conftest import OPEN_SALON, SALON, Salon

TOML = b"""
slug = "praxis"
name = "Praxis Bode"
agents = ["agent_bode"]

[[branches]]
slug = "mitte"
name = "Mitte"
numbers = ["030 99887766"]
opening_hours = { mon = [[08:00:00, 12:00:00], [14:00:00, 18:00:00]] }

[[services]]
slug = "sprechstunde"
name = "Sprechstunde"
duration_min = 15

[[staff]]
slug = "bode"
name = "Dr. Bode"
branches = ["mitte"]
services = ["sprechstunde"]
hours = { mitte = { mon = [[08:00:00, 12:00:00]], fri = [[08:00:00, 13:00:00]] } }
"""


async def test_a_declaration_from_toml_becomes_rows(setup: Connection) -> None:
    applied = await apply_company(setup, read_declaration(TOML))
    assert {change.action for change in applied.changes} == {"add"}
    assert await setup.fetchval("select number from phone_numbers") == "+493099887766"
    hours = await setup.fetch("select weekday, starts, ends from working_hours order by weekday")
    assert [tuple(row) for row in hours] == [(1, time(8), time(12)), (5, time(8), time(13))]
    assert await setup.fetchval("select opening_hours -> 'mon' -> 1 ->> 0 from branches") == "14:00:00"


async def test_applying_again_changes_nothing(setup: Connection) -> None:
    declaration = read_declaration(TOML)
    first = await apply_company(setup, declaration)
    again = await apply_company(setup, declaration)
    assert again.company_id == first.company_id
    assert again.changes == ()


async def test_a_change_is_named_and_made(setup: Connection) -> None:
    await apply_company(setup, SALON)
    dearer = msgspec.structs.replace(SALON.services[0], price_cents=4000)
    changed = msgspec.structs.replace(SALON, services=(dearer, *SALON.services[1:]))
    applied = await apply_company(setup, changed)
    assert [(change.action, change.kind, change.name) for change in applied.changes] == [
        ("change", "services", "schnitt")
    ]
    assert applied.changes[0].detail == "price_cents: 3500 → 4000"
    assert await setup.fetchval("select price_cents from services where slug = 'schnitt'") == 4000


async def test_a_dry_run_says_the_same_and_does_nothing(setup: Connection) -> None:
    dry = await apply_company(setup, SALON, dry_run=True)
    assert await setup.fetchval("select count(*) from companies") == 0
    assert (await apply_company(setup, SALON)).changes == dry.changes


async def test_who_is_no_longer_declared_can_not_be_booked_and_comes_back_when_declared(
    salon: Salon, setup: Connection
) -> None:
    without = msgspec.structs.replace(SALON, staff=SALON.staff[1:], services=SALON.services[:1])
    applied = await apply_company(setup, without)
    assert {(change.action, change.kind, change.name) for change in applied.changes} >= {
        ("remove", "staff", "anna"),
        ("remove", "services", "farbe"),
    }
    assert isinstance(await salon.book(salon.request()), Refused)
    await apply_company(setup, OPEN_SALON)
    assert isinstance(await salon.book(salon.request("call:two")), Booked)


async def test_a_number_of_another_company_is_refused_and_nothing_is_kept(salon: Salon, setup: Connection) -> None:
    thief = read_declaration(TOML.replace(b"030 99887766", b"+4930123456"))
    with pytest.raises(DeclarationWrong, match=r"\+4930123456 belongs to another company"):
        await apply_company(setup, thief)
    assert await setup.fetchval("select count(*) from companies") == 1


async def test_a_declaration_that_contradicts_itself_is_refused(setup: Connection) -> None:
    backwards = {"mitte": {"mon": ((time(12), time(8)),)}}
    cases: list[tuple[dict[str, object], str]] = [
        ({"time_zone": "Europe/Atlantis"}, "no time zone"),
        ({"services": (*SALON.services, SALON.services[0])}, "schnitt is declared twice"),
        ({"staff": (StaffDeclaration(slug="x", name="X", branches=("süd",), services=()),)}, "süd, which is no branch"),
        ({"staff": (StaffDeclaration(slug="x", name="X", branches=(), services=("y",)),)}, "y, which is no service"),
        (
            {"staff": (msgspec.structs.replace(SALON.staff[0], hours=backwards),)},
            "ends before starting on mon",
        ),
        (
            {"branches": (SALON.branches[1], msgspec.structs.replace(SALON.branches[0], numbers=("anonym",)))},
            "'anonym' is no phone number",
        ),
    ]
    for change, said in cases:
        wrong: CompanyDeclaration = msgspec.structs.replace(SALON, **change)
        with pytest.raises(DeclarationWrong, match=said):
            await apply_company(setup, wrong)
    assert await setup.fetchval("select count(*) from companies") == 0


def test_a_key_that_is_none_is_named() -> None:
    with pytest.raises(DeclarationWrong, match="durration_min"):
        read_declaration(TOML.replace(b"duration_min", b"durration_min"))
