"""What `askpro` without a command does: open the console, or print snapshots where no console can be drawn."""

from __future__ import annotations

from askpro_console.system import System
from askpro_console.terminal import standard_streams_unfit
from backend.queue.policies import put_in_force


def open_console(*, demo: bool = False) -> int:
    """Attach to the running system, start it first when there is none; returns the exit code."""
    system = System.load()
    system.refuse_demo(demo)
    system.secrets.unlock_by_asking()
    if reason := standard_streams_unfit(system.environ):
        from askpro_console.text_console import run as run_text_console

        return run_text_console(system, reason, demo=demo)
    from askpro_console.console import run as run_console

    # What an operator may pause, and how many slots a queue may have, is what the settings say.
    put_in_force(system.loaded.policies)
    return run_console(system, demo=demo)
