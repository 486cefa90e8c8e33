"""How commands print: JSON, tables, times, and the question before something is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from askpro_console.refusal import Refused, WrongUsage
from askpro_console.terminal import harmless


def print_json(content: object) -> None:
    """Indented JSON of records, lists and plain values."""
    print(msgspec.json.format(msgspec.json.encode(content)).decode())  # noqa: T201 -- it is what commands print with


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; cells are made harmless."""
    lines = [head, *(tuple(harmless(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        shown = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(shown.rstrip())  # noqa: T201 -- it is what commands print with


def capital(text: str) -> str:
    """`text` with a capital letter first; names further on stay as they are."""
    return text[:1].upper() + text[1:]


def clock(moment: datetime) -> str:
    """A moment (aware) in the machine's zone: the time when it is recent, else with its day."""
    local = moment.astimezone()
    return f"{local:%H:%M:%S}" if moment > datetime.now(UTC) - timedelta(hours=20) else f"{local:%Y-%m-%d %H:%M}"


def agree(question: str, *, yes: bool) -> None:
    """Ask before something is changed, unless told not to.

    Raises WrongUsage when there is nobody to ask, Refused after anything but a yes.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise WrongUsage("This changes data, and there is nobody to ask.", "Add --yes, or --dry-run to only look.")
    try:
        answer = input(f"{harmless(question)} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise Refused("Nothing was changed.")
