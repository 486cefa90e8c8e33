"""What can be told to machines from the Fleet screen: restart, drain, resume, scale, stop, forget. Each asks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.domain.vocabulary import NodeOrder, NodeState, PauseKind
from backend.watch.snapshots import FleetSnapshot, NodeRow, PauseRow, QueuesSnapshot, WorkerRow
from screens.base import ConsoleScreen
from screens.changing import change
from screens.dialogs import ConfirmDialog
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
from screens.queue_deeds import one_of_many
from screens.scaling import ScaleAnswer, ScaleForm, scaling_of_worker

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.fleet import Part

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
                self.host.restart(local, self._note_restart)
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
            form = ResumeForm([_pause_of(node)], f"{node.node} takes jobs again.", ramps=False)
            self.app.push_screen(form, self._resume)
            return
        effect = "Its workers finish what they do and take nothing more; the other machines go on."
        offer = Offer((Target(PauseKind.NODE, node.node),), effect)
        self.app.push_screen(PauseForm([offer], self.host.user, ramps=False), self._drain)

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

        def answered(yes: bool | None) -> None:
            if yes:
                change(self, work, said=lambda _: f"{worker.queue} on {worker.node} follows its policy again.")

        question = f"Give {worker.queue} on {worker.node} back to the balancer?"
        more = f"It has {worker.concurrency} slots there now; its policy's number holds again, and may be shifted."
        self.app.push_screen(ConfirmDialog(question, more, "give it back"), answered)

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
        workers = [part.worker for part in self.chosen() if part.worker is not None]
        if not workers:
            self.host.say("Slots are a worker's: put the cursor on one.", severity="warning")
            return None
        if sentence := one_of_many(workers, "One worker's slots are set at a time"):
            self.host.say(sentence, severity="warning")
            return None
        return workers[0]

    def _scale(self, by: int) -> None:
        worker = self._worker()
        if worker is None:
            return
        seen = self.host.seen("queues")
        snapshot = seen.snapshot if seen is not None and isinstance(seen.snapshot, QueuesSnapshot) else None
        form = ScaleForm(scaling_of_worker(worker, snapshot), by=by, user=self.host.user)
        self.app.push_screen(form, self._scaled)

    def _scaled(self, answer: ScaleAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> None:
            slots = await module("backend.services.operating.slots")
            await slots.scale(connection, by, answer.queue, answer.slots, node=answer.node, reason=answer.reason)

        said = f"{answer.queue} has {answer.slots} slots on {answer.node}, until `=` gives them back."
        change(self, work, said=lambda _: said)

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
