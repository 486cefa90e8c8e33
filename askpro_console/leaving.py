"""Leaving the console: what would stop with it is named first, and a system that it started may stay."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askpro_console.app import AskProApp
    from screens.bulk_run import BulkRun

SETTLE_S = 2.0
"""How long decisions at work may take to end after the batch that is under way."""


class Leaving:
    """What the app knows of its end."""

    def __init__(self, app: AskProApp) -> None:
        self._app = app

    def ask(self) -> None:
        """Leave, after asking about what is under way, and about a system that this console started."""
        work = under_way()
        if not work:
            self._ask_about_system()
            return
        from screens.dialogs import ConfirmDialog

        rest = f", and {len(work) - 1} more" if len(work) > 1 else ""
        question = f"Leave while this console is at work: {work[0].in_words()}{rest}?"
        more = "It stops with the console, after the batch that is under way. What was done stays done."
        self._app.push_screen(ConfirmDialog(question, more, "stop it and leave"), self._answered)

    async def settle(self) -> None:
        """Let decisions at work end in good order."""
        tasks = [run.task for run in under_way() if run.task is not None]
        for run in under_way():
            run.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SETTLE_S)

    def _answered(self, yes: bool | None) -> None:
        if yes:
            self._ask_about_system()

    def _ask_about_system(self) -> None:
        from askpro_console.app import START

        app = self._app
        if app.stack is None or not app.stack.started_here or app.current_mode == START:
            app.exit(1 if getattr(app.screen, "failure", None) else 0)
            return
        from screens.dialogs import LeaveDialog

        app.push_screen(LeaveDialog(), self._left)

    def _left(self, answer: str | None) -> None:
        if answer == "leave":
            self._app.exit(0)
        elif answer == "stop":
            self._app.run_worker(self._stop(), group="stop", exit_on_error=False)

    async def _stop(self) -> None:
        """Decisions at work end in good order first: their records live in the system that stops."""
        if under_way():
            self._app.say("What this console is at ends first, after the batch that is under way.")
        await self.settle()
        self._app.stop_system()


def under_way() -> list[BulkRun]:
    """Decisions on many jobs that this console is at; none before one was ever made."""
    module = sys.modules.get("screens.bulk_run")
    return list(module.RUNNING) if module is not None else []
