"""A durable PostgreSQL of a measurement's own, with an empty system in it, in a scratch directory."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.bootstrap import bootstrap
from backend.postgres.migrate import migrate
from backend.stack.failures import StackFailure
from backend.stack.layout import Layout
from backend.stack.postgres_server import PostgresServer
from backend.stack.spawn import spawn

START_LIMIT_S = 60.0


class ScratchServerFailed(StackFailure):
    """The server did not come up."""


@contextmanager
def scratch_postgres(base: Path) -> Iterator[tuple[PostgresAddress, Superuser]]:
    """Run the server within the block; stopped afterwards, its files are the caller's to delete.

    Raises ScratchServerFailed, and what the server's own set-up raises.
    """
    base.chmod(0o755)
    layout = Layout(config=base / "config", data=base / "data", state=base / "state", run=base / "run")
    server = PostgresServer(layout, secrets.token_hex(16))
    server.initialise()
    with (base / "postgres.log").open("ab") as log:
        child = spawn(server.command(), output=log.fileno())
    try:
        end = time.monotonic() + START_LIMIT_S
        while not server.ready(child.pid):
            if time.monotonic() > end:
                raise ScratchServerFailed(f"PostgreSQL did not start within {START_LIMIT_S:.0f} s.")
            time.sleep(0.02)
        passwords = {role.value: secrets.token_hex(8) for role in Role}
        superuser = server.superuser
        address = PostgresAddress(superuser.host, superuser.port, "askpro", passwords)

        async def prepare() -> None:
            await bootstrap(superuser, passwords)
            await migrate(address)

        asyncio.run(prepare())
        yield address, superuser
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(30)
