"""The console as a whole: screens by key, live and stale data, filter, commands, help, palette, leaving."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
from textual._compositor import ChopsUpdate
from textual.screen import Screen
from textual.widgets import Static

from askpro_console import modes
from askpro_console.app import AskProApp
from askpro_console.local_stack import StackTrouble
from askpro_console.safe_output import HarmlessLines
from askpro_console.terminal_text import TightUpdate
from backend.stack.status import Phase, ProcessState, ProcessStatus, Status, Step, StepState
from tests.screens import samples
from tests.screens.consoles import GivenReader, console
from widgets.table import VirtualTable


def living() -> GivenReader:
    """Calls and a fleet."""
    return GivenReader(samples.calls_snapshot(), samples.fleet_snapshot())


class GivenStack:
    """A system that starts, fails and stops as the test says."""

    def __init__(self, reader: GivenReader, *statuses: Status, trouble: StackTrouble | None = None) -> None:
        self.started_here = True
        self.given = reader
        self.statuses = list(statuses)
        self.trouble = trouble
        self.starts = 0
        self.stopped = False

    async def bring_up(self) -> AsyncIterator[Status]:
        """The statuses, then the trouble if there is any."""
        self.starts += 1
        for status in self.statuses:
            yield status
        if self.trouble is not None:
            raise self.trouble

    async def take_down(self) -> AsyncIterator[Status]:
        """Stops at once."""
        self.stopped = True
        for status in self.statuses[-1:]:
            yield status

    async def reader(self) -> GivenReader:
        """The test's reader."""
        return self.given

    async def log_tail(self, process: str = "") -> list[str]:
        """Two lines."""
        return [f"{process or 'supervisor'} line one", "line two"]

    async def restart(self, process: str) -> None:
        """Nothing to restart. Raises StackTrouble."""
        raise StackTrouble(f"{process} is not here", "")

    def postgres(self) -> None:
        """No database."""
        return


def status(*steps: Step, ready: bool = False, error: str = "", hint: str = "") -> Status:
    """A status with these steps."""
    return Status(
        ready=ready,
        phase=Phase.FAILED if error else Phase.READY if ready else Phase.STARTING,
        api_url="http://127.0.0.1:8400",
        version="0.1.0",
        supervisor_pid=1,
        demo=False,
        started_at=samples.NOW,
        processes=(ProcessStatus(name="postgres", pid=2, state=ProcessState.READY),),
        steps=steps,
        error=error,
        hint=hint,
    )


async def test_digits_switch_screens_and_each_keeps_its_place() -> None:
    async with console(living()) as shown:
        await shown.until_shows("── Calls  300 ──")
        await shown.press("down", "down")
        await shown.press("9")
        await shown.until_shows("AskPro  Fleet", "Processes")
        await shown.press("2")
        await shown.until_shows("AskPro  Calls")
        assert shown.app.screen.query_one(VirtualTable).cursor_row == samples.call_row(2)


async def test_only_what_the_shown_screen_needs_is_read() -> None:
    reader = living()
    async with console(reader) as shown:
        await shown.until_shows("LIVE")
        assert set(reader.reads) == {"calls"}
        await shown.press("9")
        await shown.until_shows("AskPro  Fleet", "LIVE")
        before = reader.reads.count("calls")
        reader.put(samples.calls_snapshot(5))
        reader.put(samples.fleet_snapshot(seed=2))
        await shown.until(lambda: reader.reads[-1] == "fleet" and reader.reads.count("fleet") > 1)
        assert reader.reads.count("calls") == before


async def test_old_data_says_how_old_and_why() -> None:
    reader = living()
    async with console(reader) as shown:
        await shown.until_shows("LIVE")
        reader.fail("calls", "Valkey: connection refused; PostgreSQL: no answer in time", age_s=12.0)
        await shown.until_shows("▲ STALE  12 s", "▲ Valkey: connection refused; PostgreSQL: no answer in time")
        assert "● speaking" in shown.text, "the last picture stays"
        reader.put(samples.calls_snapshot())
        await shown.until_shows("LIVE")
        await shown.until_gone("connection refused")


