"""Appointments as they were: the same events, up to a time."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from askpro_console.commands.db import configure
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.replay_report import replay
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.appointment_replay import Calendars, Replayed, replayed
from backend.postgres.pools import Connection, tenant
from backend.services.booking import cancel, reschedule
from tests.databases import OpenConnection, OpenPool
from tests.services.atelier import ASKED, TEN, Atelier, open_atelier

HOUR = timedelta(hours=1)


@pytest.fixture
async def atelier(setup: Connection, open_role_pool: OpenPool) -> Atelier:
    return await open_atelier(setup, await open_role_pool(Role.WORKER, 2))


async def now(atelier: Atelier) -> datetime:
    """By the database's clock."""
    found = await atelier.value("select clock_timestamp()")
    assert isinstance(found, datetime)
    return found


async def lived(atelier: Atelier) -> tuple[datetime, datetime]:
    """One that is moved and cancelled, one that is booked later; the instants after the first and the second event."""
    booked = await atelier.book(service="farbe")
    after_first = await now(atelier)
    async with tenant(atelier.pool, atelier.company_id) as connection:
        await reschedule(
            connection,
            atelier.company_id,
            booked.appointment_id,
            starts_at=TEN + HOUR,
            actor="test",
            asked_at=ASKED,
        )
    after_second = await now(atelier)
    async with tenant(atelier.pool, atelier.company_id) as connection:
        await cancel(connection, atelier.company_id, booked.appointment_id, actor="test")
    await atelier.book("later", starts_at=TEN + 3 * HOUR)
    return after_first, after_second


async def test_appointments_are_shown_as_they_were(atelier: Atelier, open_connection: OpenConnection) -> None:
    after_first, after_second = await lived(atelier)
    console = await open_connection(Role.CONSOLE)

    async def at(until: datetime) -> list[Replayed]:
        return [one async for one in replayed(console, until)]

    first, later = await at(after_first)
    assert first.then is not None
    assert (first.then["starts_at"], first.then["status"], first.then["version"]) == (TEN, "confirmed", 1)
    assert first.now["starts_at"] == TEN + HOUR
    assert set(first.differing) == {"starts_at", "ends_at", "offered", "status", "version"}
    assert later.then is None
    moved = (await at(after_second))[0]
    assert moved.then is not None
    assert (moved.then["starts_at"], moved.now["status"]) == (TEN + HOUR, "cancelled")
    assert all(one.differing == () and one.then is not None for one in await at(await now(atelier)))
    assert await at(after_first - timedelta(days=1)) != []


async def test_who_was_in_two_places_is_found(atelier: Atelier, open_connection: OpenConnection) -> None:
    await atelier.book(service="farbe")
    await atelier.book("in the gap", starts_at=TEN + HOUR / 2)
    await atelier.book("course", service="kurs", staff="cem")
    await atelier.book("course too", service="kurs", staff="cem")
    console = await open_connection(Role.CONSOLE)
    calendars = Calendars()
    seen = [one async for one in replayed(console, await now(atelier))]
    for one in seen:
        calendars.take(one)
    assert calendars.overlaps() == []
    calendars.take(seen[1])
    assert calendars.overlaps() == [(seen[1].id, seen[1].id)]


async def test_the_command_shows_what_was_and_writes_nothing(atelier: Atelier, database: PostgresAddress) -> None:
    after_first, _ = await lived(atelier)
    count = "select count(*) from appointment_events"
    before = await atelier.value(count)

    async def told(*arguments: str) -> tuple[str, bool]:
        parser = argparse.ArgumentParser()
        configure(parser)
        return await asyncio.to_thread(replay, database, parser.parse_args(["replay", *arguments]))

    until = after_first.astimezone(UTC).isoformat()
    text, is_well = await told("--until", until)
    assert is_well
    assert "Nothing has been written." in text
    assert "1 made later, 1 changed since" in text
    appointment = str(await atelier.value("select id from appointments order by id limit 1"))
    text, _ = await told("--until", until, "--appointment", appointment)
    assert "* status              confirmed                         cancelled" in text
    text, _ = await told("--until", until, "--company", "atelier", "--json")
    assert json.loads(text)["appointments"][0]["differing"]
    assert await atelier.value(count) == before
    with pytest.raises(WrongUsage, match="no time"):
        await told("--until", "yesterday")
    with pytest.raises(Refused, match="no company atelie"):
        await told("--until", until, "--company", "atelie")
