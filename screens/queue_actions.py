"""What can be done on the Queues screen: scale, pause, resume, lift, cancel, breakers, the balancer. Each asks first.

An action is about what the cursor stands on (or what is marked) when its key is pressed: names are taken then, and
whatever the lists show later, those are what is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from backend.domain.vocabulary import PauseKind
from backend.watch.snapshots import BulkRow, HeldGroup, PauseRow, QuarantineRow, QueuesSnapshot
from screens.cancelling import cancel_bulk
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
from screens.queue_deeds import Deed, Meant, holds, meant, one_of_many
from screens.queue_lists import Expected, ProviderLine, QueueLine, TypeLine, about, listed
from screens.scaling import ScaleAnswer, ScaleForm, scaling_of_line

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By

BREAKER_FOR = "10 m"
"""For how long a breaker is held open unless one says otherwise."""

BREAKER = "Nothing is sent to it and no job that needs it is started; those jobs wait, none is lost."

PAUSED = (QueueLine, TypeLine, Lane)
"""Rows that may stand for a pause."""

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

    # Held jobs

    def action_retry(self) -> None:
        """Run held jobs again."""
        if self._can_decide():
            super().action_retry()

    def action_discard(self) -> None:
        """Delete held jobs for good."""
        if self._can_decide():
            super().action_discard()

    def action_move(self) -> None:
        """Make jobs of another queue of them."""
        if self._can_decide():
            super().action_move()

    def action_quarantine(self) -> None:
        """Hold jobs like these before they run."""
        if self.is_one(self.chosen(), "A quarantine is for one cause"):
            super().action_quarantine()

    def _can_decide(self) -> bool:
        rows = self.chosen()
        are_causes = bool(rows) and isinstance(rows[0], HeldGroup)
        return are_causes or self.is_one(rows, "Held jobs of one queue or job type are decided about at a time")

    # Scaling

    def action_more(self) -> None:
        """More jobs of the queue at once."""
        self._scale(1)

    def action_fewer(self) -> None:
        """Fewer jobs of the queue at once."""
        self._scale(-1)

    def action_unpin(self) -> None:
        """Give the slots of the queue, or of all that are marked, back to the balancer."""
        lines = self._queue_lines()
        pinned = [line for line in lines if line.is_pinned]
        if not pinned:
            if lines:
                who = "the balancer already sees to it" if lines[0].is_balancing else "nobody has said how many it has"
                who = who if len(lines) == 1 else who.replace("it has", "they have").replace("to it", "to them")
                self.host.say(f"{listed([line.row.queue for line in lines])}: {who}.", severity="warning")
            return
        names = listed([line.row.queue for line in pinned])
        bases = {line.row.queue: sum(slot.base for slot in line.slots) for line in pinned}
        has, are = ("It has its policy's", "is") if len(pinned) == 1 else ("They have their policies'", "are")
        more = f"{has} {listed([str(base) for base in bases.values()])} slots again"
        more += ", and the balancer may shift them." if pinned[0].is_balancing else ". `B` turns the balancer on."

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            refusals = await module("backend.services.operating.refusals")
            given_back = 0
            for line in pinned:
                for node in dict.fromkeys(("", *(slot.node for slot in line.slots))):
                    try:
                        await slots.unpin(connection, by, line.row.queue, node=node)
                    except refusals.NotPossible:
                        continue  # nothing was said there, or the node is gone
                    given_back += 1
            if not given_back:
                raise refusals.AlreadySo(f"Nobody has said any more how many slots {names} should have.")

        def answered(yes: bool | None) -> None:
            if yes:
                for queue, base in bases.items():
                    self.expect(queue, Expected(base))
                change(
                    self, work, said=lambda _: f"{names} {are} the balancer's again.",
                    failed=lambda: self._expect_nothing(list(bases)),
                )  # fmt: skip

        self.app.push_screen(ConfirmDialog(f"Give {names} back to the balancer?", more, "give it back"), answered)

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
        form = ScaleForm(scaling_of_line(line, snapshot.job_types), by=by, user=self.host.user)
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

    def _queue_lines(self) -> list[QueueLine]:
        lines = [row for row in self.chosen() if isinstance(row, QueueLine)]
        if not lines:
            self.host.say("Slots are a queue's: go to the list of queues.", severity="warning")
        return lines

    def _queue_line(self) -> QueueLine | None:
        lines = self._queue_lines()
        return lines[0] if lines and self.is_one(lines, "One queue is scaled at a time") else None

    def is_one(self, rows: Sequence[object], what: str) -> bool:
        """Whether one row is meant; else it is said that `what` is for one."""
        if sentence := one_of_many(rows, what):
            self.host.say(sentence, severity="warning")
        return not sentence

    # Pausing and taking back

    def meant(self) -> Meant:
        """What `P` does now."""
        return meant(self.chosen(), self.snapshot.taken_at if self.snapshot is not None else 0.0)

    def action_pause(self) -> None:
        """Pause what is chosen, or take back what is in force there."""
        self._do(self.meant())

    def action_breaker(self) -> None:
        """Hold a provider's breaker open, or close it."""
        if any(isinstance(row, ProviderLine) for row in self.chosen()):
            self._do(self.meant())
        else:
            self.host.say("Breakers are a provider's: go to the list of providers.", severity="warning")

    def _do(self, what: Meant) -> None:
        rows = self.chosen()
        first = rows[0].ref if rows and isinstance(rows[0], Lane) else rows[0] if rows else None
        match what.deed, first:
            case Deed.PAUSE, _:
                self._pause(pause_choices(rows, self.snapshot))
            case Deed.RESUME, _:
                refs = [row.ref if isinstance(row, Lane) else row.pause for row in rows if isinstance(row, PAUSED)]
                self._resume([ref for ref in refs if isinstance(ref, PauseRow)])
            case Deed.CLOSE, ProviderLine(pause=pause):
                now = self.snapshot.taken_at if self.snapshot is not None else 0.0
                self._close(first.provider, (pause,) if pause is not None and holds(pause, now) else ())
            case Deed.CLOSE, PauseRow():
                self._close(first.name, (first,))
            case Deed.HOLD_OPEN, ProviderLine():
                self._pause([Offer((Target(PauseKind.PROVIDER, first.provider),), BREAKER)], until=BREAKER_FOR)
            case Deed.LIFT, QuarantineRow():
                self._lift(first)
            case Deed.CANCEL, BulkRow():
                cancel_bulk(self, (first,))
            case _ if what.refusal:
                self.host.say(what.refusal, severity="warning")

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

    def _change_queues(
        self, queues: Sequence[str], text: str, work: Callable[[Connection, By], Awaitable[str]]
    ) -> None:
        for queue in queues:
            self.expect(queue, Expected(text=text))

        change(self, work, said=lambda said: said, failed=lambda: self._expect_nothing(queues))

    def _expect_nothing(self, queues: Sequence[str]) -> None:
        for queue in queues:
            self.expect(queue, None)

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
