"""What a terminal sends, before it is parsed: pastes are cut short and freed of control characters.

A paste with escape sequences costs Textual's parser seconds and hundreds of megabytes; one of a megabyte would all go
into an input. Here a paste is taken out of the stream and at most `LONGEST` of its harmless characters are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

START = "\x1b[200~"
END = "\x1b[201~"

LONGEST = 256
"""Characters that a paste may bring in."""


@dataclass(frozen=True, slots=True)
class Pasted:
    """A finished paste, harmless."""

    text: str


class PasteGuard:
    """Splits what the terminal sends into keys (plain strings, to be parsed) and finished pastes."""

    def __init__(self) -> None:
        self._held = ""
        """The end of the last chunk when it may be the beginning of a marker."""
        self._paste: list[str] | None = None
        self._length = 0

    def feed(self, data: str) -> Iterator[str | Pasted]:
        """The parts of the next chunk in order. Work and memory are bounded by the chunk, whatever is in it."""
        data = self._held + data
        self._held = ""
        while data:
            marker = START if self._paste is None else END
            place = data.find(marker)
            if place < 0:
                kept = _overlap(data, marker)
                self._held = data[len(data) - kept :]
                data = data[: len(data) - kept]
                if data and self._paste is None:
                    yield data
                elif data:
                    self._take(data)
                return
            before, data = data[:place], data[place + len(marker) :]
            if self._paste is None:
                if before:
                    yield before
                self._paste, self._length = [], 0
            else:
                self._take(before)
                yield Pasted("".join(self._paste))
                self._paste = None

    def idle(self) -> str:
        """What was held back and is no marker after all, once nothing more came for a while: a lone escape key."""
        if self._paste is not None:
            return ""
        held, self._held = self._held, ""
        return held

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def _take(self, text: str) -> None:
        assert self._paste is not None
        room = LONGEST - self._length
        if room <= 0:
            return
        for character in text:
            if character in "\t\n\r":
                kept = " "
            elif character.isprintable():
                kept = character
            else:
                continue
            self._paste.append(kept)
            room -= 1
            if room <= 0:
                break
        self._length = LONGEST - room


def _overlap(data: str, marker: str) -> int:
    """Length of the longest end of `data` that a marker begins with."""
    for length in range(min(len(data), len(marker) - 1), 0, -1):
        if data.endswith(marker[:length]):
            return length
    return 0
