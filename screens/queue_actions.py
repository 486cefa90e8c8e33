"""What can be done on the Queues screen: scale, pause, resume, lift, cancel, breakers, the balancer. Each asks first.

An action is about what the cursor stands on (or what is marked) when its key is pressed: names are taken then, and
whatever the lists show later, those are what is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from backend.domain.vocabulary import BulkState, PauseKind
from backend.watch.snapshots import BulkRow, HeldGroup, PauseRow, QuarantineRow, QueuesSnapshot
from screens.changing import change
from screens.dialogs import ConfirmDialog
from screens.held_actions import HeldActions
from screens.in_force import Lane
from screens.link import module
from screens.pausing import (
    Offer,
    PauseAnswer,
    PauseForm,
    ResumeAnswer,
    ResumeForm,
    Target,
    pause_all,
    paused_text,
    resume_all,
)
from screens.queue_lists import Expected, ProviderLine, QueueLine, TypeLine, about, listed
from screens.scaling import ScaleAnswer, ScaleForm

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By

BREAKER_FOR = "10 m"
"""For how long a breaker is held open unless one says otherwise."""

BREAKER = "Nothing is sent to it and no job that needs it is started; those jobs wait, none is lost."

COMPANY_WAITS = "Its jobs are put off, in every queue; no other's."


class QueueActions(HeldActions):
    """The actions; the screen says what the cursor stands on."""

    def chosen(self) -> Sequence[object]:
        """The rows that an action is about: the marked ones, or the one under the cursor."""
        table = self.table
        return table.acting_rows if table is not None else ()

    @property
    def snapshot(self) -> QueuesSnapshot | None:
        """The newest figures."""
        raise NotImplementedError

    def expect(self, queue: str, expected: Expected | None) -> None:
        """Show at once what was asked for; None takes it back."""
        raise NotImplementedError

    # Scaling

    def action_more(self) -> None:
        """More jobs of the queue at once."""
        self._scale(1)

    def action_fewer(self) -> None:
        """Fewer jobs of the queue at once."""
        self._scale(-1)

    def action_unpin(self) -> None:
        """Give the queue's slots back to the balancer."""
        line = self._queue_line()
        if line is None:
            return
        if not line.is_pinned:
            who = "the balancer already sees to it" if line.is_balancing else "nobody has said how many it has"
            self.host.say(f"{line.row.queue}: {who}.", severity="warning")
            return
        queue, nodes = line.row.queue, ("", *(slot.node for slot in line.slots if slot.node))
        base = sum(slot.base for slot in line.slots)
        more = f"It has its policy's {base} slots again, and the balancer may shift them."
        if not line.is_balancing:
            more = f"It has its policy's {base} slots again. The balancer is off: `B` turns it on."

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            refusals = await module("backend.services.operating.refusals")
            given_back = 0
            for node in dict.fromkeys(nodes):
                try:
                    await slots.unpin(connection, by, queue, node=node)
                except refusals.AlreadySo:
                    continue
                given_back += 1
            if not given_back:
                raise refusals.AlreadySo(f"Nobody has said how many slots {queue} has.")

        def answered(yes: bool | None) -> None:
            if yes:
                self.expect(queue, Expected(base))
                change(
                    self, work, said=lambda _: f"{queue} is the balancer's again.",
                    failed=lambda: self.expect(queue, None),
                )  # fmt: skip

        self.app.push_screen(ConfirmDialog(f"Give {queue} back to the balancer?", more, "give it back"), answered)

    def action_balance(self) -> None:
        """Turn the balancer on or off."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        on = not snapshot.is_balancing
        question = "Let slots follow the load?" if on else "Stop the balancer?"
        more = (
            "Queues that nobody pinned lend each other slots by time to clear, within floor and ceiling."
            if on
            else "Every queue keeps the slots that it has now, until somebody says otherwise."
        )

        async def work(connection: Connection, by: By) -> bool:
            slots = await module("backend.services.operating.slots")
            return bool(await slots.set_balancing(connection, by, on))

        def answered(yes: bool | None) -> None:
            if yes:
                change(self, work, said=lambda _: "Slots follow the load." if on else "Slots stay as they are.")

        self.app.push_screen(ConfirmDialog(question, more, "turn it on" if on else "turn it off"), answered)

    def _scale(self, by: int) -> None:
        line, snapshot = self._queue_line(), self.snapshot
        if line is None or snapshot is None:
            return
        form = ScaleForm(line, snapshot.job_types, by=by, user=self.host.user)
        self.app.push_screen(form, self._scaled)

    def _scaled(self, answer: ScaleAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            await slots.scale(connection, by, answer.queue, answer.slots, node=answer.node, reason=answer.reason)

        where = f" on {answer.node}" if answer.node else ""
        if not answer.node:
            self.expect(answer.queue, Expected(answer.slots * self._machines(answer.queue)))
        change(
            self,
            work,
            said=lambda _: f"{answer.queue} has {answer.slots} slots{where}, until `=` gives it back.",
            failed=lambda: self.expect(answer.queue, None),
        )

    def _machines(self, queue: str) -> int:
        slots = self.snapshot.slots if self.snapshot is not None else ()
        return max(1, len({slot.node for slot in slots if slot.queue == queue and slot.node}))

    def _queue_line(self) -> QueueLine | None:
        line = next((row for row in self.chosen() if isinstance(row, QueueLine)), None)
        if line is None:
            self.host.say("Slots are a queue's: go to the list of queues.", severity="warning")
        return line

    # Pausing and taking back

    def action_pause(self) -> None:
        """Pause what the cursor stands on, or take back what is in force there."""
        rows = self.chosen()
        if not rows:
            return
        first = rows[0]
        if isinstance(first, Lane):
            self._take_back(first)
        elif isinstance(first, ProviderLine):
            self.action_breaker()
        else:
            paused = [row.pause for row in rows if isinstance(row, (QueueLine, TypeLine)) and _holds(row)]
            if paused:
                self._resume([pause for pause in paused if pause is not None])
            elif choices := pause_choices(rows, self.snapshot):
                self._pause(choices)

    def action_breaker(self) -> None:
        """Hold a provider's breaker open, or close it."""
        line = next((row for row in self.chosen() if isinstance(row, ProviderLine)), None)
        if line is None:
            self.host.say("Breakers are a provider's: go to the list of providers.", severity="warning")
        elif line.pause is not None and line.pause.resumed_at is None:
            self._close(line.provider, (line.pause,))
        elif line.row is not None and line.row.breaker != "closed":
            self._close(line.provider, ())
        else:
            self._pause([Offer((Target(PauseKind.PROVIDER, line.provider),), BREAKER)], until=BREAKER_FOR)

    def _pause(self, choices: Sequence[Offer], *, until: str = "") -> None:
        self.app.push_screen(PauseForm(choices, self.host.user, until=until), self._paused)

    def _paused(self, answer: PauseAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> str:
            await pause_all(connection, by, answer)
            return paused_text(answer)

        queues = [target.name for target in answer.targets if target.kind is PauseKind.QUEUE]
        self._change_queues(queues, "pauses", work)

    def _resume(self, pauses: Sequence[PauseRow]) -> None:
        waiting = sum(self._waits(pause) for pause in pauses)
        effect = f"{about(waiting, 'job')} may start." if waiting else "Nothing waits for it now."

        def answered(answer: ResumeAnswer | None) -> None:
            if answer is not None:
                self._resumed(answer)

        self.app.push_screen(ResumeForm(pauses, effect), answered)

    def _resumed(self, answer: ResumeAnswer) -> None:
        async def work(connection: Connection, by: By) -> str:
            released = await resume_all(connection, by, answer)
            start = f" {about(released, 'job')} put off because of it may start." if released else ""
            return f"Resumed {listed([str(target) for target in answer.targets])}.{start}"

        queues = [target.name for target in answer.targets if target.kind is PauseKind.QUEUE]
        self._change_queues(queues, "resumes", work)

    def _close(self, provider: str, pauses: Sequence[PauseRow]) -> None:
        effect = (
            "Calls go out to it again at once, whatever its breakers have learned; they open anew if it still fails."
        )

        def answered(answer: ResumeAnswer | None) -> None:
            if answer is None:
                return

            async def work(connection: Connection, by: By) -> None:
                breakers = await module("backend.services.operating.breakers")
                await breakers.close_breaker(connection, by, provider, reason=answer.reason, ramp_s=answer.ramp_s)

            change(self, work, said=lambda _: f"The breakers of {provider} are closed.")

        form = ResumeForm(pauses, effect, verb="close the breaker", title=f"provider {provider}")
        self.app.push_screen(form, answered)

    def _take_back(self, lane: Lane) -> None:
        match lane.ref:
            case PauseRow(kind=PauseKind.PROVIDER):
                self._close(lane.ref.name, (lane.ref,))
            case PauseRow():
                if lane.ref.resumed_at is not None:
                    self.host.say("It is resumed already, and on its way to full speed.", severity="warning")
                else:
                    self._resume([lane.ref])
            case QuarantineRow():
                self._lift(lane.ref)
            case BulkRow():
                self._cancel_bulk(lane.ref)

    def _lift(self, row: QuarantineRow) -> None:
        async def work(connection: Connection, by: By) -> None:
            quarantines = await module("backend.services.operating.quarantines")
            await quarantines.lift(connection, by, row.id)

        def answered(yes: bool | None) -> None:
            if yes:
                change(self, work, said=lambda _: f"{row.entrypoint} is let run again.")

        question = f"Lift the quarantine of {row.entrypoint}{f' of {row.company}' if row.company else ''}?"
        why = f"{row.made_by} made it" + (f": {row.reason}. " if row.reason else ". ")
        more = (
            f"{why}Such jobs run again. {about(row.held, 'job')} that it holds stay held until somebody retries them."
        )
        self.app.push_screen(ConfirmDialog(question, more, "lift it"), answered)

    def _cancel_bulk(self, row: BulkRow) -> None:
        if row.state != BulkState.RUNNING:
            self.host.say("It has ended: there is nothing to cancel.", severity="warning")
            return

        async def work(connection: Connection, by: By) -> None:
            bulk = await module("backend.services.held_jobs.bulk")
            await bulk.ask_cancel(connection, by, UUID(row.id))

        def answered(yes: bool | None) -> None:
            if yes:
                change(self, work, said=lambda _: f"The {row.action} ends after the jobs that it is at.")

        question = f"Cancel the {row.action} of {about(row.matched, 'held job')}?"
        left = max(0, row.matched - row.done - row.skipped)
        more = f"{row.started_by} started it. {about(row.done, 'job')} done stay so; {about(left, 'job')} stay held."
        self.app.push_screen(ConfirmDialog(question, more, "cancel it"), answered)

    def _change_queues(
        self, queues: Sequence[str], text: str, work: Callable[[Connection, By], Awaitable[str]]
    ) -> None:
        for queue in queues:
            self.expect(queue, Expected(text=text))

        def failed() -> None:
            for queue in queues:
                self.expect(queue, None)

        change(self, work, said=lambda said: said, failed=failed)

    def _waits(self, pause: PauseRow) -> int:
        snapshot = self.snapshot
        if snapshot is None:
            return 0
        match pause.kind:
            case PauseKind.QUEUE:
                return sum(row.ready for row in snapshot.queues if row.queue == pause.name)
            case PauseKind.JOB_TYPE:
                return sum(row.ready for row in snapshot.job_types if row.entrypoint == pause.name)
        return pause.parked


def _holds(row: QueueLine | TypeLine) -> bool:
    """Whether it is paused now, not only on its ramp."""
    return row.pause is not None and row.pause.resumed_at is None


def pause_choices(rows: Sequence[object], snapshot: QueuesSnapshot | None) -> list[Offer]:
    """What may be paused from these rows, the likeliest first, a company by its name last."""
    choices: list[Offer] = []
    queues = [row for row in rows if isinstance(row, QueueLine)]
    types = [row.row.entrypoint for row in rows if isinstance(row, TypeLine)]
    causes = [row for row in rows if isinstance(row, HeldGroup)]
    if queues:
        ready = sum(row.row.ready for row in queues)
        running = sum(row.row.running for row in queues)
        names = tuple(Target(PauseKind.QUEUE, row.row.queue) for row in queues)
        effect = f"{about(ready, 'job')} that {'wait' if ready != 1 else 'waits'} stay{'' if ready != 1 else 's'}."
        choices.append(Offer(names, f"{effect} {about(running, 'job')} at work finish. Jobs are put in as ever."))
    for entrypoint in dict.fromkeys([*types, *(cause.entrypoint for cause in causes)]):
        waiting = sum(row.ready for row in snapshot.job_types if row.entrypoint == entrypoint) if snapshot else 0
        effect = f"{about(waiting, 'job')} of it stay; the rest of its queue flows."
        choices.append(Offer((Target(PauseKind.JOB_TYPE, entrypoint),), effect))
    if len(types) > 1:
        choices.insert(0, Offer(tuple(Target(PauseKind.JOB_TYPE, name) for name in types), "Their jobs stay."))
    companies = dict.fromkeys(slug for cause in causes for slug, _ in cause.top_companies)
    choices += [Offer((Target(PauseKind.COMPANY, slug),), COMPANY_WAITS) for slug in companies]
    above = dict.fromkeys(name.partition(".")[0] for name in (*types, *(cause.queue for cause in causes)))
    choices += [Offer((Target(PauseKind.QUEUE, name),), "The whole queue; jobs are put in as ever.") for name in above]
    if choices:
        providers = sorted({row.provider for row in snapshot.providers}) if snapshot else []
        choices += [Offer((Target(PauseKind.PROVIDER, name),), BREAKER) for name in providers]
        choices.append(Offer((), COMPANY_WAITS))
    return choices
