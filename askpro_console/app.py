"""The console's Textual app: modes, actions, the feed, the clock. What it shows is the screens' matter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App

from askpro_console import modes
from askpro_console.actions import ACTIONS, BY_ID, Action, Danger, valid_on
from askpro_console.feed import Feed, Reader
from askpro_console.safe_output import HarmlessLines
from askpro_console.themes import THEMES
from screens.base import ConsoleScreen
from screens.host import Arrived, Seen, Severity
from widgets.key_hints import Hint

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress

log = logging.getLogger(__name__)

TICK_S = 1.0


@dataclass(slots=True)
class Sitting:
    """Who sits where, and how: what does not change while the console runs."""

    user: str = ""
    scope: str = "all companies"
    read_only: bool = False
    theme: str = "night"
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys by action, from the user's keymap; defaults apply to what it does not name."""


class AskProApp(App[int]):
    """The console."""

    CSS_PATH = "console.tcss"
    TITLE = "AskPro"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = "VirtualTable"
    MODES: ClassVar[dict[str, Any]] = {mode.name: mode.make for mode in modes.MODES}
    BINDINGS: ClassVar[list[Any]] = []

    def __init__(
        self,
        connect: Callable[[], Awaitable[Reader]],
        sitting: Sitting | None = None,
        *,
        first: str = modes.MODES[0].name,
        known: Callable[[], Sequence[Seen]] = tuple,
    ) -> None:
        """A console that shows `first` and then reads.

        Args:
            connect: Makes the snapshot reader, after the first frame.
            sitting: Who sits here and what they may.
            first: The mode to begin with.
            known: Readings that were had before the first frame.
        """
        # Read through the instance by the base class, which begins with this mode.
        self.DEFAULT_MODE = first  # type: ignore[misc]  # a class variable there
        super().__init__()
        self.sitting = sitting or Sitting()
        self._filters.append(HarmlessLines())
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.sitting.theme
        self.animation_level = "none"
        self.feed = Feed(connect, self._arrived)
        self._known = known
        self._feed_task: asyncio.Task[None] | None = None
        self._bind_actions()

    # What screens see (`screens.host.Host`)

    @property
    def scope(self) -> str:
        """Whose data is shown."""
        return self.sitting.scope

    @property
    def user(self) -> str:
        """Who sits here."""
        return self.sitting.user

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed from here."""
        return self.sitting.read_only

    @property
    def paused(self) -> bool:
        """Whether live refresh is paused."""
        return self.feed.paused

    @property
    def postgres(self) -> PostgresAddress | None:
        """The database, for details on demand."""
        return None

    def seen(self, domain: str) -> Seen | None:
        """What was last read of a domain."""
        return self.feed.latest.get(domain)

    def show_domains(self, domains: Sequence[str]) -> None:
        """Read these domains from now on."""
        self.feed.watch(domains)

    def hints(self, screen: str) -> tuple[Sequence[Hint], Sequence[Hint], Sequence[Hint]]:
        """Key hints for a screen."""
        actions = sorted((action for action in valid_on(screen) if action.hint), key=lambda action: action.hint)
        own = [Hint(self._keys(action)[0], action.title, self._allowed(action)) for action in actions]
        short = self.size.height < 30
        ways = [
            Hint(mode.key, mode.title, current=mode.name == self.current_mode)
            for mode in modes.MODES
            if not (short and mode.name == self.current_mode)
        ]
        tail = [BY_ID[name] for name in ("console.command", "console.help")]
        if not short:
            tail.insert(1, BY_ID["console.palette"])
        return own, ways, [Hint(self._keys(action)[0], action.title) for action in tail]

    def help_groups(self, screen: str) -> Mapping[str, Sequence[Hint]]:
        """Every valid action by group."""
        groups: dict[str, list[Hint]] = {}
        for action in valid_on(screen):
            keys = " ".join(self._keys(action))
            groups.setdefault(action.group, []).append(Hint(keys, action.help or action.title, self._allowed(action)))
        return groups

    def say(self, text: str, *, severity: Severity = "information") -> None:
        """A short remark."""
        self.notify(text, severity=severity, markup=False)

    # Actions

    def action_perform(self, action_id: str) -> None:
        """Run an action of the registry on what is shown now."""
        action = BY_ID[action_id]
        if not self._allowed(action):
            self.say(f"Read only: {action.title} is not possible here.", severity="warning")
            return
        target = self._target(action)
        method = getattr(target, f"action_{action.run.partition('.')[2]}", None)
        if method is None:
            self.say(f"{action.title}: not possible here.", severity="warning")
            return
        result = method()
        if isinstance(result, Awaitable):
            self.run_worker(result, exit_on_error=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a binding applies here; several actions may have one key on different screens."""
        if action != "perform":
            return True
        entry = BY_ID[str(parameters[0])]
        screen = self.screen
        if entry.screens and not (isinstance(screen, ConsoleScreen) and screen.NAME in entry.screens):
            return False
        return self._target(entry) is not None

    def action_show_mode(self, mode: str) -> None:
        """Show a screen of the first level."""
        if mode != self.current_mode:
            self.switch_mode(mode)
            self.call_after_refresh(self._refresh_hints)

    def action_pause(self) -> None:
        """Pause or resume live refresh."""
        self.feed.paused = not self.feed.paused
        if not self.feed.paused:
            self.feed.read_now()
        self._tick()

    def action_refresh_now(self) -> None:
        """Read everything on this screen anew."""
        self.feed.read_now()

    def action_next_theme(self) -> None:
        """Take the next theme."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def action_close(self) -> None:
        """Close what is open: a pushed screen, else the filter."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
            return
        table = self.screen.table if isinstance(self.screen, ConsoleScreen) else None
        if table is not None and table.book.filter:
            table.set_filter("")
        elif table is not None and table.book.marked:
            table.action_unmark_all()

    def action_leave(self) -> None:
        """Leave the console."""
        self.exit(0)

    # Life

    def on_mount(self) -> None:
        """Show the first frame, then begin to read."""
        for seen in self._known():
            self.feed.give(seen)
        self.set_interval(TICK_S, self._tick)
        self.call_after_refresh(self._start_feed)

    async def on_unmount(self) -> None:
        """Stop reading."""
        if self._feed_task is not None:
            self._feed_task.cancel()
            await asyncio.wait({self._feed_task}, timeout=1.0)

    def _start_feed(self) -> None:
        if self._feed_task is None:
            self._feed_task = asyncio.create_task(self.feed.run(), name="feed")

    def _arrived(self, seen: Seen) -> None:
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, ConsoleScreen) and seen.domain in screen.DOMAINS:
            screen.post_message(Arrived(seen))

    def _tick(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.tick()

    def _refresh_hints(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.refresh_hints()

    def _bind_actions(self) -> None:
        for action in ACTIONS:
            for key in self._keys(action):
                self._bindings.bind(key, f"app.perform('{action.id}')", action.title, show=False)
        for mode in modes.MODES:
            self._bindings.bind(mode.key, f"app.show_mode('{mode.name}')", mode.title, show=False)

    def _keys(self, action: Action) -> tuple[str, ...]:
        return self.sitting.keys.get(action.id) or action.keys

    def _allowed(self, action: Action) -> bool:
        return action.danger is Danger.NONE or not self.sitting.read_only

    def _target(self, action: Action) -> object | None:
        kind = action.run.partition(".")[0]
        if kind == "app":
            return self
        screen = self.screen
        if not isinstance(screen, ConsoleScreen):
            return None
        return screen if kind == "screen" else screen.table
