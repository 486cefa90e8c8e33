"""Names compared as people mean them: Müller, Mueller and Muller are one, titles do not count.

Source of the folding: DIN 5007-2 (ä is ae). The short form (a) counts as the same, for a transcript may have any.
"""

from __future__ import annotations

import re
import unicodedata

_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "æ": "ae", "œ": "oe", "ø": "oe", "ł": "l"})
_SHORT = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("ss", "s"))
_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = re.compile("['’`´]")

TITLES = frozenset({
    "herr", "herrn", "frau", "fraulein", "fr", "hr", "familie", "fam", "mr", "mrs", "ms",
    "dr", "doktor", "prof", "professor", "med", "dent", "phil", "jur", "rer", "nat",
    "ing", "dipl", "mag", "msc", "bsc", "mba", "phd",
})  # fmt: skip
"""Folded words that are no part of a name when another word is left."""

NO_NAMES = frozenset({"unbekannt", "unknown", "anonym", "anonymous", "none", "null", "kein name", "n a"})
"""Keys of what voice agents put down when nobody gave a name."""


def fold(text: str) -> str:
    """`text` for comparing with other folded text: lower case, without accents, ae/oe/ue/ss shortened."""
    spelled = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).translate(_LETTERS)
    bare = "".join(char for char in unicodedata.normalize("NFD", spelled) if not unicodedata.combining(char))
    for long, short in _SHORT:
        bare = bare.replace(long, short)
    return bare


def name_key(name: str) -> str:
    """The folded full name without titles, single-spaced; empty when there is no name in it. Equal keys agree.

    `Bode, Dr. Anna` is read as `Anna Bode`.
    """
    family, comma, given = name.partition(",")
    if comma and _words(given) and _words(family):
        name = f"{given} {family}"
    key = " ".join(_words(name))
    return "" if key in NO_NAMES else key


def names_agree(one: str, other: str) -> bool:
    """Whether two full names are the same person's as far as names can tell; a missing name agrees with none."""
    key = name_key(one)
    return key != "" and key == name_key(other)


def split_name(name: str) -> tuple[str, str]:
    """First and last name of a full name: the last word, with particles before it (`von der`), is the last name."""
    family, comma, given = (part.strip() for part in name.partition(","))
    if comma and family and given:
        return given, family
    words = name.split()
    while len(words) > 1 and fold(words[0]).strip(".") in TITLES:
        words.pop(0)
    if not words:
        return "", ""
    at = len(words) - 1
    while at > 1 and words[at - 1] in _PARTICLES:
        at -= 1
    return " ".join(words[:at]), " ".join(words[at:])


_PARTICLES = frozenset(
    {"von", "van", "de", "der", "den", "vom", "zu", "zum", "zur", "da", "di", "del", "la", "le", "ten", "ter"}
)


def _words(name: str) -> list[str]:
    words = [fold(word) for word in _WORD.findall(_APOSTROPHES.sub("", unicodedata.normalize("NFC", name)))]
    kept = [word for word in words if word not in TITLES]
    return kept or words
