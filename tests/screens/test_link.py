"""A screen's line to the database: failures as sentences, and what is known of a change that got no answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.services.operating.audit import By, record
from backend.services.operating.refusals import NotPossible
from screens.host import Host
from screens.link import Link, NotDone, sentence_of
from tests.databases import OpenConnection


def link(database: PostgresAddress | None) -> Link:
    """The line of a console with that database."""
    return Link(cast("Host", SimpleNamespace(postgres=database, user="anna", node="front")))


async def test_a_change_is_kept_and_a_refusal_leaves_nothing(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    async def note(connection: Connection, by: By) -> str:
        await record(connection, by, "held.retry", "job 1", reason="")
        return by.actor

    async def note_and_refuse(connection: Connection, by: By) -> None:
        await record(connection, by, "held.retry", "job 2", reason="")
        raise NotPossible("There is no job 2.", "`askpro queue ls` shows which there are.")

    assert await link(database).change(note) == "anna"
    with pytest.raises(NotDone) as refused:
        await link(database).change(note_and_refuse)
    assert str(refused.value) == "There is no job 2. `askpro queue ls` shows which there are."
    look = await open_connection(Role.WORKER)
    assert await look.fetchval("select array_agg(subject) from audit_log") == ["job 1"]


async def test_what_takes_too_long_says_that_nothing_was_changed(
    database: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screens.link.LIMIT_S", 0.5)

    async def wait(_connection: Connection, _by: By) -> None:
        await asyncio.Event().wait()

    with pytest.raises(NotDone, match=r"did not answer within .* s\. Nothing was changed\."):
        await link(database).change(wait)


async def test_a_change_whose_end_is_not_heard_of_says_to_look_first(database: PostgresAddress) -> None:
    async def cut_off(connection: Connection, _by: By) -> None:
        connection.terminate()

    with pytest.raises(NotDone, match="did not say whether it was done: look before you do it again"):
        await link(database).change(cut_off)


async def test_a_read_that_fails_says_what_to_press(database: PostgresAddress) -> None:
    async def killed(connection: Connection) -> None:
        await connection.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(NotDone, match=r"The connection to the database was lost\. ctrl\+r tries again\."):
        await link(database).run(killed)
    with pytest.raises(NotDone, match="The database is not known"):
        await link(None).run(killed)


def test_errors_of_the_system_are_sentences() -> None:
    assert sentence_of(ConnectionRefusedError(111, "Connection refused")) == (
        "The database cannot be reached: Connection refused."
    )
    assert sentence_of(ValueError("something else")) == "Something else."
