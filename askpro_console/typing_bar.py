"""The console's command line and filter at work: opens the bar, runs what was typed, remembers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from askpro_console import modes
from askpro_console.actions import ACTIONS, Action
from askpro_console.command_line import Command, CommandLine
from askpro_console.themes import THEME_NAMES
from screens.base import ConsoleScreen
from widgets.key_hints import key_name

if TYPE_CHECKING:
    from askpro_console.app import AskProApp
    from askpro_console.palette import Entry
    from widgets.command_bar import CommandBar, Kind


class TypingBar:
    """What the app knows of its bar."""

    def __init__(self, app: AskProApp) -> None:
        self._app = app
        self._bar: CommandBar | None = None
        self.line = CommandLine(self._commands())

    async def open(self, kind: Kind) -> None:
        """Show the bar in place of the key hints."""
        from widgets.command_bar import CommandBar

        screen = self._app.screen
        if self._bar is not None or not isinstance(screen, ConsoleScreen):
            return
        if kind == "filter":
            table = screen.table
            if table is None:
                return
            bar = CommandBar(kind, table.book.filter.text)
        else:
            history = self.line.history
            history.rewind()
            bar = CommandBar(
                kind,
                complete=self.line.complete,
                meant=self.line.completions,
                older=history.older,
                newer=history.newer,
            )
        self._bar = bar
        await screen.show_bar(bar)

    @property
    def is_open(self) -> bool:
        """Whether something is being typed."""
        return self._bar is not None

    def close(self) -> bool:
        """Take the bar away; whether there was one."""
        bar, self._bar = self._bar, None
        if bar is None:
            return False
        screen = bar.screen
        if isinstance(screen, ConsoleScreen):
            screen.hide_bar(bar)
        return True

    def changed(self, event: CommandBar.Changed) -> None:
        """Filter while it is typed."""
        if event.kind == "filter" and self._bar is not None:
            self._filter(event.text)

    async def end(self, *, keep: bool) -> None:
        """Keep the filter or run the command; or drop both. Waits until what was typed before has arrived."""
        bar = self._bar
        if bar is None:
            return
        text = await bar.settled_text()
        self.close()
        if bar.kind == "filter":
            self._filter(text if keep else "")
        elif keep and (wrong := await self.line.run(text)):
            self._app.say(wrong, severity="warning")

    def palette_entries(self) -> list[Entry]:
        """Everything that can be done from here, for the palette."""
        from askpro_console.palette import Entry

        app = self._app
        screen = app.screen
        name = screen.NAME if isinstance(screen, ConsoleScreen) else ""
        entries = [
            Entry(mode.title, f"show the screen  {mode.key}", partial(app.action_show_mode, mode.name))
            for mode in modes.MODES
        ]
        for action in ACTIONS:
            moves = not (action.help or action.hint or action.words)
            if moves or action.id == "console.palette" or (action.screens and name not in action.screens):
                continue
            keys = app.keys_of(action)
            shown = f"  {key_name(keys[0])}" if keys else ""
            entries.append(Entry(action.title, f"{action.help or action.title}{shown}", self._performer(action)))
        entries += [
            Entry(f"theme {theme}", "take this colour theme", partial(self._theme, theme)) for theme in THEME_NAMES
        ]
        return entries

    def help_paragraphs(self) -> Sequence[str]:
        """The `:` commands in words."""
        lines = [
            ":" + command.word + (" " + "|".join(command.values()) if command.values() else "") + f"  {command.help}"
            for command in self.line.commands
        ]
        return ["Commands, completed with tab, found again with ↑:", *lines]

    def _commands(self) -> list[Command]:
        commands = [
            Command(mode.name, f"show {mode.title}", partial(self._show, mode.name), also=mode.words)
            for mode in modes.MODES
        ]
        commands += [
            Command("filter", "show only rows with these words", self._filter),
            Command("sort", "sort by a column", self._sort, self._columns),
            Command("theme", "take a colour theme", self._theme, lambda: THEME_NAMES),
        ]
        taken = {word for command in commands for word in (command.word, *command.also)}
        for action in ACTIONS:
            words = [word for word in action.words if word not in taken]
            if words:
                title = action.help or action.title
                commands.append(Command(words[0], title, self._performer(action), also=tuple(words[1:])))
        return commands

    def _performer(self, action: Action) -> Callable[..., Awaitable[None]]:
        kind, _, name = action.run.partition(".")

        def perform(rest: str = "") -> Awaitable[None]:
            if kind == "open":
                return self._app.open_second(name, rest)
            return self._app.action_perform(action.id)

        return perform

    async def _show(self, mode: str, rest: str) -> None:
        await self._app.action_show_mode(mode)
        if rest.startswith("/"):
            self._filter(rest[1:])

    def _filter(self, text: str) -> None:
        screen = self._app.screen
        if isinstance(screen, ConsoleScreen) and screen.table is not None:
            screen.table.set_filter(text)
            screen.refresh_hints()

    def _columns(self) -> Sequence[str]:
        table = self._app.screen.table if isinstance(self._app.screen, ConsoleScreen) else None
        return () if table is None else tuple(column.key for column in table.book.columns)

    def _sort(self, column: str) -> None:
        table = self._app.screen.table if isinstance(self._app.screen, ConsoleScreen) else None
        if table is not None and (not column or column in self._columns()):
            table.sort_by(column or None)

    def _theme(self, name: str) -> None:
        if name:
            self._app.theme = name
        else:
            self._app.action_next_theme()
