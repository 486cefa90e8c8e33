"""A home directory from which `askpro` finds a test's database, and a shell that runs it there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from askpro_console.cli import main
from backend.postgres.address import PostgresAddress
from backend.stack.endpoints import Endpoints
from backend.stack.layout import Layout


def settle_home(home: Path, database: PostgresAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process find the database as that of a running system, without Valkey and API."""
    monkeypatch.setenv("ASKPRO_HOME", str(home))
    layout = Layout.from_environment()
    for directory in (layout.run, layout.data):
        directory.mkdir(parents=True, exist_ok=True)
    layout.credentials_file.write_text(json.dumps(dict(database.passwords)))
    layout.credentials_file.chmod(0o600)
    Endpoints(
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_database=database.database,
        valkey_url="unix:///nowhere",
        api_url="http://127.0.0.1:1",
    ).write(layout.endpoints_file)


class Shell:
    """Runs `askpro`, or with `command` one of its commands, beside the test's event loop."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *command: str) -> None:
        self._capsys = capsys
        self._command = command

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it prints; fails when it ends with another exit code."""
        self._capsys.readouterr()
        assert await asyncio.to_thread(main, [*self._command, *arguments]) == code
        printed = self._capsys.readouterr()
        return printed.out if code == 0 else printed.err

    async def read(self, *arguments: str) -> object:
        """What it prints as JSON."""
        found: object = json.loads(await self(*arguments, "--json"))
        return found
