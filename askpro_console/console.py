"""What bare `askpro` opens: draws the first frame, then attaches to the running system or starts it.

The order matters: what the first frame shows is fetched while Textual is being imported; libraries that the first
frame does not need are imported after it.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.terminal_guard import TerminalGuard, print_after

if TYPE_CHECKING:
    from askpro_console.first_look import FirstLook
    from askpro_console.sitting import Sitting
    from askpro_console.system import System

KEYMAP_FILE = "keymap.toml"
"""The user's own keys, beside the settings."""

FIRST_LOOK_S = 0.15
"""How long the first frame may wait for what it is to show."""


def run(system: System, *, demo: bool = False) -> int:
    """Run the console until the user leaves; returns the exit code. Raises WrongUsage for a wrong keymap."""
    from askpro_console.local_stack import LocalStack, answers

    attaching = answers(system)
    look = _first_look(system) if attaching else None
    sitting = _sitting(system)
    from askpro_console import modes
    from askpro_console.app import START, AskProApp
    from askpro_console.terminal_driver import ConsoleDriver

    stack = LocalStack(system, demo=demo)
    seen = look.seen(FIRST_LOOK_S) if look is not None else ()
    first = modes.MODES[0].name if seen else START
    log_file = _log_file(system)
    with TerminalGuard(log_file) as guard:
        ConsoleDriver.output = guard.output
        app = AskProApp(stack.reader, sitting, first=first, known=lambda: seen, stack=stack)
        app.driver_class = ConsoleDriver
        guard.on_signal(lambda: _leave(app))
        gc.freeze()
        code = app.run(mouse=system.settings.console.mouse)
    return _farewell(app.fault, code, guard.signalled, log_file, stays=attaching or answers(system))


def _leave(app: object) -> None:
    from askpro_console.app import AskProApp

    assert isinstance(app, AskProApp)
    loop = app._loop
    if loop is not None and not loop.is_closed():
        loop.call_soon_threadsafe(app.exit, 0)


def _first_look(system: System) -> FirstLook | None:
    from askpro_console.first_look import FirstLook
    from askpro_console.system import NotRunning
    from backend.watch.snapshots import DOMAINS

    try:
        return FirstLook(system.endpoints().valkey_url, tuple(DOMAINS))
    except NotRunning:
        return None


def _sitting(system: System) -> Sitting:
    from askpro_console.keymap import read_keymap, with_keymap
    from askpro_console.sitting import Sitting
    from askpro_console.themes import suitable_theme

    settings = system.settings.console
    keymap = Path(settings.keymap).expanduser() if settings.keymap else system.layout.config / KEYMAP_FILE
    return Sitting(
        user=_user(system),
        node=system.node,
        read_only=settings.read_only,
        theme=suitable_theme(settings.theme, system.environ),
        keys=with_keymap(read_keymap(keymap, is_wanted=bool(settings.keymap))),
    )


def _user(system: System) -> str:
    for name in ("LOGNAME", "USER"):
        if user := system.environ.get(name):
            return user
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _log_file(system: System) -> Path | None:
    """Where the console writes what would else end on the screen; None when that cannot be written."""
    logs = system.layout.logs
    try:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = logs / "console.log"
        path.touch(0o600)
    except OSError:
        return None
    return path


def _farewell(
    fault: BaseException | None, code: int | None, signalled: int | None, log: Path | None, *, stays: bool
) -> int:
    """The last words on the shell's screen, and the exit code."""
    if signalled is not None:
        return 0
    if fault is not None:
        where = f" {log} has the details." if log is not None else ""
        print_after(f"askpro: the console ended by a fault of its own ({type(fault).__name__}).{where}")
        if stays:
            print_after("The system keeps running. `askpro` opens the console again.")
        return 1
    if stays and code == 0:
        print_after("The system keeps running. `askpro` opens the console again, `askpro down` stops it.")
    return code or 0
