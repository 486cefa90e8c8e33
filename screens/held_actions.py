"""What can be done with held jobs from a list or a job: retry, discard, move, quarantine. Each asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from backend.watch.snapshots import QueuesSnapshot
from screens.base import ConsoleScreen
from screens.bulk import BulkDialog
from screens.bulk_lines import jobs_text
from screens.bulk_run import Choice, Scope
from screens.dialogs import ConfirmDialog
from screens.link import Link, NotDone, module
from widgets.figures import count_text

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By

__all__ = ["Choice", "HeldActions", "Scope"]


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
        """Stop what somebody has begun with many jobs."""
        seen = self.host.seen("queues")
        rows = seen.snapshot.bulk_actions if seen is not None and isinstance(seen.snapshot, QueuesSnapshot) else ()
        running = [row for row in rows if row.state == "running"]
        if not running:
            self.host.say("Nothing is being done with many jobs now.")
            return
        row = running[0]
        through = row.done + row.skipped
        question = f"Cancel {row.started_by}'s {row.action} of {jobs_text(row.matched)}?"
        more = f"{count_text(through)} are through. What was done stays done; the rest is held as before."

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._stop_bulk(row.id), group="cancel", exit_on_error=False)

        self.app.push_screen(ConfirmDialog(question, more, "cancel it"), answered)

    async def _stop_bulk(self, bulk_id: str) -> None:
        try:
            bulk = await module("backend.services.held_jobs.bulk")

            async def ask(connection: Connection, by: By) -> bool:
                asked: bool = await bulk.ask_cancel(connection, by, UUID(bulk_id))
                return asked

            asked = await Link(self.host).change(ask)
        except NotDone as problem:
            self.host.say(str(problem), severity="error")
        else:
            self.host.say("It stops after the batch that is under way." if asked else "It is over already.")

    def _decide(self, action: str) -> None:
        scopes = self.scopes()
        if not scopes:
            self.host.say("No held job is chosen here.", severity="warning")
            return
        self.app.push_screen(BulkDialog(action, scopes, after=self._decided))

    def _decided(self) -> None:
        if self.is_attached:
            self.action_reload()
