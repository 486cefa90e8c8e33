"""The filter of a list: words that must all be found, `!word` that must not, `~word` whose letters come in order."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from widgets.safe_text import safe_text

LONGEST = 256


_ACCENTS = re.compile("[\u0300-\u036f]+")


def search_form(text: str) -> str:
    """Text as it is compared: without case and accents. For comparing only, never for showing."""
    folded = text.casefold()
    return folded if folded.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFKD", folded))


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a filter."""

    kind: Literal["has", "lacks", "fuzzy"]
    word: str

    def matches(self, text: str) -> bool:
        """Whether text in search form passes."""
        if self.kind == "has":
            return self.word in text
        if self.kind == "lacks":
            return self.word not in text
        position = -1
        for character in self.word:
            position = text.find(character, position + 1)
            if position < 0:
                return False
        return True


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A parsed filter."""

    text: str = ""
    """As typed."""
    terms: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, text: str) -> bool:
        """Whether text in search form passes all terms."""
        return all(term.matches(text) for term in self.terms)


def parse_filter(text: str) -> RowFilter:
    """The filter that was typed; never fails, a lone `!` or `~` is not yet a term."""
    text = safe_text(text.strip(), LONGEST)
    terms: list[Term] = []
    for word in text.split():
        if word[0] == "!" and len(word) > 1:
            terms.append(Term("lacks", search_form(word[1:])))
        elif word[0] == "~" and len(word) > 1:
            terms.append(Term("fuzzy", search_form(word[1:])))
        elif word not in {"!", "~"}:
            terms.append(Term("has", search_form(word)))
    return RowFilter(text, tuple(terms))
