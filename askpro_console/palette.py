"""The command palette: every action and screen, found by a few of its letters. Textual's own, fed by the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input

from screens.base import PatientScreen


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the palette."""

    title: str
    help: str
    run: Callable[[], object]


class Palette(CommandPalette, PatientScreen[None]):
    """The palette without a blinking cursor, and patient with slow terminals."""

    def on_mount(self) -> None:
        """Quiet the input."""
        field = self.query_one(Input)
        field.cursor_blink = False
        field.max_length = 64


def palette(entries: Sequence[Entry]) -> Palette:
    """A palette of these entries, to be pushed as a screen."""

    class Entries(Provider):
        """Searches them."""

        async def discover(self) -> Hits:
            """All of them, while nothing is typed."""
            for entry in entries:
                yield DiscoveryHit(entry.title, partial(entry.run), help=entry.help)

        async def search(self, query: str) -> Hits:
            """Those that match."""
            matcher = self.matcher(query)
            for entry in entries:
                score = max(matcher.match(entry.title), matcher.match(entry.help) * 0.7)
                if score > 0:
                    yield Hit(score, matcher.highlight(entry.title), partial(entry.run), help=entry.help)

    return Palette(providers=[Entries], placeholder="find a command")
