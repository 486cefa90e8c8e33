"""A company's file: its declaration, and the line of every mistake in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused, WrongUsage
from askpro_console.terminal import harmless
from askpro_console.toml_lines import key_lines, line_of

if TYPE_CHECKING:
    from backend.services.companies.applying import CompanyDeclaration, DeclarationWrong

STANDARD_INPUT = Path("-")

_PLACE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True, slots=True)
class CompanyFile:
    """A file that was read."""

    name: str
    text: str
    declaration: CompanyDeclaration

    def located(self, wrong: DeclarationWrong) -> str:
        """The mistakes, each on a line of its own with file and line."""
        return located(self.name, self.text, wrong)


def read_files(files: Sequence[Path]) -> list[CompanyFile]:
    """The declarations. Raises WrongUsage with every mistake in all of them; Refused for a file that can't be read."""
    from backend.services.companies.applying import DeclarationWrong, read_declaration

    read: list[CompanyFile] = []
    mistakes: list[str] = []
    for file in files:
        name = "standard input" if file == STANDARD_INPUT else str(file)
        try:
            content = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        except OSError as wrong:
            raise Refused(f"{file} cannot be read: {wrong.strerror}.") from wrong
        text = content.decode(errors="replace")
        try:
            declaration = read_declaration(content)
        except DeclarationWrong as wrong:
            mistakes.append(located(name, text, wrong))
            continue
        if (twin := next((one.name for one in read if one.declaration.slug == declaration.slug), None)) is not None:
            mistakes.append(f"{name}: {declaration.slug} is declared in {twin} too")
        read.append(CompanyFile(name, text, declaration))
    if mistakes:
        raise WrongUsage("\n".join(mistakes))
    return read


def located(name: str, text: str, wrong: DeclarationWrong) -> str:
    """The mistakes of a file, each on a line of its own that begins with file and line."""
    places = key_lines(text) if any(mistake.path for mistake in wrong.mistakes) else {}
    found: list[tuple[int, str]] = []
    for mistake in wrong.mistakes:
        syntax = None if mistake.path else _PLACE.search(mistake.message)
        line = int(syntax[1]) if syntax else line_of(places, mistake.path)
        found.append((line, f"{name}:{line}: {harmless(mistake.message)}"))
    return "\n".join(message for _, message in sorted(found))
