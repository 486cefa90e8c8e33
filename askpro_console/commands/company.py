"""`askpro company`: make the database agree with a company's declaration."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.commands.db import reaching
from askpro_console.refusal import Refused
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.services.companies import AppliedCompany, CompanyDeclaration

NAME = "company"
HELP = "apply a company's declaration: branches, numbers, services, staff, hours"

SIGNS = {"add": "+", "change": "~", "remove": "-", "keep": "!"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    apply = verbs.add_parser("apply", help="make the database agree with the file; again changes nothing")
    apply.add_argument("file", metavar="FILE.toml", type=Path)
    apply.add_argument("--dry-run", action="store_true", help="only say what would change")
    apply.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Apply the file and say what changed."""
    from backend.services.companies import DeclarationWrong, read_declaration

    try:
        declaration = read_declaration(args.file.read_bytes())
        applied = asyncio.run(reaching(_apply(System.load().postgres(), declaration, dry_run=args.dry_run)))
    except DeclarationWrong as wrong:
        raise Refused(f"{args.file}: {wrong}.") from wrong
    except OSError as wrong:
        raise Refused(f"{args.file} cannot be read: {wrong.strerror}.") from wrong
    _print(applied, dry_run=args.dry_run, as_json=args.json)
    return 0


async def _apply(address: PostgresAddress, declaration: CompanyDeclaration, *, dry_run: bool) -> AppliedCompany:
    from backend.postgres.address import Role
    from backend.postgres.pools import connect
    from backend.services.companies import apply_company

    connection = await connect(address, Role.SETUP, application="askpro-company")
    try:
        return await apply_company(connection, declaration, dry_run=dry_run)
    finally:
        await connection.close(timeout=2)


def _print(applied: AppliedCompany, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode({"dry_run": dry_run, "changes": applied.changes}).decode())
        return
    for change in applied.changes:
        print(harmless(f"{SIGNS[change.action]} {change.kind} {change.name}  {change.detail}".rstrip()))
    if not applied.changes:
        print("Nothing to change: the database agrees already.")
    elif dry_run:
        print(f"{len(applied.changes)} changes, none of them made.")
