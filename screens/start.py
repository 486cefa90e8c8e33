"""The start-up screen: each step of the system's start as it happens; when one fails: what, why, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from textual.message import Message
from textual.widget import Widget

from backend.stack.status import Phase, Status, Step, StepState
from screens.base import ConsoleScreen
from widgets.figures import age_text
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, fitted, rule, wrapped


class Progressed(Message):
    """The supervisor told how the start (or the stop) goes."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status


class StartFailed(Message):
    """The system will not start by itself."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__()
        self.error = error
        self.hint = hint


class LogLines(Message):
    """The last lines of the system's logs, oldest first."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self.lines = tuple(lines)


_GLYPHS: dict[str, tuple[str, Tone]] = {
    StepState.WAITING: ("○", Tone.FAINT),
    StepState.RUNNING: ("◐", Tone.ACCENT),
    StepState.DONE: ("●", Tone.TEXT),
    StepState.FAILED: ("✖", Tone.CRIT),
}


def step_line(step: Step, elapsed: float, width: int) -> Line:
    """One step: state, name, how long, what it is about. `elapsed` is added to the time of a running one."""
    glyph, tone = _GLYPHS[step.state]
    seconds = step.seconds
    if seconds is not None and step.state == StepState.RUNNING:
        seconds += elapsed
    name_tone = {StepState.WAITING: Tone.DIM, StepState.FAILED: Tone.CRIT}.get(step.state, Tone.TEXT)
    time_text = age_text(seconds) if seconds is not None else ""
    detail = step.detail.splitlines()[0] if step.detail else ""
    return Line(
        (
            Piece(f"   {glyph} ", tone),
            *fitted(Piece(step.name.replace("_", " "), name_tone), 20),
            *fitted(Piece(time_text, Tone.DIM), 8, right=True),
            Piece("  "),
            *fitted(Piece(detail, Tone.DIM), max(1, width - 37)),
        )
    )


def progress_lines(status: Status | None, elapsed: float, width: int, *, waiting: float, ending: bool) -> list[Line]:
    """The steps known so far."""
    title = "Stopping the system" if ending else "Starting the system"
    lines = [Line(), rule(Piece(title, Tone.BRIGHT), width), Line()]
    if status is None:
        lines.append(
            Line((Piece("   ◐ ", Tone.ACCENT), Piece("supervisor"), Piece(f"  {age_text(waiting)}", Tone.DIM)))
        )
    elif ending:
        running = [process for process in status.processes if process.state not in {"stopped", "failed"}]
        lines += [
            Line((Piece("   ◐ ", Tone.ACCENT), *fitted(Piece(process.name), 20), Piece(f"  {process.state}", Tone.DIM)))
            for process in running
        ]
    else:
        lines += [step_line(step, elapsed, width) for step in status.steps]
    lines.append(Line())
    if not ending and not (status and status.error):
        remark = "   The system starts by itself; leaving this screen does not stop it."
        lines.append(Line((Piece(remark, Tone.DIM),)))
    return lines


def failure_lines(error: str, hint: str, width: int) -> list[Line]:
    """What failed and why, then what to do."""
    room = max(20, width - 8)
    lines = [rule(Piece("The start failed", Tone.CRIT), width), Line()]
    for paragraph in error.splitlines() or ["It is not known why."]:
        lines += [Line((Piece("   "), *line.pieces)) for line in wrapped(paragraph, room, Tone.BRIGHT)]
    if hint:
        lines.append(Line())
        for paragraph in hint.splitlines():
            lines += [Line((Piece("   "), *line.pieces)) for line in wrapped(paragraph, room)]
    lines += [
        Line(),
        Line(
            (
                Piece("   r", Tone.ACCENT),
                Piece(" try again   ", Tone.DIM),
                Piece("l", Tone.ACCENT),
                Piece(" logs   ", Tone.DIM),
                Piece("q", Tone.ACCENT),
                Piece(" quit", Tone.DIM),
            )
        ),
    ]
    return lines


def log_lines(lines: Sequence[str], width: int, height: int) -> list[Line]:
    """The end of the logs."""
    shown = list(lines[-max(1, height) :])
    head = rule(Piece("Logs", Tone.BRIGHT), width, Piece("`askpro logs` has all of them", Tone.DIM))
    body = [Line(fitted(Piece(f" {text}", Tone.DIM), width)) for text in shown]
    return [head, *(body or [Line((Piece("   Nothing was written yet.", Tone.DIM),))])]


class StartScreen(ConsoleScreen):
    """Shown until the system is ready, and again while it stops."""

    NAME = "start"
    TITLE = "Starting"

    def __init__(self) -> None:
        super().__init__()
        self.status: Status | None = None
        self.failure: tuple[str, str] | None = None
        self.ending = False
        """True while the system is stopped rather than started."""
        self._logs: tuple[str, ...] | None = None
        self._told_at = time.monotonic()
        self._began_at = time.monotonic()

    def body(self) -> Iterable[Widget]:
        """All lines are drawn by one view."""
        yield LineView(id="progress")

    def on_mount(self) -> None:
        """Show that something is about to happen."""
        self.draw()

    def title_parts(self) -> tuple[tuple[str, ...], str]:
        """Starting, stopping, or failed."""
        if self.failure is not None:
            return (), "Not started"
        return (), "Stopping" if self.ending else "Starting"

    def begin(self, *, ending: bool = False) -> None:
        """Show a new start, or a stop, from its beginning."""
        self.status, self.failure, self._logs, self.ending = None, None, None, ending
        self._began_at = time.monotonic()
        self.draw()

    def on_progressed(self, message: Progressed) -> None:
        """The next picture of the start."""
        self.status = message.status
        self._told_at = time.monotonic()
        if message.status.phase is Phase.FAILED and self.failure is None:
            self.failure = (message.status.error, message.status.hint)
            self.refresh_hints()
        self.draw()

    def on_start_failed(self, message: StartFailed) -> None:
        """It will not start by itself."""
        self.failure = (message.error, message.hint)
        self.draw()
        self.tick()
        self.refresh_hints()

    def on_log_lines(self, message: LogLines) -> None:
        """Show logs below the rest, or hide them again."""
        self._logs = None if self._logs is not None else message.lines
        self.draw()

    def tick(self) -> None:
        """Running steps count on."""
        super().tick()
        if self.failure is None:
            self.draw()

    def draw(self) -> None:
        """Draw what is known."""
        width, height = self.app.size
        now = time.monotonic()
        lines = progress_lines(
            self.status, now - self._told_at, width, waiting=now - self._began_at, ending=self.ending
        )
        if self.failure is not None:
            lines += failure_lines(*self.failure, width)
        if self._logs is not None:
            lines += [Line(), *log_lines(self._logs, width, height - len(lines) - 4)]
        for view in self.query("#progress").results(LineView):
            view.show(lines[: max(1, height - 2)])

    def on_resize(self) -> None:
        """Lines are broken anew."""
        self.draw()
