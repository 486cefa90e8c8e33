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
    """The palette as quiet as the rest, without a blinking cursor, and patient with slow terminals."""

    CSS = """
    Palette { background: $ground-base 60%; }
    Palette #--container { width: 84; max-width: 100%; margin-top: 2; background: $ground-panel; }
    Palette #--input { border: none; height: 3; padding: 1 2 1 2; background: $ground-panel; }
    Palette SearchIcon { display: none; }
    Palette CommandInput, Palette CommandInput:focus { border: none; padding: 0; background: $ground-panel; height: 1; }
    Palette CommandList { border: none; background: $ground-panel; padding: 0 0 1 0; }
    Palette CommandList > .option-list--option { color: $tone-text; padding: 0 2; }
    Palette CommandList > .option-list--option-highlighted { background: $ground-cursor; color: $tone-bright; }
    Palette LoadingIndicator { display: none; }
    """

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
                score = matcher.match(entry.title) or 0.1 * (query.casefold() in entry.help.casefold())
                if score > 0:
                    yield Hit(score, matcher.highlight(entry.title), partial(entry.run), help=entry.help)

    return Palette(providers=[Entries], placeholder="find a command")
