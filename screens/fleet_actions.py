"""What can be told to machines from the Fleet screen: restart, drain, resume, scale, stop, forget. Each asks first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from backend.domain.vocabulary import NodeOrder, NodeState, PauseKind
from backend.watch.snapshots import FleetSnapshot, NodeRow, PauseRow, WorkerRow
from screens.base import ConsoleScreen
from screens.changing import change
from screens.dialogs import ConfirmDialog
from screens.forms import Blank, Field, Form, choice, fact, told
from screens.link import Link, NotDone, module
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
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.fleet import Part

MOST_SLOTS = 1000

DRAINS = "Each finishes or gives back what it has begun, ends, and is started again. Nothing accepted is lost."

EVERY = "all processes of its own"


class FleetActions(ConsoleScreen):
    """The Fleet screen's actions. The screen says what is chosen, and knows the fleet."""

    @property
    def fleet(self) -> FleetSnapshot | None:
        """The newest that was read."""
        raise NotImplementedError

    def chosen(self) -> list[Part]:
        """The marked processes, else the one under the cursor."""
        raise NotImplementedError

    def action_restart(self) -> None:
        """Drain the chosen processes and start them afresh, wherever they are."""
        parts = self.chosen()
        unsupervised = [part for part in parts if not part.supervised]
        away = [part for part in parts if part.supervised and part.node_state is not NodeState.UP]
        if away or unsupervised:
            who = (away or unsupervised)[0].machine
            why = "does not work" if away else "has no supervisor that was heard of"
            self.host.say(f"{who} {why}: nobody there would take the order up.", severity="warning")
            return
        if not parts:
            return
        remote = [part for part in parts if not part.here]
        local = [part.process.name for part in parts if part.here]
        names = [f"{part.process.name}{'' if part.here else f' on {part.node}'}" for part in parts]
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        question = f"Restart {listed}?" if len(parts) == 1 else f"Restart {len(parts)} processes: {listed}?"

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            if local:
                # Through the control socket, which also works while the database does not.
                self.host.restart(local)
                self._note_restart(local)
            if remote:
                self._order([(part.node, part.process.name) for part in remote], NodeOrder.RESTART)

        self.app.push_screen(ConfirmDialog(question, DRAINS, "restart"), answered)

    def action_restart_node(self) -> None:
        """Start every process of ours on the machine afresh."""
        if (node := self._node()) is None:
            return
        question = f"Restart {EVERY} on {node.node}?"

        def answered(yes: bool | None) -> None:
            if yes:
                self._order([(node.node, "")], NodeOrder.RESTART)

        self.app.push_screen(ConfirmDialog(question, f"{DRAINS} PostgreSQL and Valkey stay up.", "restart"), answered)

    def action_stop_node(self) -> None:
        """Take a joined machine down."""
        if (node := self._node()) is None:
            return
        if not node.is_joined:
            self.host.say(f"{node.node} holds the database: it is stopped there, by `askpro down`.", severity="warning")
            return
        others = (
            [one.node for one in self.fleet.nodes if one.node != node.node and one.state is NodeState.UP]
            if (self.fleet)
            else []
        )
        more = f"It finishes what it does and gives the rest back; {', '.join(others) or 'nobody'} works on."

        def answered(yes: bool | None) -> None:
            if yes:
                self._order([(node.node, "")], NodeOrder.STOP)

        self.app.push_screen(ConfirmDialog(f"Stop {node.node}?", more, "stop it"), answered)

    def action_drain(self) -> None:
        """Let the machine's workers take nothing more, or take jobs again."""
        if (node := self._node(working=False)) is None:
            return
        if node.drained_by:
            self.app.push_screen(ResumeForm([_pause_of(node)], f"{node.node} takes jobs again."), self._resume)
            return
        effect = "Its workers finish what they do and take nothing more; the other machines go on."
        offer = Offer((Target(PauseKind.NODE, node.node),), effect)
        self.app.push_screen(PauseForm([offer], self.host.user), self._drain)

    def action_more(self) -> None:
        """More jobs at once of the chosen worker's queue, on its machine."""
        self._scale(1)

    def action_fewer(self) -> None:
        """Fewer of them."""
        self._scale(-1)

    def action_unpin(self) -> None:
        """Give the queue's slots on that machine back to policy and balancer."""
        worker = self._worker()
        if worker is None:
            return

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            await slots.unpin(connection, by, worker.queue, node=worker.node)

        change(self, work, said=lambda _: f"{worker.queue} on {worker.node} follows its policy again.")

    def action_forget(self) -> None:
        """Strike a machine that is gone for good off the list."""
        if (node := self._node(working=False)) is None:
            return
        if node.state is NodeState.UP:
            self.host.say(f"{node.node} works: it would be back in a moment.", severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if not yes:
                return

            async def work(connection: Connection, by: By) -> None:
                registry = await module("backend.services.fleet.registry")
                await registry.forget(connection, by, node.node)

            change(self, work, said=lambda _: f"{node.node} is forgotten.")

        more = "It is no longer told of as missing. Should it come back, it is in the fleet again by itself."
        self.app.push_screen(ConfirmDialog(f"Forget {node.node}?", more, "forget it"), answered)

    # Inside

    def _node(self, *, working: bool = True) -> NodeRow | None:
        """The machine of the process under the cursor; None, and a remark, when there is none such (that works)."""
        parts = self.chosen()
        machines = {part.machine for part in parts}
        if len(machines) > 1:
            self.host.say("The marked processes are on several machines: mark those of one.", severity="warning")
            return None
        nodes = self.fleet.nodes if self.fleet is not None else ()
        node = next((node for node in nodes if node.node in machines), None)
        if node is None:
            self.host.say("Nothing is known of that machine but its workers.", severity="warning")
        elif working and node.state is not NodeState.UP:
            self.host.say(f"{node.node} does not work: nobody there would take the order up.", severity="warning")
            return None
        return node

    def _worker(self) -> WorkerRow | None:
        worker = next((part.worker for part in self.chosen() if part.worker is not None), None)
        if worker is None:
            self.host.say("Slots are a worker's: put the cursor on one.", severity="warning")
        return worker

    def _scale(self, by: int) -> None:
        if (worker := self._worker()) is not None:
            self.app.push_screen(SlotsForm(worker, by=by, user=self.host.user), self._scaled)

    def _scaled(self, answer: tuple[WorkerRow, int, str] | None) -> None:
        if answer is None:
            return
        worker, number, reason = answer

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            await slots.scale(connection, by, worker.queue, number, node=worker.node, reason=reason)

        change(
            self, work, said=lambda _: f"{worker.queue} has {number} slots on {worker.node}, until `=` gives them back."
        )

    def _drain(self, answer: PauseAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> str:
            await pause_all(connection, by, answer)
            return paused_text(answer)

        change(self, work, said=lambda said: said)

    def _resume(self, answer: ResumeAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> str:
            await resume_all(connection, by, answer)
            return f"{', '.join(target.name for target in answer.targets)} takes jobs again."

        change(self, work, said=lambda said: said)

    def _note_restart(self, processes: Sequence[str]) -> None:
        """Write down what was done on this machine; the remark about it is made already."""

        async def note() -> None:
            async def work(connection: Connection, by: By) -> None:
                audit = await module("backend.services.operating.audit")
                for name in processes:
                    await audit.record(connection, by, "node.restart", f"{by.node} {name}", reason="")

            try:
                await Link(self.host).change(work)
            except NotDone as problem:
                self.host.say(f"Not written down: {problem}", severity="warning")

        self.app.run_worker(note(), group="change", exit_on_error=False)

    def _order(self, targets: Sequence[tuple[str, str]], action: NodeOrder) -> None:
        async def work(connection: Connection, by: By) -> str:
            orders = await module("backend.services.fleet.orders")
            for node, process in targets:
                await orders.order(connection, by, node, process, action)
            names = ", ".join(f"{node}: {process or EVERY}" for node, process in targets[:3])
            return f"Told {names}." if action is NodeOrder.RESTART else f"Told {names} to stop."

        change(self, work, said=lambda said: said)


def _pause_of(node: NodeRow) -> PauseRow:
    """The machine's pause as the question about its end wants it."""
    return PauseRow(
        id=0, kind=PauseKind.NODE.value, name=node.node, reason=node.drain_reason, paused_by=node.drained_by,
        paused_at=node.drained_at or 0.0, until=None, ramp_s=0, resumed_at=None,
    )  # fmt: skip


class SlotsForm(Form["tuple[WorkerRow, int, str] | None"]):
    """How many jobs at once of a queue on one machine."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus", "change(1)", "more"),
        Binding("minus", "change(-1)", "fewer"),
    ]

    def __init__(self, worker: WorkerRow, *, by: int, user: str) -> None:
        """A question that begins with so many more or fewer than the worker has now."""
        super().__init__()
        self._worker = worker
        self._user = user
        self._first = min(MOST_SLOTS, max(1, worker.concurrency + by))

    def blanks(self) -> Sequence[Blank]:
        """How many, why."""
        return (Blank("slots", "Jobs at once", str(self._first)), Blank("reason", "Why", hint="for the record"))

    def above(self, width: int) -> Iterable[Line]:
        """The worker as it is."""
        worker = self._worker
        yield Line()
        yield from told(f"Scale {worker.queue} on {worker.node}", width, Tone.BRIGHT)
        yield Line()
        yield fact("Now", Piece(f"{worker.busy} of {worker.concurrency} at work"), width=width)

    def below(self, width: int) -> Iterable[Line]:
        """What it means; the keys."""
        yield Line()
        if self._number() is None:
            yield from told(f"\u2716 It is a number from 1 to {MOST_SLOTS}.", width, Tone.CRIT)
        else:
            yield from told("Only this machine; the balancer leaves it alone until `=` gives it back.", width, Tone.DIM)
        yield Line()
        typing = bool(self.typing)
        yield choice("y", "scale", f"recorded as {self._user}", possible=self._number() is not None and not typing)
        yield choice("+ -", "one more, one fewer", possible=not typing)
        yield choice("tab", "to the question" if typing else "type how many, why")
        yield choice("esc", "do nothing")
        yield Line()

    def changed(self, name: str, value: str) -> None:
        """What it means is told anew."""
        self.draw()

    def action_change(self, by: int) -> None:
        """One more, or one fewer."""
        number = self._number() or self._first
        self.query_one("#field-slots", Field).value = str(min(MOST_SLOTS, max(1, number + by)))

    def action_agree(self) -> None:
        """Scale."""
        if (number := self._number()) is not None:
            self.dismiss((self._worker, number, self.value("reason")))

    def _number(self) -> int | None:
        text = self.value("slots") or str(self._first)
        return int(text) if text.isdecimal() and 1 <= int(text) <= MOST_SLOTS else None
