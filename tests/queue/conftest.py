"""Fixtures of the queue's tests."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from backend.postgres.address import PostgresAddress, Role
from tests.databases import OpenConnection
from tests.home import Shell, settle_home


@pytest.fixture
def askpro_queue(
    database: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """`askpro queue …` in this process, on the test's database."""
    settle_home(tmp_path, database, monkeypatch)
    return Shell(capsys, "queue")


@pytest.fixture
async def delivery(open_connection: OpenConnection) -> tuple[UUID, UUID]:
    """A company with one accepted delivery: the ids of both."""
    setup = await open_connection(Role.SETUP)
    row = await setup.fetchrow(
        """with company as (insert into companies (slug, name) values ('salon', 'Salon') returning id)
           insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state)
           select 'retell', 'c:call_ended', 'call_ended', 'c', id, '{}', 'accepted' from company
           returning company_id, id"""
    )
    assert row is not None
    return row["company_id"], row["id"]
