"""What somebody most likely meant to write."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, right: Iterable[str], *, cutoff: float = 0.55) -> str | None:
    """The right word that `word` was most likely meant to be, or None when none is close (0 anything, 1 equal)."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(right), n=1, cutoff=cutoff)
    return found[0] if found else None


def perhaps(word: str, right: Iterable[str]) -> str:
    """The end of a sentence that says what is wrong: `; did you mean …?`, or nothing."""
    near = nearest(word, right)
    return f"; did you mean `{near}`?" if near else ""
