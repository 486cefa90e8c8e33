"""Exports: what is written back is the declaration that was applied, and applying it changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from backend.postgres.pools import Connection
from backend.services.companies.applying import (
    CompanyDeclaration,
    DeclarationWrong,
    apply_company,
    export_company,
    list_companies,
    read_declaration,
)
from backend.services.companies.rows import declaration_of, rows_of
from backend.services.companies.toml_form import write_declaration
from tests.services.calendar_scenes import with_calendars
from tests.services.conftest import SALON, Salon
from tests.services.declarations import companies


def in_rows(declaration: CompanyDeclaration) -> CompanyDeclaration:
    """The declaration as rows would give it back."""
    fields = {name: getattr(declaration, name) for name in ("slug", "name", "time_zone", "locale")}
    return declaration_of(fields, rows_of(declaration))


def unordered(value: object) -> object:
    """A declaration without the order of its lists, which the database does not keep."""
    if isinstance(value, list | tuple):
        return sorted((unordered(item) for item in value), key=repr)
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in sorted(value.items()) if item}
    return value


@given(companies())
def test_a_written_declaration_is_read_as_the_same(declaration: CompanyDeclaration) -> None:
    assert read_declaration(write_declaration(declaration).encode()) == declaration


def test_calendars_are_written_and_read_back_and_wrong_ones_are_told() -> None:
    declaration = with_calendars(attendee_email="termine@salon-anna.de", allow_conflicts=True)
    text = write_declaration(declaration)
    assert read_declaration(text.encode()) == declaration
    assert '[calcom]\napi_key_secret = "calcom_api_key"\n' in text
    assert "calcom_event_types.schnitt = 702" in text
    with pytest.raises(DeclarationWrong, match="`calcom_event_types`: ben does not offer farbe"):
        read_declaration(text.replace("calcom_event_types.schnitt", "calcom_event_types.farbe").encode())
    with pytest.raises(DeclarationWrong, match="which is no e-mail address"):
        read_declaration(text.replace("termine@salon-anna.de", "termine").encode())


@given(companies())
def test_rows_give_back_the_declaration_that_made_them(declaration: CompanyDeclaration) -> None:
    once = in_rows(declaration)
    assert in_rows(once) == once


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=companies(), declaration=companies())
async def test_any_declaration_follows_any_other_and_its_export_changes_nothing(
    setup: Connection, before: CompanyDeclaration, declaration: CompanyDeclaration
) -> None:
    example = setup.transaction()
    await example.start()
    try:
        await apply_company(setup, before)
        dry = await apply_company(setup, declaration, dry_run=True)
        applied = await apply_company(setup, declaration)
        assert applied.changes == dry.changes
        exported = await export_company(setup, "any")
        assert exported is not None
        assert unordered(msgspec.to_builtins(exported)) == unordered(msgspec.to_builtins(in_rows(declaration)))
        written = read_declaration(write_declaration(exported).encode())
        assert (await apply_company(setup, written)).changes == ()
        assert (await apply_company(setup, declaration)).changes == ()
    finally:
        await example.rollback()


async def test_what_became_inactive_is_exported_so(salon: Salon, setup: Connection) -> None:
    await salon.book(salon.request())
    await apply_company(setup, msgspec.structs.replace(SALON, staff=SALON.staff[1:]))
    exported = await export_company(setup, "salon-anna")
    assert exported is not None
    assert [(person.slug, person.bookable, person.hours) for person in exported.staff][:1] == [("anna", False, {})]
    assert (await apply_company(setup, exported)).changes == ()


async def test_a_company_that_is_not_there_has_no_export(setup: Connection) -> None:
    assert await export_company(setup, "nobody") is None


@pytest.mark.usefixtures("salon")
async def test_companies_are_listed_with_what_can_be_booked(setup: Connection) -> None:
    (line,) = await list_companies(setup)
    assert (line.slug, line.branches, line.services, line.staff, line.is_active) == ("salon-anna", 2, 3, 3, True)
