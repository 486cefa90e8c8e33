"""`askpro token`: tokens of the HTTP API, each for one company: make, list, rotate, revoke."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import with_database
from askpro_console.operator_name import operator_name
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.spans import span
from askpro_console.system import System
from askpro_console.terminal import harmless
from backend.domain.vocabulary import TokenScope

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.tokens import NewToken, TokenLine, TokenRefused

NAME = "token"
HELP = "tokens of the HTTP API: create, list, rotate, revoke"

ALL = "all"


Result = TypeVar("Result")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = verbs.add_parser("create", help="make a token; it is shown once")
    create.add_argument("--company", metavar="SLUG", required=True, help="whose data it reaches")
    create.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        metavar="SCOPE",
        help=f"what it may do, may be repeated: {', '.join(TokenScope)}; {ALL} for all. Writing includes reading",
    )
    create.add_argument("--name", default="", help="what it is for, as in till or website")
    create.add_argument("--expires", metavar="SPAN", default="90d", help="how long it is good: 12h, 90d, 52w (90d)")
    listing = verbs.add_parser("list", help="list tokens, when they expire and were last used")
    listing.add_argument("--company", metavar="SLUG", help="of this company only")
    rotate = verbs.add_parser("rotate", help="make a new token in place of one, which is good a little longer")
    rotate.add_argument("id", metavar="ID", help="the token's id, from `askpro token list`")
    rotate.add_argument("--overlap", metavar="SPAN", default="24h", help="the old one is good so much longer (24h)")
    rotate.add_argument(
        "--expires", metavar="SPAN", help="how long the new one is good; without it, as the old one was"
    )
    revoke = verbs.add_parser("revoke", help="end a token at once")
    revoke.add_argument("id", metavar="ID", help="the token's id, from `askpro token list`")
    revoke.add_argument("-y", "--yes", action="store_true", help="do not ask")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    match args.verb:
        case "create":
            return _create(args)
        case "list":
            return _list(args)
        case "rotate":
            return _rotate(args)
        case _:
            return _revoke(args)


def _create(args: argparse.Namespace) -> int:
    from backend.services.tokens import create_token

    scopes = _scopes(args.scopes or [])
    life = _span("--expires", args.expires)
    name = args.name or f"{args.company} {datetime.now(UTC):%Y-%m-%d}"
    made: NewToken = _with_database(
        lambda connection: create_token(
            connection, args.company, name=name, scopes=scopes, life=life, created_by=operator_name()
        ),
        changes=True,
    )
    _tell(made, as_json=args.json)
    return 0


def _list(args: argparse.Namespace) -> int:
    from backend.services.tokens import list_tokens

    lines: list[TokenLine] = _with_database(lambda connection: list_tokens(connection, args.company), changes=False)
    if args.json:
        print_json(lines)
    elif not lines:
        print("There are no tokens. `askpro token create` makes one.")
    else:
        print_table(
            ("ID", "COMPANY", "NAME", "STATE", "EXPIRES", "LAST USED", "SCOPES"),
            (
                (
                    line.id,
                    line.company,
                    line.name,
                    line.state,
                    f"{line.expires_at.astimezone():%Y-%m-%d %H:%M}",
                    "never" if line.last_used_at is None else clock(line.last_used_at),
                    " ".join(line.scopes),
                )
                for line in lines
            ),
        )
    return 0


def _rotate(args: argparse.Namespace) -> int:
    from backend.services.tokens import rotate_token

    overlap = timedelta(0) if args.overlap == "0" else _span("--overlap", args.overlap)
    life = None if args.expires is None else _span("--expires", args.expires)
    made: NewToken = _with_database(
        lambda connection: rotate_token(connection, args.id, overlap=overlap, life=life, created_by=operator_name()),
        changes=True,
    )
    _tell(made, as_json=args.json, old=args.id)
    return 0


def _revoke(args: argparse.Namespace) -> int:
    from backend.services.tokens import revoke_token

    agree(f"End the token {args.id} at once?", yes=args.yes)
    is_new: bool = _with_database(lambda connection: revoke_token(connection, args.id), changes=True)
    if args.json:
        print_json({"id": args.id, "revoked": True, "was_revoked_before": not is_new})
    else:
        print(harmless(f"{args.id} is revoked." if is_new else f"{args.id} was revoked before."))
    return 0


def _tell(made: NewToken, *, as_json: bool, old: str = "") -> None:
    if as_json:
        print_json(made)
        return
    print(made.token)
    print(f"\nThis is the only time it is shown: keep it where secrets are kept. Id {made.id}.")
    print(
        harmless(f"For {made.company}, {' '.join(made.scopes)}, until {made.expires_at.astimezone():%Y-%m-%d %H:%M}.")
    )
    if made.old_expires_at is not None:
        print(harmless(f"The old one, {old}, is good until {made.old_expires_at.astimezone():%Y-%m-%d %H:%M}."))


def _scopes(words: Sequence[str]) -> list[TokenScope]:
    """The scopes that were named. Raises WrongUsage."""
    if not words:
        raise WrongUsage("--scope says what the token may do.", f"There are: {', '.join(TokenScope)}, {ALL}.")
    if ALL in words:
        return list(TokenScope)
    found: list[TokenScope] = []
    for word in words:
        if word not in set(TokenScope):
            near = nearest(word, list(TokenScope))
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(TokenScope)}, {ALL}."
            raise WrongUsage(f"--scope: there is no {word}.", hint)
        found.append(TokenScope(word))
    return found


def _span(option: str, text: str) -> timedelta:
    """A length of time such as 12h, 90d, 52w. Raises WrongUsage."""
    try:
        return span(text)
    except argparse.ArgumentTypeError as wrong:
        raise WrongUsage(f"{option}: {wrong}.") from None


def _with_database(work: Callable[[Connection], Awaitable[Result]], *, changes: bool) -> Result:
    """`work` as whoever may do it, its refusals as sentences. Raises Refused."""
    from backend.postgres.address import Role
    from backend.services.tokens import TokenRefused

    role = Role.SETUP if changes else Role.CONSOLE
    try:
        return with_database(System.load(), role, "askpro-token", work)
    except TokenRefused as refused:
        raise Refused(str(refused), _hint(refused)) from refused


def _hint(refused: TokenRefused) -> str:
    from backend.services.tokens import CompanyUnknown, TokenUnknown

    if isinstance(refused, CompanyUnknown):
        near = nearest(refused.slug, list(refused.slugs))
        return f"Did you mean {near}?" if near else "`askpro company list`"
    return "`askpro token list`" if isinstance(refused, TokenUnknown) else ""
