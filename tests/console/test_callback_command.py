"""`askpro callback`: what is open, what is overdue, who settled what; `askpro notify`: what the mail server says."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from uuid import UUID

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.services.companies.applying import apply_company
from tests.databases import OpenConnection
from tests.home import Shell, settle_home
from tests.services.conftest import SALON
from tests.services.mail_server import mail_server


@pytest.fixture
def askpro(
    database: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    settle_home(tmp_path, database, monkeypatch)
    return Shell(capsys)


@pytest.fixture
async def setup(open_connection: OpenConnection) -> Connection:
    connection = await open_connection(Role.SETUP)
    await apply_company(connection, SALON)
    await connection.execute(
        "insert into callback_requests (company_id, name, phone, reason, due_at, priority) "
        "select id, item.name, '+4917012345678', item.reason, now() + item.due, item.priority from companies, (values "
        "('Eva', 'Preis', interval '-90 min', 0), ('Tom', 'Schmerzen', interval '30 min', 1)) "
        "item (name, reason, due, priority)"
    )
    return connection


async def listed(askpro: Shell, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(await askpro("callback", "ls", "--json", *arguments))
    return found


@pytest.mark.usefixtures("setup")
async def test_what_is_due_first_stands_first_and_numbers_are_masked(askpro: Shell) -> None:
    lines = (await askpro("callback", "ls")).splitlines()
    assert "Eva" in lines[1]
    assert "1 h overdue" in lines[1]
    assert "open, urgent" in lines[2]
    assert "+49••••678" in lines[1]
    assert [line["name"] for line in await listed(askpro, "--overdue")] == ["Eva"]
    assert len(await listed(askpro, "--company", SALON.slug)) == 2


@pytest.mark.usefixtures("setup")
async def test_callbacks_of_a_mistyped_company_are_not_said_to_be_none(askpro: Shell) -> None:
    said = await askpro("callback", "ls", "--company", f"{SALON.slug}x", code=1)

    assert f"There is no company {SALON.slug}x." in said
    assert f"Did you mean {SALON.slug}?" in said


@pytest.mark.usefixtures("setup")
async def test_whole_numbers_are_shown_for_a_reason_that_is_kept_without_them(
    askpro: Shell, open_connection: OpenConnection
) -> None:
    console = await open_connection(Role.CONSOLE)
    await askpro("callback", "ls", "--all")
    for reason in ((), ("--reason", "  ")):
        assert "for a reason" in await askpro("callback", "ls", "--reveal", *reason, code=2)
    assert "without --reveal" in await askpro("callback", "ls", "--reason", "x", code=2)
    assert await console.fetchval("select count(*) from audit_log") == 0
    assert (await askpro("callback", "ls", "--reveal", "--reason", "ticket\n 7")).count("+4917012345678") == 2
    (line,) = await listed(askpro, "--overdue", "--reveal", "--reason", "calling back")
    assert line["phone"] == "+4917012345678"
    await askpro("callback", "ls", "--company", "nobody", "--reveal", "--reason", "nothing to show", code=1)
    kept = await console.fetch("select actor, action, subject, reason, detail::text from audit_log order by id")
    assert [tuple(row)[:4] for row in kept] == [
        (getpass.getuser(), "callback.reveal", "2 callbacks", "ticket 7"),
        (getpass.getuser(), "callback.reveal", f"callback {line['id']}", "calling back"),
    ]
    assert json.loads(kept[1]["detail"]) == {"callbacks": [line["id"]], "companies": {SALON.slug: 1}}
    assert not any("12345678" in row["detail"] for row in kept)


@pytest.mark.parametrize(("verb", "state"), [("done", "done"), ("drop", "dropped")])
async def test_who_settles_a_callback_is_on_record(askpro: Shell, setup: Connection, verb: str, state: str) -> None:
    first, second = await listed(askpro)
    await askpro("callback", verb, str(first["id"]), "--note", "Ruft \x1b[31mselbst\x00 an")
    row = await setup.fetchrow(
        "select state, closed_by, note from callback_requests where id = $1", UUID(str(first["id"]))
    )
    assert row is not None
    assert (row["state"], row["closed_by"]) == (state, getpass.getuser())
    assert [line["id"] for line in await listed(askpro)] == [second["id"]]
    shown = await askpro("callback", "ls", "--all")
    assert "\x1b" not in shown
    told = await askpro("callback", "drop", str(first["id"]), code=1)
    assert f"it is {state} already by {getpass.getuser()}" in told


@pytest.mark.usefixtures("setup")
async def test_a_callback_that_is_not_there_is_told(askpro: Shell) -> None:
    assert "no callback request" in await askpro("callback", "done", str(UUID(int=1)), code=1)
    assert "is no id" in await askpro("callback", "done", "7", code=2)


def files(directory: Path) -> list[bytes]:
    """The messages that lie somewhere below."""
    return [file.read_bytes() for file in directory.rglob("*.eml")]


async def test_a_test_message_goes_where_messages_go(
    askpro: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the message is a file" in await askpro("notify", "test", "hans@kunde.test")
    (content,) = files(tmp_path)
    assert b"To: hans@kunde.test" in content
    async with mail_server() as server:
        monkeypatch.setenv("ASKPRO_NOTIFICATIONS_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("ASKPRO_NOTIFICATIONS_SMTP_PORT", str(server.port))
        monkeypatch.setenv("ASKPRO_NOTIFICATIONS_SMTP_SECURITY", "none")
        monkeypatch.setenv("ASKPRO_NOTIFICATIONS_SENDER", "termine@askpro.test")
        assert "250 queued as 4711" in await askpro("notify", "test", "hans@kunde.test")
        server.to_recipient = "550 5.1.1 no such user"
        assert "550 5.1.1 no such user" in await askpro("notify", "test", "hans@kunde.test", code=1)
        (line,) = (line for line in (await askpro("doctor", code=0)).splitlines() if "mail server" in line)
        assert f"127.0.0.1:{server.port} answers: 250" in line


async def test_an_address_that_is_none_is_wrong_usage(askpro: Shell) -> None:
    assert "no e-mail address" in await askpro("notify", "test", "a@b\r\nBcc: c@d.test", code=2)
