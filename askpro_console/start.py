"""What `askpro` without a command does: open the console, or print snapshots where no console can be drawn."""

from __future__ import annotations

from askpro_console.system import System
from askpro_console.terminal import standard_streams_unfit


def open_console(*, demo: bool = False) -> int:
    """Attach to the running system, start it first when there is none; returns the exit code."""
    system = System.load()
    system.refuse_demo(demo)
    system.secrets.unlock_by_asking()
    if reason := standard_streams_unfit(system.environ):
        from askpro_console.text_console import run as run_text_console

        return run_text_console(system, reason, demo=demo)
    from askpro_console.console import run as run_console

    return run_console(system, demo=demo)
