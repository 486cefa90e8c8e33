"""What can be done with held jobs from a list or a job: retry, discard, move, quarantine. Each asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from screens.base import ConsoleScreen
from screens.bulk import BulkDialog
from screens.bulk_run import Choice, Scope
from screens.link import NotDone

if TYPE_CHECKING:
    from backend.watch.snapshots import BulkRow

__all__ = ["Choice", "HeldActions", "Scope"]


class Bulks(Message):
    """What is being done with many held jobs, or why that is not known."""

    def __init__(self, rows: tuple[BulkRow, ...], problem: str = "") -> None:
        super().__init__()
        self.rows = rows
        self.problem = problem


class HeldActions(ConsoleScreen):
    """A screen on held jobs. Subclasses say in `scopes` which ones are meant."""

    def scopes(self) -> tuple[Scope, ...]:
        """What an action can be about, the nearest first; empty when nothing held is chosen."""
        raise NotImplementedError

    def action_reload(self) -> None:
        """Read what is shown anew."""

    def action_retry(self) -> None:
        """Run held jobs again."""
        self._decide("retry")

    def action_discard(self) -> None:
        """Delete held jobs for good."""
        self._decide("discard")

    def action_move(self) -> None:
        """Make jobs of another queue of them."""
        self._decide("move")

    def action_quarantine(self) -> None:
        """Hold jobs like these before they run."""
        scopes = self.scopes()
        if not scopes or not scopes[0].entrypoint:
            self.host.say("Choose a job or a cause: a quarantine is for one job type.", severity="warning")
            return
        from screens.quarantine import QuarantineDialog

        self.app.push_screen(QuarantineDialog(scopes[0], after=self._decided))

    def action_cancel_bulk(self) -> None:
        """Stop what somebody has begun with many jobs, wherever it runs."""
        self.run_worker(self._look_for_bulks(), exclusive=True, group="bulks", exit_on_error=False)

    def on_bulks(self, message: Bulks) -> None:
        """Ask which of them."""
        if message.problem:
            self.host.say(message.problem, severity="error")
        elif self.is_current:
            from screens.cancelling import cancel_bulk

            cancel_bulk(self, message.rows)

    async def _look_for_bulks(self) -> None:
        from screens.cancelling import running_bulks

        try:
            rows = await running_bulks(self.host)
        except NotDone as problem:
            self.post_message(Bulks((), str(problem)))
        else:
            self.post_message(Bulks(rows))

    def _decide(self, action: str) -> None:
        scopes = self.scopes()
        if not scopes:
            self.host.say("No held job is chosen here.", severity="warning")
            return
        self.app.push_screen(BulkDialog(action, scopes, after=self._decided))

    def _decided(self) -> None:
        if self.is_attached:
            self.action_reload()
