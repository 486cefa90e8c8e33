"""A short-lived process: roles, database, schema and migrations, so that the supervisor loads no database client.

Reads one JSON object from standard input, writes JSON lines to standard output: `{"detail": ...}` for each thing done,
`{"error": ..., "hint": ...}` when it fails (exit code 1).
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

DATABASE = "askpro"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to prepare. Holds passwords, so it travels through a pipe."""

    host: str
    port: int
    superuser_password: str
    passwords: dict[str, str]


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the answer."""

    detail: str = ""
    error: str = ""
    hint: str = ""


def tell(told: Told) -> None:
    """Write one line at once."""
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


async def prepare(order: Order) -> None:
    """Bootstrap and migrate. Raises what those raise."""
    from backend.postgres.address import PostgresAddress, Superuser
    from backend.postgres.bootstrap import bootstrap
    from backend.postgres.migrate import migrate

    superuser = Superuser(host=order.host, port=order.port, password=order.superuser_password)
    await bootstrap(superuser, order.passwords, database=DATABASE)
    address = PostgresAddress(host=order.host, port=order.port, database=DATABASE, passwords=order.passwords)
    applied = await migrate(address)
    names = ", ".join(one.name for one in applied)
    tell(Told(detail=f"applied {names}" if names else "up to date"))


def main() -> int:
    """Prepare what standard input asks for."""
    # Imported before the order comes: the server starts meanwhile.
    from backend.postgres.migrate import MigrationError
    from backend.postgres.pools import DATABASE_ERRORS

    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        asyncio.run(prepare(order))
    except MigrationError as error:
        tell(Told(error=str(error), hint="Nothing of the failed migration was kept; mend it and start again."))
    except DATABASE_ERRORS as error:
        reason = str(error) or type(error).__name__
        tell(Told(error=f"The database refused the set-up: {reason}", hint="`askpro logs postgres` says more."))
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
