"""Fleet: the machines, the processes on all of them with their workers, and the cache; each can be told what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.widget import Widget

from backend.domain.vocabulary import NodeState
from backend.watch.snapshots import FleetSnapshot, ProcessRow, WorkerRow
from screens.fleet_actions import FleetActions
from screens.machines import HIGH, machine_lines, steady_age
from screens.process import ProcessScreen
from widgets.columns import Column
from widgets.figures import DASH, age_text, count_text, ratio_text, size_text, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Piece, Tone, verdict
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

SILENT_S = 10.0
"""A worker whose heartbeat is older is called silent: it beats every two seconds."""

CEILING = 512 * 1024 * 1024
"""Resident memory at which a process of ours is drained and started afresh."""

_STATES: dict[str, Tone] = {
    "ready": Tone.OK,
    "waiting": Tone.DIM,
    "starting": Tone.ACCENT,
    "draining": Tone.ACCENT,
    "stopped": Tone.DIM,
    "backoff": Tone.WARN,
    "failed": Tone.CRIT,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One process and, when it is a worker, what it says of itself."""

    node: str
    process: ProcessRow
    worker: WorkerRow | None
    here: bool
    """Whether it is on the machine whose stack the console belongs to, so that it can be restarted from here."""

    supervised: bool = True
    """Whether a supervisor told of it; else only the worker's own word is known."""

    node_state: NodeState = NodeState.UP

    @property
    def machine(self) -> str:
        """The node it is on."""
        return self.worker.node if self.worker is not None else self.node

    @property
    def key(self) -> str:
        """Its identity: the name outlives the process id."""
        return f"{self.node}/{self.process.name}"


def parts_of(snapshot: FleetSnapshot, here: str = "") -> list[Part]:
    """All processes of all nodes in their order of start, workers of unsupervised nodes after them.

    `here` is the node one sits at.
    """
    workers = {(worker.node, worker.pid): worker for worker in snapshot.workers}
    parts = [
        Part(
            node.node,
            process,
            workers.pop((node.node, process.pid or -1), None),
            here=node.node == here,
            node_state=node.state,
        )
        for node in snapshot.nodes
        for process in node.processes
    ]
    known = {node.node for node in snapshot.nodes if node.processes}
    for worker in workers.values():
        if worker.node in known and (worker.state == "stopped" or snapshot.taken_at - worker.heartbeat_at > SILENT_S):
            continue  # its supervisor tells of the one that came after it
        process = ProcessRow(
            name=f"worker-{worker.queue}",
            pid=worker.pid,
            state="draining" if worker.state == "draining" else "ready",
            rss_bytes=worker.rss_bytes,
            cpu_ratio=0.0,
            restarts=0,
            since=worker.started_at,
        )
        parts.append(Part(f"{worker.node} {worker.pid}", process, worker, here=False, supervised=False))
    return parts


def state_cell(part: Part, now: float) -> Content:
    """Its state; only what is not ready stands out. Of a silent worker without a supervisor nothing is known."""
    state = part.process.state
    if part.node_state is NodeState.VANISHED:
        return verdict(Tone.UNKNOWN, "vanished")
    if part.node_state is NodeState.LEFT:
        return Piece("  stopped", Tone.DIM)
    if part.worker is not None and not part.supervised and now - part.worker.heartbeat_at > SILENT_S:
        return verdict(Tone.UNKNOWN, "silent")
    tone = _STATES.get(state, Tone.UNKNOWN)
    if tone in {Tone.WARN, Tone.CRIT, Tone.UNKNOWN}:
        return verdict(tone, state)
    return Piece(f"● {state}" if tone is Tone.OK else f"  {state}", Tone.TEXT if tone is Tone.OK else tone)


def memory_cell(part: Part) -> Content:
    """Resident memory; PostgreSQL and Valkey have no ceiling here."""
    own = part.process.name not in {"postgres", "valkey"}
    high = own and part.process.rss_bytes >= HIGH * CEILING
    return with_unit(size_text(part.process.rss_bytes or None), Tone.WARN if high else Tone.TEXT)


def busy_cell(part: Part) -> Content:
    """Busy slots of a worker."""
    worker = part.worker
    if worker is None:
        return Piece(DASH, Tone.FAINT) if part.process.name.startswith("worker-") else ""
    full = worker.busy >= worker.concurrency > 0
    return (Piece(f"{worker.busy}", Tone.ACCENT if full else Tone.TEXT), Piece(f"/{worker.concurrency}", Tone.DIM))


def heartbeat_cell(part: Part, now: float) -> Content:
    """Nothing while the heart beats; how long it has not, otherwise."""
    if part.worker is None:
        return ""
    silent = now - part.worker.heartbeat_at
    return verdict(Tone.WARN, f"silent {age_text(silent)}") if silent > SILENT_S else Piece("beats", Tone.DIM)


def since_cell(part: Part, now: float) -> Content:
    """For how long it has been in this state."""
    since = part.process.since
    return Piece(DASH, Tone.FAINT) if since is None else with_unit(steady_age(now - since), Tone.DIM)