async def test_a_store_that_is_gone_is_told_of_even_while_the_database_helps_out() -> None:
    reader = living()
    async with console(reader) as shown:
        await shown.until_shows("LIVE")
        reader.put(samples.calls_snapshot(), error="Valkey: no answer in time")
        await shown.until_shows("LIVE", "▲ Valkey: no answer in time  read from the database meanwhile")


async def test_no_data_is_not_taken_for_health() -> None:
    async with console(GivenReader()) as shown:
        await shown.until_shows("✖ NO DATA", "✖ nothing was collected yet", "Loading calls")


async def test_pause_holds_the_picture_and_says_so() -> None:
    reader = GivenReader(samples.calls_snapshot(3))
    async with console(reader) as shown:
        await shown.until_shows("── Calls  3 ──")
        await shown.press("p")
        await shown.until_shows("PAUSED")
        reader.put(samples.calls_snapshot(4))
        await shown.press("ctrl+r")
        await shown.until_shows("── Calls  4 ──", "PAUSED")
        reader.put(samples.calls_snapshot(5))
        await shown.press("p")
        await shown.until_shows("── Calls  5 ──", "LIVE")


async def test_a_filter_applies_while_it_is_typed_and_escape_takes_it_away() -> None:
    async with console(living()) as shown:
        await shown.until_shows("── Calls  300 ──")
        await shown.press("slash", *"weiß")
        await shown.until_shows("of 300  /weiß")
        await shown.press("enter", "down")
        await shown.until_shows("of 300  /weiß")
        await shown.press("escape")
        await shown.until_shows("── Calls  300 ──")


async def test_commands_run_are_completed_and_remembered() -> None:
    async with console(living()) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("colon", *"fl", "tab", "enter")
        await shown.until_shows("AskPro  Fleet")
        await shown.press("colon", *"calls /hanna", "enter")
        await shown.until_shows("AskPro  Calls", "/hanna")
        await shown.press("colon", "up", "up")
        await shown.until_shows(":fleet")
        await shown.press("escape")
        await shown.until_shows("? help")


async def test_an_unknown_command_names_the_nearest() -> None:
    async with console(living()) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("colon", *"fleat", "enter")
        await shown.until_shows("There is no command :fleat. Did you mean", ":fleet?")


async def test_help_lists_the_keys_that_work_here() -> None:
    async with console(living(), size=(120, 60)) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("question_mark")
        await shown.until_shows("Help: Calls", "show only rows with these words", ":theme", "esc back")
        assert "drain the marked processes, or" not in shown.text.split("Commands")[0]
        await shown.press("escape")
        await shown.until_shows("AskPro  Calls")


async def test_the_palette_finds_by_a_few_letters() -> None:
    async with console(living()) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("ctrl+p")
        await shown.until_shows("find a command")
        await shown.press(*"fleet")
        await shown.until_shows("show the screen  9")
        await shown.press("enter")
        await shown.until_shows("AskPro  Fleet")


@pytest.mark.parametrize("theme", ["day", "clear", "ansi", "night"])
async def test_themes_change_while_it_runs(theme: str) -> None:
    async with console(living()) as shown:
        await shown.until_shows("LIVE", "── Calls  300 ──")
        before = shown.text
        await shown.press("colon", *f"theme {theme}", "enter")
        await shown.until(lambda: shown.app.theme == theme)
        await shown.until(lambda: shown.lines[1:4] == before.splitlines()[1:4], "the same text in other colours")


async def test_own_keys_take_the_place_of_the_defaults() -> None:
    async with console(living(), keys={"list.filter": ("f",)}) as shown:
        await shown.until_shows("f filter")
        await shown.press("slash")
        assert "word without" not in shown.text
        await shown.press("f")
        await shown.until_shows("word without")


async def test_leaving_a_system_that_was_running_asks_nothing() -> None:
    async with console(living()) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("q")
        await shown.until(lambda: shown.app._exit)
        assert shown.app.return_value == 0


async def test_leaving_a_system_that_was_started_here_asks_and_leaves_it_running_by_default() -> None:
    stack = GivenStack(living())
    async with console(living(), stack=stack) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("q")
        await shown.until_shows("Leave the system running?")
        await shown.press("escape")
        await shown.until_gone("Leave the system running?")
        await shown.press("q")
        await shown.until_shows("Leave the system running?")
        await shown.press("enter")
        await shown.until(lambda: shown.app._exit)
        assert not stack.stopped


