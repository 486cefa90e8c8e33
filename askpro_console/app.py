"""The console's Textual app: modes, actions, the feed, the clock. What it shows is the screens' matter."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.segment import Segment, Segments
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.filter import Monochrome, NoColor

from askpro_console import hint_lists, modes
from askpro_console.actions import ACTIONS, BY_ID, Action, Danger
from askpro_console.feed import Connect, Feed
from askpro_console.leaving import Leaving
from askpro_console.safe_output import HarmlessLines
from askpro_console.sitting import Sitting
from askpro_console.terminal_text import TightLayout, TightUpdate, moved_lines
from askpro_console.themes import THEMES
from askpro_console.typing_bar import TypingBar
from screens.base import ConsoleScreen
from screens.host import Arrived, Seen, Severity

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.screen import Screen
    from textual.timer import Timer
    from textual.widget import Widget

    from askpro_console.local_stack import Stack
    from backend.postgres.address import PostgresAddress
    from widgets.command_bar import CommandBar
    from widgets.key_hints import Hint

log = logging.getLogger(__name__)

TICK_S = 1.0
"""Time between two looks of the header at the clock."""

REPAINT_S = 0.1
"""From a new size of the terminal to a repaint of everything."""

CHANGES_HINTS = frozenset({"list.mark", "list.unmark"})
"""Actions on lists after which other keys have something to do."""

START = hint_lists.START
"""The mode shown until the system is ready."""


def _start_screen() -> ConsoleScreen:
    from screens.start import StartScreen

    return StartScreen()


class AskProApp(App[int]):
    """The console. Implements `screens.host.Host`."""

    CSS_PATH = Path(__file__).with_name("console.tcss")
    TITLE = "AskPro"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = "VirtualTable"
    NOTIFICATION_TIMEOUT = 4
    MODES: ClassVar[dict[str, Any]] = {START: _start_screen} | {mode.name: mode.make for mode in modes.MODES}

    def __init__(
        self,
        connect: Connect,
        sitting: Sitting | None = None,
        *,
        first: str = modes.MODES[0].name,
        known: Callable[[], Sequence[Seen]] = tuple,
        stack: Stack | None = None,
    ) -> None:
        """A console that shows its first frame and then reads.

        Args:
            connect: Makes the snapshot reader, after the first frame.
            sitting: Who sits here and what they may.
            first: The mode to begin with; `start` brings the stack up and then shows the first of all modes.
            known: Readings that were had before the first frame.
            stack: The system that the console belongs to; None when it is not this console's to start or stop.
        """
        # The base class reads it through the instance and begins with this mode.
        self.DEFAULT_MODE = first  # type: ignore[misc]  # a class variable there
        super().__init__()
        self.sitting = sitting or Sitting()
        if self.no_color:
            # Textual would turn colours into greys; `NO_COLOR` means none at all, attributes carry what matters.
            self._filters = [kept for kept in self._filters if not isinstance(kept, Monochrome)] + [NoColor()]
        self._filters.append(HarmlessLines())
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.sitting.theme
        self.animation_level = "none"
        self.feed = Feed(connect, self._arrived)
        self.stack = stack
        self.fault: BaseException | None = None
        """What ended the console, if it was a fault of its own."""
        self.typing_bar = TypingBar(self)
        self.leaving = Leaving(self)
        self._known = known
        self._repaint_timer: Timer | None = None
        self._moves = ""
        """Sequences that move lines, to be written before the next repaint of `_moves_on`."""
        self._moves_on: object = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._bind_actions()

    # What screens see

    @property
    def scope(self) -> str:
        """Whose data is shown."""
        return self.sitting.scope

    @property
    def user(self) -> str:
        """Who sits here."""
        return self.sitting.user

    @property
    def node(self) -> str:
        """The machine one sits at."""
        return self.sitting.node

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
        return self.stack.postgres() if self.stack is not None else None

    def seen(self, domain: str) -> Seen | None:
        """What was last read of a domain."""
        return self.feed.latest.get(domain)

    def show_domains(self, domains: Sequence[str]) -> None:
        """Read these domains from now on."""
        self.feed.watch(domains)

    def hints(self, screen: str) -> tuple[Sequence[Hint], Sequence[Hint], Sequence[Hint]]:
        """Key hints for a screen."""
        return hint_lists.hints(self, screen)

    def help_groups(self, screen: str) -> Mapping[str, Sequence[Hint]]:
        """Every valid action by group."""
        return hint_lists.help_groups(self, screen)

    def say(self, text: str, *, severity: Severity = "information") -> None:
        """A short remark."""
        self.notify(text, severity=severity, markup=False)

    def restart(self, processes: Sequence[str], done: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        """Restart processes of this machine."""
        if self.stack is not None:
            self._run(self._restart(self.stack, tuple(processes), done), "restart")

    def read_log(self, process: str, done: Callable[[Sequence[str]], object]) -> None:
        """Read the end of a log."""
        if self.stack is not None:
            self._run(self._read_log(self.stack, process, done), "log")

    def move_lines(self, widget: Widget, first: int, count: int, by: int) -> bool:
        """Let the terminal move whole lines with the next repaint (see `widgets.line_shift`)."""
        region, screen = widget.region, widget.screen
        alone = region.x == 0 and region.width == self.size.width and screen is self.screen and not self._notifications
        if not alone or self._moves or self._batch_count or not screen.is_current:
            return False
        self._moves, self._moves_on = moved_lines(region.y + first, count, by), screen
        return True

    # The registry at work

    def keys_of(self, action: Action) -> tuple[str, ...]:
        """The keys that run an action here."""
        return self.sitting.keys.get(action.id, action.keys)

    def allowed(self, action: Action) -> bool:
        """Whether this person may run it."""
        return action.danger is Danger.NONE or not self.sitting.read_only

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a binding applies here; several actions may have one key on different screens."""
        if action == "end_typing":
            return self._typing and self.typing_bar.is_open
        if action not in {"perform", "show_mode"}:
            return True
        if self._typing or not isinstance(self.screen, ConsoleScreen):
            return False
        if action == "show_mode":
            return self.current_mode != START
        return self._target(BY_ID[str(parameters[0])]) is not None

    async def action_perform(self, action_id: str) -> None:
        """Run an action of the registry on what is shown now."""
        action = BY_ID[action_id]
        if not self.allowed(action):
            self.say(f"Read only: {action.title} is not possible.", severity="warning")
            return
        kind, _, name = action.run.partition(".")
        own = getattr(self._target(action), f"action_{name}", None)
        method = (lambda: self.open_second(name)) if kind == "open" else own
        if method is None:
            self.say(f"{action.title}: not possible here.", severity="warning")
            return
        result = method()
        if inspect.isawaitable(result):
            await result
        if not action.id.startswith("list."):
            self._tick()
        elif action.id in CHANGES_HINTS and isinstance(self.screen, ConsoleScreen):
            self.screen.refresh_hints()

    async def open_second(self, name: str, rest: str = "") -> None:
        """Show a screen over the present one, unless it is shown; keys typed after it wait until it is there.

        `rest` is what stood after its word on the `:` line: what to look for, where the screen looks for something.
        """
        screen: Screen[Any] = self.screen
        if not (isinstance(screen, ConsoleScreen) and name == screen.NAME):
            screen = modes.SECOND[name].make()
            await self.push_screen(screen)
        if rest and (look_for := getattr(screen, "look_for", None)) is not None:
            look_for(rest)

    async def action_show_mode(self, mode: str) -> None:
        """Show a screen of the first level; keys typed after it wait until it is there."""
        if mode != self.current_mode:
            self.typing_bar.close()
            await self.switch_mode(mode)

    def delay_update(self, delay: float = 0.05) -> None:
        """Hold repaints until the screen that comes next is laid out, and for `delay` at most."""
        # Textual waits for the whole delay whenever the mode changes (8.2.8).
        self._begin_batch()
        is_held = True

        def end() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._end_batch()
                if not self._batch_count:
                    self.screen.refresh()

        self.call_later(lambda: self.screen.call_after_refresh(end))
        self.set_timer(delay, end, name="delay_update")

    def _load_screen_css(self, screen: Screen[Any]) -> None:
        super()._load_screen_css(screen)
        if screen._css_update_count < 0:
            # A new screen gets its styles while it is mounted: three more times for everything is too often.
            screen._css_update_count = self._css_update_count

    # What the console itself can do

    def action_pause(self) -> None:
        """Pause or resume live refresh."""
        if self.feed.paused:
            self.feed.resume()
        else:
            self.feed.pause()

    def action_refresh_now(self) -> None:
        """Read everything on this screen anew."""
        self.feed.read_now()
        reload_screen = getattr(self.screen, "action_reload", None)
        if reload_screen is not None:
            reload_screen()

    async def action_filter(self) -> None:
        """Type a filter for the list."""
        await self.typing_bar.open("filter")

    async def action_command(self) -> None:
        """Type a command."""
        await self.typing_bar.open("command")

    async def action_end_typing(self, keep: bool) -> None:
        """Take what was typed, or forget it."""
        await self.typing_bar.end(keep=keep)

    def action_palette(self) -> None:
        """Find a command by a few letters."""
        from askpro_console.palette import palette

        self.push_screen(palette(self.typing_bar.palette_entries()))

    def action_help(self) -> None:
        """What every key does here."""
        from screens.dialogs import HelpScreen

        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            self.push_screen(
                HelpScreen(screen.TITLE or "", self.help_groups(screen.NAME), self.typing_bar.help_paragraphs())
            )

    def action_next_theme(self) -> None:
        """Take the next theme."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def action_close(self) -> None:
        """Close what is open: the bar, a second-level screen, the filter, the marks."""
        if self.typing_bar.close():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()
            return
        table = self.screen.table if isinstance(self.screen, ConsoleScreen) else None
        if table is not None and table.book.filter:
            table.set_filter("")
        elif table is not None and table.book.marked:
            table.action_unmark_all()

    def action_leave(self) -> None:
        """Leave the console; ask about what would end with it."""
        self.leaving.ask()

    def action_retry_start(self) -> None:
        """Start the system again."""
        from screens.start import StartScreen

        if isinstance(self.screen, StartScreen) and self.screen.failure is not None:
            self._bring_up(self.screen)

    async def action_start_logs(self) -> None:
        """Show the logs of the start."""
        from screens.start import LogLines

        if self.stack is not None:
            self.screen.post_message(LogLines(await self.stack.log_tail()))

    # Life

    def on_mount(self) -> None:
        """Show the first frame, then begin to read or to start the system."""
        for seen in self._known():
            self.feed.give(seen)
        self.set_interval(TICK_S, self._tick)
        self.set_timer(modes.IMPORT_AFTER_S, lambda: self._run(modes.import_ahead(), "imports"))
        self.call_after_refresh(self._begin)

    def on_resize(self) -> None:
        """Repaint everything: a terminal that shrank and grew again at once has lost what was there."""
        if self._tasks and self._repaint_timer is None:
            self._repaint_timer = self.set_timer(REPAINT_S, self._repaint)

    async def on_unmount(self) -> None:
        """Stop everything that runs in the background."""
        await self.leaving.settle()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def on_command_bar_changed(self, event: CommandBar.Changed) -> None:
        """A filter applies while it is typed."""
        self.typing_bar.changed(event)

    def _repaint(self) -> None:
        self._repaint_timer = None
        self.screen.refresh()

    def _begin(self) -> None:
        if self.current_mode == START:
            self._bring_up(self.screen)
        else:
            self._run(self.feed.run(), "feed")

    def _bring_up(self, screen: object) -> None:
        from askpro_console.start_up import bring_up
        from screens.start import StartScreen

        assert isinstance(screen, StartScreen)
        assert self.stack is not None
        screen.begin()
        self._run(bring_up(self.stack, screen, self._started), "start")

    def _started(self) -> None:
        self._run(self.feed.run(), "feed")
        self.switch_mode(modes.MODES[0].name)

    def stop_system(self) -> None:
        """Stop the system, show how, and leave."""
        from askpro_console.start_up import take_down
        from screens.start import StartScreen

        screen = StartScreen()
        self.push_screen(screen)
        assert self.stack is not None
        self._run(take_down(self.stack, screen, lambda: self.exit(0)), "stop")

    async def _restart(self, stack: Stack, processes: tuple[str, ...], done: Callable[[Sequence[str]], object]) -> None:
        from askpro_console.local_stack import StackTrouble

        restarted: list[str] = []
        for process in processes:
            try:
                await stack.restart(process)
            except StackTrouble as trouble:
                self.say(f"{process}: {trouble}", severity="error")
            else:
                restarted.append(process)
                self.say(f"{process} drains and starts afresh.")
        if restarted:
            done(restarted)

    @staticmethod
    async def _read_log(stack: Stack, process: str, done: Callable[[Sequence[str]], object]) -> None:
        done(await stack.log_tail(process))

    def _run(self, work: Any, name: str) -> None:  # noqa: ANN401 -- any coroutine
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s ended by a fault", task.get_name(), exc_info=error)

    def _arrived(self, seen: Seen) -> None:
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, ConsoleScreen) and seen.domain in screen.DOMAINS:
            screen.post_message(Arrived(seen))

    def _tick(self) -> None:
        # The clock and every action may come while a screen is shown whose widgets are on their way, or gone.
        if isinstance(self.screen, ConsoleScreen) and self.screen.stands:
            self.screen.tick()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        # Every repaint goes through here on its way to the terminal (Textual 8.2.8; a canary test watches it).
        if isinstance(renderable, ChopsUpdate) and screen is self.screen:
            renderable = TightUpdate.of(renderable, before=self._moves if self._moves_on is screen else "")
        elif isinstance(renderable, LayoutUpdate):
            renderable = TightLayout.of(renderable)
        if renderable is not None and not self._batch_count:
            self._moves, self._moves_on = "", None
        super()._display(screen, renderable)

    def _fatal_error(self) -> None:
        # Textual prints a traceback with local variables, and so with people's data: it goes to the log instead.
        self.fault = self._exception
        log.critical("the console ended by a fault", exc_info=self._exception)
        self._exit_renderables.append(Segments([Segment("The console ended by a fault of its own.\n")]))
        self._close_messages_no_wait()

    @property
    def _typing(self) -> bool:
        """Whether keys are text now."""
        module = sys.modules.get("textual.widgets._input")
        return module is not None and isinstance(self.focused, module.Input)

    def _bind_actions(self) -> None:
        # With priority they run here, one after the other, before a later key is given to any widget: what is typed
        # quickly after `:` or `9` reaches what that key has opened, never what was there before.
        for key, keep in (("enter", True), ("escape", False), ("ctrl+c", False)):
            self._bindings.bind(key, f"app.end_typing({keep})", show=False, priority=True)
        for action in ACTIONS:
            for key in self.keys_of(action):
                self._bindings.bind(key, f"app.perform('{action.id}')", action.title, show=False, priority=True)
        for mode in modes.MODES:
            self._bindings.bind(mode.key, f"app.show_mode('{mode.name}')", mode.title, show=False, priority=True)

    def _target(self, action: Action) -> object | None:
        """What an action runs on now; None when it does not apply to what is shown."""
        screen = self.screen
        if not isinstance(screen, ConsoleScreen):
            return None
        if action.screens and screen.NAME not in action.screens:
            return None
        if screen.NAME == START and not action.screens and action.id not in hint_lists.AT_START:
            return None
        kind = action.run.partition(".")[0]
        if kind in {"app", "open"}:
            return self
        return screen if kind == "screen" else screen.table