def restarts_cell(part: Part) -> Content:
    """How often it was started again."""
    count = part.process.restarts
    return Piece(str(count), Tone.WARN if count >= 3 else Tone.TEXT if count else Tone.DIM)


COLUMNS: tuple[Column[Part], ...] = (
    Column("process", "Process", cell=lambda part: Piece(part.process.name, Tone.BRIGHT), width=20),
    Column("node", "Node", cell=lambda part: Piece(part.node, Tone.DIM), width=7, grow=1, most=24, priority=2),
    Column("state", "State", timed=state_cell, width=11),
    Column("busy", "Busy", cell=busy_cell, width=6, align="right", searched=False,
           sort=lambda part: part.worker.busy if part.worker else None, descending=True),
    Column("cpu", "CPU", cell=lambda part: with_unit(ratio_text(part.process.cpu_ratio)), width=6, align="right",
           sort=lambda part: part.process.cpu_ratio, descending=True, searched=False),
    Column("memory", "Memory", cell=memory_cell, width=7, align="right",
           sort=lambda part: part.process.rss_bytes, descending=True, searched=False),
    Column("restarts", "Restarts", cell=restarts_cell, width=8, align="right",
           sort=lambda part: part.process.restarts, descending=True, searched=False, priority=2),
    Column("since", "For", timed=since_cell, width=5, align="right", sort=lambda part: part.process.since,
           searched=False, priority=3),
    Column("pid", "Pid", cell=lambda part: Piece(str(part.process.pid or DASH), Tone.DIM), width=7, align="right",
           sort=lambda part: part.process.pid, priority=6),
    Column("done", "Done", cell=lambda part: Piece(count_text(part.worker.done) if part.worker else "", Tone.TEXT),
           width=8, align="right", sort=lambda part: part.worker.done if part.worker else None, descending=True,
           searched=False, priority=5),
    Column("heart", "Heart", timed=heartbeat_cell, width=13, searched=False, priority=4),
    Column("detail", "Detail", cell=lambda part: Piece(part.process.detail, Tone.DIM), width=20, grow=4, priority=8),
)  # fmt: skip


def _is_idle(part: Part) -> bool:
    return part.node_state is not NodeState.UP or part.process.state in {"stopped", "waiting"}


ON_WORKERS = frozenset({"fleet.more", "fleet.fewer", "fleet.unpin"})
"""Actions on a worker's slots."""


class FleetScreen(FleetActions):
    """Machines above, processes below; what is told to a machine is told to the one of the process under the cursor."""

    NAME = "fleet"
    TITLE = "Fleet"
    DOMAINS: ClassVar[tuple[str, ...]] = ("fleet",)
    CSS_PATH = "fleet.tcss"

    def body(self) -> Iterable[Widget]:
        """Machines, then processes."""
        yield LineView(id="machines")
        yield VirtualTable(
            COLUMNS,
            key=lambda part: part.key,
            title="Processes",
            nouns=("process", "processes"),
            empty="No supervisor has told of its processes. `askpro status` asks the one of this machine.",
            row_tone=lambda part: Tone.DIM if _is_idle(part) else None,
        )

    @property
    def fleet(self) -> FleetSnapshot | None:
        """The newest that was read."""
        seen = self.seen.get("fleet")
        return seen.snapshot if seen is not None and isinstance(seen.snapshot, FleetSnapshot) else None

    def chosen(self) -> list[Part]:
        """The marked processes, else the one under the cursor."""
        rows = self.query_one(VirtualTable).acting_rows if self.children else []
        return [part for part in rows if isinstance(part, Part)]

    def title_of(self, action_id: str, title: str) -> str | None:
        """What a key would do with the chosen processes and their machine."""
        parts = self.chosen()
        if action_id in ON_WORKERS:
            return title if any(part.worker is not None for part in parts) else None
        if action_id == "fleet.drain":
            machines = {part.machine for part in parts}
            nodes = self.fleet.nodes if self.fleet is not None else ()
            return "resume" if any(node.drained_by for node in nodes if node.node in machines) else title
        return title

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New figures."""
        if isinstance(snapshot, FleetSnapshot):
            self.query_one(VirtualTable).set_rows(parts_of(snapshot, self.host.node))
            self._draw()
            self.refresh_hints()

    def on_resize(self) -> None:
        """Machines are laid out anew."""
        self._draw()

    def on_virtual_table_highlighted(self) -> None:
        """The machine of the process under the cursor is marked; what can be done with it is told."""
        self._draw()
        self.refresh_hints()

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A process with the end of its log."""
        if isinstance(event.row, Part):
            await self.app.push_screen(ProcessScreen(event.row.process.name, event.row.node, here=event.row.here))

    def _draw(self) -> None:
        snapshot = self.fleet
        if snapshot is None or not self.children:
            return
        size = self.app.size
        under = self.query_one(VirtualTable).cursor_row
        chosen = under.machine if isinstance(under, Part) else ""
        most = 3 if size.height < 30 else 8
        self.query_one("#machines", LineView).show(machine_lines(snapshot, size.width, most, chosen=chosen))