async def test_the_system_is_stopped_when_that_is_wanted() -> None:
    stack = GivenStack(living(), status(ready=True))
    async with console(living(), stack=stack) as shown:
        await shown.until_shows("AskPro  Calls")
        await shown.press("q")
        await shown.until_shows("Leave the system running?")
        await shown.press("s")
        await shown.until(lambda: shown.app._exit)
        assert stack.stopped


async def test_a_start_shows_its_steps_and_then_the_first_screen() -> None:
    steps = (Step(name="postgres", state=StepState.DONE, seconds=1.2), Step(name="schema", state=StepState.RUNNING))
    stack = GivenStack(living(), status(*steps), status(ready=True))
    async with console(stack.given, first="start", stack=stack) as shown:
        await shown.until_shows("AskPro  Pulse")
        assert stack.starts == 1


async def test_a_failed_start_says_what_why_and_what_to_do_and_can_be_tried_again() -> None:
    failed = Step(name="postgres", state=StepState.FAILED, detail="no space left", hint="")
    stack = GivenStack(living(), status(failed, error="No space is left for /data.", hint="Free some space there."))
    async with console(stack.given, first="start", stack=stack) as shown:
        await shown.until_shows("Not started", "✖ postgres", "No space is left for /data.", "Free some space there.")
        await shown.press("l")
        await shown.until_shows("supervisor line one")
        await shown.press("9", "colon")
        assert "The start failed" in shown.text, "there is no way past a system that does not run"
        stack.statuses = [status(ready=True)]
        await shown.press("r")
        await shown.until_shows("AskPro  Pulse")


async def test_a_supervisor_that_ends_silently_is_told_too() -> None:
    trouble = StackTrouble("The supervisor ended before it could say why.", "Look into its log.")
    async with console(living(), first="start", stack=GivenStack(living(), trouble=trouble)) as shown:
        await shown.until_shows("The supervisor ended before it could say why.", "Look into its log.", "r try again")


async def test_whatever_a_widget_draws_no_control_character_reaches_the_terminal() -> None:
    async with console(living()) as shown:
        await shown.until_shows("LIVE")
        await shown.app.screen.mount(Static("Ann\x1b]52;c;x\x07\x9b2J\u202ea", markup=False, id="unsafe"))
        await shown.until_shows("Ann]52;c;x2Ja")


async def test_the_hint_of_escape_says_what_it_would_do_and_is_gone_when_that_is_nothing() -> None:
    async with console(living()) as shown:
        await shown.until_shows("LIVE", "── Calls  300 ──", "q quit")
        assert "esc " not in shown.text
        await shown.press("space")
        await shown.until_shows("esc unmark")
        await shown.press("slash", *"anna", "enter")
        await shown.until_shows("esc clear filter")
        await shown.press("escape")
        await shown.until_shows("esc unmark")
        await shown.press("p")
        await shown.until_shows("p resume")


@pytest.mark.parametrize("name", [mode.name for mode in modes.MODES])
async def test_the_clock_may_tick_while_a_screen_is_shown_whose_widgets_are_on_their_way(name: str) -> None:
    other = "fleet" if name == "calls" else "calls"
    async with console(living(), first=other, size=(200, 50)) as shown:
        await shown.until_shows("LIVE")
        under_way = shown.app.switch_mode(name)
        shown.app._tick()
        await under_way
        shown.app._tick()
        await shown.until_shows(f"AskPro  {shown.app.screen.TITLE}")


def test_the_private_points_of_textual_that_are_used_still_exist() -> None:
    app = AskProApp(lambda: None)  # type: ignore[arg-type,return-value]  # never connected
    assert any(isinstance(kept, HarmlessLines) for kept in app.get_line_filters())
    assert callable(getattr(Screen, "_compositor_refresh", None))
    assert callable(getattr(AskProApp, "_display", None))
    assert TightUpdate.of(ChopsUpdate([], [], [])).spans == []


async def test_every_screen_is_where_its_name_says_and_the_first_level_is_imported_ahead() -> None:
    await modes.import_ahead()
    assert {mode.module for mode in modes.MODES} <= set(sys.modules)
    for mode in (*modes.MODES, *modes.SECOND.values()):
        assert mode.name == mode.make().NAME
