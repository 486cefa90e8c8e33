"""`askpro db`: bring the schema to its head; verify what is in the database, or look at how it was."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import reaching
from askpro_console.refusal import Refused
from askpro_console.system import System

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.postgres.verify import Check

NAME = "db"
HELP = "migrate the database, verify what is in it, see appointments as they were"

Result = TypeVar("Result")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in (
        ("migrate", "apply the migrations that are missing (a start does so by itself)"),
        ("verify", "check the schema and that appointments are what their events add up to"),
        ("verify-schema", "check the schema alone"),
    ):
        verbs.add_parser(verb, help=text, description=text).add_argument("--json", action="store_true")
    text = "show appointments as their events up to a time say, beside the tables; nothing is written"
    replay = verbs.add_parser("replay", help=text, description=text)
    replay.add_argument(
        "--until",
        required=True,
        metavar="TIME",
        help="as in 2026-03-02T10:00+01:00; local time without offset",
    )
    replay.add_argument("--company", metavar="SLUG", help="only this company's")
    replay.add_argument("--appointment", metavar="ID", help="only this one, with all its fields")
    replay.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    system = System.load()
    address = system.postgres()
    if args.verb == "migrate":
        if system.join is not None:
            raise Refused("A node that joined does not migrate.", "Do it on the machine that has the database.")
        return _migrate(address, as_json=args.json)
    if args.verb == "replay":
        from askpro_console.replay_report import replay

        text, is_well = replay(address, args)
        print(text)
        return 0 if is_well else 1
    return _verify(address, schema_only=args.verb == "verify-schema", as_json=args.json)


def _migrate(address: PostgresAddress, *, as_json: bool) -> int:
    from backend.postgres.migrate import MigrationError, migrate

    try:
        applied = asyncio.run(reaching(migrate(address)))
    except MigrationError as wrong:
        raise Refused(str(wrong)) from wrong
    if as_json:
        print(json.dumps({"applied": [{"name": one.name, "seconds": round(one.seconds, 3)} for one in applied]}))
        return 0
    for one in applied:
        print(f"{one.name} applied in {one.seconds:.2f} s")
    if not applied:
        print("The schema is at its head: nothing to apply.")
    return 0


def _verify(address: PostgresAddress, *, schema_only: bool, as_json: bool) -> int:
    checks = asyncio.run(reaching(_checks(address, schema_only=schema_only)))
    if as_json:
        told = [
            {"name": one.name, "looked_at": one.looked_at, "broken": one.broken, "differences": one.differences}
            for one in checks
        ]
        print(json.dumps({"checks": told}, ensure_ascii=False))
    else:
        for one in checks:
            print(f"{'ok  ' if not one.broken else 'CRIT'}  {one.name}: {one.broken} of {one.looked_at} differ")
            for difference in one.differences:
                print(f"      {difference}")
    return 1 if any(one.broken for one in checks) else 0


async def _checks(address: PostgresAddress, *, schema_only: bool) -> tuple[Check, ...]:
    from backend.postgres.address import Role
    from backend.postgres.pools import connect
    from backend.postgres.verify import check_schema, verify

    connection = await connect(address, Role.CONSOLE, application="askpro-verify")
    try:
        return (await check_schema(connection),) if schema_only else await verify(connection)
    finally:
        await connection.close(timeout=2)
