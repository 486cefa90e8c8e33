"""`askpro company`: make the database agree with companies' files, after showing what would change; and back."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import with_database
from askpro_console.company_file import CompanyFile, read_files
from askpro_console.printed import agree
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from askpro_console.terminal import coloured, harmless

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.companies.applying import AppliedCompany, CompanyChange, CompanyLine

NAME = "company"
HELP = "companies: apply a file, export one, list them, a schema and an example"

SIGNS = {"add": "+", "change": "~", "deactivate": "!", "remove": "-"}
COLOURS = {"add": "32", "change": "33", "deactivate": "35", "remove": "31"}
WORDS = {"companies": "company", "branches": "branch", "services": "service", "staff": "staff"}

Result = TypeVar("Result")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    apply = verb("apply", "show what would change, ask, and make the database agree with the files")
    apply.add_argument("files", metavar="FILE.toml", type=Path, nargs="+", help="one company each; - reads the input")
    apply.add_argument("--dry-run", action="store_true", help="only show what would change")
    apply.add_argument("-y", "--yes", action="store_true", help="do not ask")
    apply.add_argument("--json", action="store_true")
    export = verb("export", "print a company's file, as `apply` reads it")
    export.add_argument("slug", metavar="COMPANY")
    export.add_argument("-o", "--output", metavar="FILE.toml", type=Path, help="write it there")
    export.add_argument("--json", action="store_true")
    verb("list", "list the companies").add_argument("--json", action="store_true")
    verb("schema", "print a JSON Schema of the file, for editors")
    verb("example", "print a commented file to start from")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    if args.verb == "schema":
        from askpro_console.company_schema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if args.verb == "example":
        from importlib.resources import files

        print((files("askpro_console") / "company_example.toml").read_text(encoding="utf-8"), end="")
        return 0
    if args.verb == "list":
        return _list(as_json=args.json)
    if args.verb == "export":
        return _export(args)
    return _apply(args)


def _with_database(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """`work` on a connection that may declare companies."""
    from backend.postgres.address import Role

    return with_database(System.load(), Role.SETUP, "askpro-company", work)


# Apply ---------------------------------------------------------------------------------------------------------------


def _apply(args: argparse.Namespace) -> int:
    companies = read_files(args.files)
    planned = _with_database(lambda connection: _run_all(connection, companies, dry_run=True))
    changes = [change for applied in planned for change in applied.changes]
    if not args.json:
        _print_plan(companies, planned)
    apply = bool(changes) and not args.dry_run
    if apply:
        count = len(changes)
        question = f"Make {'this change' if count == 1 else f'these {count} changes'}?"
        if args.json and not args.yes:
            raise WrongUsage("Nothing can be asked between lines of JSON.", "Add --yes, or --dry-run to only look.")
        agree(question, yes=args.yes)
        _with_database(lambda connection: _run_all(connection, companies, dry_run=False, planned=planned))
    if args.json:
        _print_json(companies, planned, applied=apply, dry_run=args.dry_run)
    elif not changes:
        print("Nothing to change: the database agrees already.")
    elif apply:
        print(f"Applied: {_count(len(changes))}.")
    else:
        print(f"{_count(len(changes))}, none of them made.")
    return 0


async def _run_all(
    connection: Connection,
    companies: Sequence[CompanyFile],
    *,
    dry_run: bool,
    planned: Sequence[AppliedCompany] = (),
) -> list[AppliedCompany]:
    """Apply each company in a transaction of its own. Raises Refused."""
    from backend.services.companies.applying import ChangedMeanwhile, DeclarationWrong, apply_company

    done: list[AppliedCompany] = []
    for number, company in enumerate(companies):
        agreed = planned[number].changes if planned else None
        try:
            done.append(await apply_company(connection, company.declaration, dry_run=dry_run, agreed=agreed))
        except DeclarationWrong as wrong:
            raise Refused(company.located(wrong)) from wrong
        except ChangedMeanwhile as wrong:
            raise Refused(f"{wrong}: it was left alone.", "Apply again to see what would change now.") from wrong
    return done


def _print_plan(companies: Sequence[CompanyFile], planned: Sequence[AppliedCompany]) -> None:
    for company, applied in zip(companies, planned, strict=True):
        if applied.changes:
            print(harmless(f"{company.declaration.slug} ({company.name})"))
        for change in applied.changes:
            _print_change(change)


def _print_change(change: CompanyChange) -> None:
    note = {
        "deactivate": "  no longer declared; records refer to it: becomes inactive, is not deleted",
        "remove": "  no longer declared, and nothing refers to it",
    }.get(change.action, "")
    head = f"{SIGNS[change.action]} {WORDS[change.kind]} {change.name}{note}"
    print(f"  {_painted(head, COLOURS[change.action])}")
    if change.action == "add":
        told: dict[str, list[str]] = {}
        for field in change.fields:
            told.setdefault(field.key, []).append(field.new or "")
        for key, values in told.items():
            print(f"      {harmless(key + ': ' + ', '.join(values))}")
        return
    for field in change.fields:
        action = "change" if field.old is not None and field.new is not None else "add" if field.new else "remove"
        print(f"      {_painted(str(field), COLOURS[action])}")


def _painted(text: str, colour: str) -> str:
    text = harmless(text)
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured(os.environ) else text


def _count(changes: int) -> str:
    return f"{changes} change{'' if changes == 1 else 's'}"


def _print_json(
    companies: Sequence[CompanyFile], planned: Sequence[AppliedCompany], *, applied: bool, dry_run: bool
) -> None:
    changes = [
        {
            "company": company.declaration.slug,
            "action": change.action,
            "kind": change.kind,
            "name": change.name,
            "detail": change.detail,
            "fields": [{"key": field.key, "old": field.old, "new": field.new} for field in change.fields],
        }
        for company, one in zip(companies, planned, strict=True)
        for change in one.changes
    ]
    print(json.dumps({"dry_run": dry_run, "applied": applied, "changes": changes}, ensure_ascii=False))


# Export and list -----------------------------------------------------------------------------------------------------


def _export(args: argparse.Namespace) -> int:
    from backend.services.companies.applying import export_company
    from backend.services.companies.toml_form import write_declaration

    declaration = _with_database(lambda connection: export_company(connection, args.slug))
    if declaration is None:
        near = nearest(args.slug, [line.slug for line in _companies()])
        raise Refused(f"There is no company {args.slug}.", f"Did you mean {near}?" if near else "`askpro company list`")
    if args.json:
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(declaration)).decode() + "\n"
    else:
        text = write_declaration(declaration)
    if args.output is None:
        print(text, end="")
        return 0
    try:
        args.output.write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise Refused(f"{args.output} cannot be written: {wrong.strerror}.") from wrong
    return 0


def _companies() -> tuple[CompanyLine, ...]:
    from backend.services.companies.applying import list_companies

    return _with_database(list_companies)


def _list(*, as_json: bool) -> int:
    lines = _companies()
    if as_json:
        import msgspec

        print(msgspec.json.encode({"companies": lines}).decode())
        return 0
    head = ("company", "name", "branches", "services", "staff", "time zone", "")
    rows = [
        (
            line.slug,
            line.name,
            str(line.branches),
            str(line.services),
            str(line.staff),
            line.time_zone,
            "" if line.is_active else "inactive",
        )
        for line in lines
    ]
    if not rows:
        print("There are no companies yet: `askpro company example` prints a file to start from.")
        return 0
    table = [head, *(tuple(map(harmless, row)) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
