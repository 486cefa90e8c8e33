"""Requests to call back: until when, how urgent, once for each call and reason."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import parse_week
from backend.postgres.pools import Connection, tenant
from backend.services.callbacks.requests import CallbackRequest, date_callback, request_callback
from backend.services.companies.applying import BranchException, CompanyDeclaration, apply_company
from tests.services.conftest import SALON, Salon

MONDAY_NOON = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
FRIDAY_EVENING = datetime(2026, 3, 27, 16, 30, tzinfo=UTC)
"""17:30 in Berlin, half an hour before the salon closes; the clocks change that weekend."""

OPEN = parse_week("Mon-Fri 09:00-18:00")


def one_branch(**changes: object) -> CompanyDeclaration:
    """The salon with Mitte alone, open on weekdays."""
    mitte = msgspec.structs.replace(SALON.branches[0], opening_hours=OPEN, **changes)
    staff = tuple(
        msgspec.structs.replace(
            person, branches=("mitte",), hours={place: week for place, week in person.hours.items() if place == "mitte"}
        )
        for person in SALON.staff
    )
    return msgspec.structs.replace(SALON, branches=(mitte,), staff=staff)


async def asked(
    salon: Salon,
    now: datetime,
    *,
    call_id: UUID | None = None,
    reason: str = "Preisfrage",
    wanted_at: datetime | None = None,
) -> CallbackRequest:
    """A request in a transaction of its own."""
    async with tenant(salon.pool, salon.company_id) as connection:
        return await request_callback(
            connection,
            salon.company_id,
            call_id=call_id,
            customer_id=None,
            phone="+4917012345678",
            name="Hans Müller",
            reason=reason,
            wanted_at=wanted_at,
            now=now,
        )


async def call_of(setup: Connection, salon: Salon, branch: str | None = None) -> UUID:
    """A call that was made, to a branch."""
    call_id: UUID = await setup.fetchval(
        "insert into calls (company_id, branch_id, provider, provider_call_id, status, started_at) "
        "values ($1, $2, 'retell', 'call_1', 'ended', now()) returning id",
        salon.company_id,
        salon.branches[branch] if branch else None,
    )
    return call_id


async def rules(setup: Connection, **callbacks: object) -> None:
    await setup.execute("update companies set settings = $1", json.dumps({"callbacks": callbacks}))


async def test_hours_count_while_the_branch_is_open(setup: Connection, salon: Salon) -> None:
    await apply_company(setup, one_branch())
    assert (await asked(salon, MONDAY_NOON)).due_at == MONDAY_NOON + timedelta(hours=4)
    # Half an hour is left on Friday; the clocks are an hour ahead on Monday.
    assert (await asked(salon, FRIDAY_EVENING)).due_at == datetime(2026, 3, 30, 10, 30, tzinfo=UTC)


async def test_holidays_and_closed_days_do_not_count(setup: Connection, salon: Salon) -> None:
    closed = BranchException(kind=ExceptionKind.CLOSED, first_day=date(2026, 4, 7))
    await apply_company(setup, one_branch(exceptions=(closed,)))
    before_easter = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)
    # One hour on Thursday; Good Friday, the weekend, Easter Monday and the closed Tuesday; three on Wednesday.
    assert (await asked(salon, before_easter)).due_at == datetime(2026, 4, 8, 10, 0, tzinfo=UTC)


async def test_without_opening_hours_and_for_an_unknown_branch_all_hours_count(setup: Connection, salon: Salon) -> None:
    assert (await asked(salon, FRIDAY_EVENING)).due_at == FRIDAY_EVENING + timedelta(hours=4)
    await apply_company(setup, one_branch())
    await rules(setup, always=True)
    assert (await asked(salon, FRIDAY_EVENING)).due_at == FRIDAY_EVENING + timedelta(hours=4)


async def test_the_branch_that_was_called_says_when_it_is_open(setup: Connection, salon: Salon) -> None:
    branches = tuple(msgspec.structs.replace(branch, opening_hours=OPEN) for branch in SALON.branches)
    await apply_company(setup, msgspec.structs.replace(SALON, branches=branches))
    call_id = await call_of(setup, salon, "nord")
    assert (await asked(salon, FRIDAY_EVENING, call_id=call_id)).due_at == datetime(2026, 3, 30, 10, 30, tzinfo=UTC)


async def test_an_urgent_word_shortens_the_wait(setup: Connection, salon: Salon) -> None:
    await rules(setup, urgent=["schmerz"], urgent_within_min=30)
    urgent = await asked(salon, MONDAY_NOON, reason="Starke SCHMERZEN seit gestern")
    assert (urgent.is_urgent, urgent.due_at) == (True, MONDAY_NOON + timedelta(minutes=30))
    assert not (await asked(salon, MONDAY_NOON)).is_urgent


async def test_who_names_a_time_is_called_within_half_an_hour_of_it(salon: Salon) -> None:
    wanted = MONDAY_NOON + timedelta(days=2)
    assert (await asked(salon, MONDAY_NOON, wanted_at=wanted)).due_at == wanted + timedelta(minutes=30)
    passed = await asked(salon, MONDAY_NOON, wanted_at=MONDAY_NOON - timedelta(hours=1))
    assert passed.due_at == MONDAY_NOON + timedelta(hours=4)


async def test_a_call_asks_once_for_each_reason(setup: Connection, salon: Salon) -> None:
    call_id = await call_of(setup, salon)
    first = await asked(salon, MONDAY_NOON, call_id=call_id)
    again = await asked(salon, MONDAY_NOON + timedelta(minutes=1), call_id=call_id, reason="  Preisfrage\0 ")
    other = await asked(salon, MONDAY_NOON, call_id=call_id, reason="Reklamation")
    assert (again.id, again.due_at, again.is_new) == (first.id, first.due_at, False)
    assert other.id != first.id


async def test_a_reason_of_any_length_is_kept_and_an_empty_one_refused(setup: Connection, salon: Salon) -> None:
    call_id = await call_of(setup, salon)
    assert (await asked(salon, MONDAY_NOON, call_id=call_id, reason="warum? " * 10_000)).is_new
    with pytest.raises(ValueError, match="reason"):
        await asked(salon, MONDAY_NOON, reason=" \0 ")


async def test_a_request_left_by_a_refused_booking_gets_the_companys_deadline(setup: Connection, salon: Salon) -> None:
    await apply_company(setup, one_branch())
    callback_id: UUID = await setup.fetchval(
        "insert into callback_requests (company_id, reason, due_at, created_at) "
        "values ($1, 'slot_taken', $2, $2) returning id",
        salon.company_id,
        FRIDAY_EVENING,
    )
    async with tenant(salon.pool, salon.company_id) as connection:
        await date_callback(connection, salon.company_id, callback_id)
    assert await salon.value("select due_at from callback_requests") == datetime(2026, 3, 30, 10, 30, tzinfo=UTC)
