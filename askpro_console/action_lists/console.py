"""Actions of the console itself, and of its start."""

from __future__ import annotations

from askpro_console.action_lists.entry import Action

START: tuple[Action, ...] = (
    Action("start.retry", "try again", "Start", "app.retry_start", ("r",), ("start",), hint=1),
    Action("start.logs", "logs", "Start", "app.start_logs", ("l",), ("start",), hint=2),
)
"""Valid while the system is brought up."""

ACTIONS: tuple[Action, ...] = (
    Action(
        "console.back",
        "back",
        "Console",
        "app.close",
        ("escape",),
        hint=90,
        help="close what is open, clear the filter, go back",
    ),
    Action(
        "console.pause",
        "pause",
        "Console",
        "app.pause",
        ("p",),
        hint=80,
        words=("pause",),
        help="pause or resume live refresh",
    ),
    Action(
        "console.refresh",
        "refresh",
        "Console",
        "app.refresh_now",
        ("ctrl+r",),
        words=("refresh",),
        help="read everything on this screen anew, now",
    ),
    Action("console.command", "command", "Console", "app.command", ("colon",), help="the command line"),
    Action(
        "console.palette", "find", "Console", "app.palette", ("ctrl+p",), help="find a command by a few of its letters"
    ),
    Action(
        "console.help",
        "help",
        "Console",
        "app.help",
        ("question_mark", "f1"),
        words=("help",),
        help="what every key does here",
    ),
    Action(
        "console.theme",
        "theme",
        "Console",
        "app.next_theme",
        ("f9",),
        words=("theme",),
        help="next colour theme; `:theme NAME` takes one",
    ),
    Action(
        "console.quit",
        "quit",
        "Console",
        "app.leave",
        ("q", "ctrl+c"),
        words=("q", "quit", "exit"),
        hint=99,
        help="leave the console; the system may stay running",
    ),
)
