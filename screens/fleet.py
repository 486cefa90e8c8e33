"""Fleet: the machines, the processes on them with their workers, and the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.widget import Widget

from backend.watch.snapshots import CacheFigures, FleetSnapshot, NodeRow, ProcessRow, WorkerRow
from screens.base import ConsoleScreen
from screens.dialogs import ConfirmDialog
from screens.process import ProcessScreen
from widgets.columns import Column
from widgets.figures import DASH, age_text, count_text, meter, ratio_text, short_text, size_text, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, fitted, rule, verdict
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

SILENT_S = 10.0
"""A worker whose heartbeat is older is called silent: it beats every two seconds."""

CEILING = 512 * 1024 * 1024
"""Resident memory at which a process of ours is drained and started afresh."""

HIGH = 0.85
"""Share of a machine's memory or disk, or of a ceiling, from which on it is a warning."""

FULL = 0.95

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

    @property
    def key(self) -> str:
        """Its identity: the name outlives the process id."""
        return f"{self.node}/{self.process.name}"


def parts_of(snapshot: FleetSnapshot) -> list[Part]:
    """All processes of all nodes in their order of start, workers of unsupervised nodes after them."""
    workers = {(worker.node, worker.pid): worker for worker in snapshot.workers}
    parts = [
        Part(node.node, process, workers.pop((node.node, process.pid or -1), None), node.node == snapshot.node)
        for node in snapshot.nodes
        for process in node.processes
    ]
    for worker in workers.values():
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
    return Piece(DASH, Tone.FAINT) if since is None else with_unit(_steady_age(now - since), Tone.DIM)


def _steady_age(seconds: float) -> str:
    """An age that changes once a minute at most, so that a quiet screen stays quiet."""
    return "now" if seconds < 60 else age_text(seconds)


def restarts_cell(part: Part) -> Content:
    """How often it was started again."""
    count = part.process.restarts
    return Piece(str(count), Tone.WARN if count >= 3 else Tone.TEXT if count else Tone.DIM)


COLUMNS: tuple[Column[Part], ...] = (
    Column("process", "Process", cell=lambda part: Piece(part.process.name, Tone.BRIGHT), width=21),
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
    Column("node", "Node", cell=lambda part: Piece(part.node, Tone.DIM), width=12, grow=1, most=24, priority=7),
    Column("detail", "Detail", cell=lambda part: Piece(part.process.detail, Tone.DIM), width=20, grow=4, priority=8),
)  # fmt: skip


def _share(used: float, total: float) -> tuple[float, Tone]:
    ratio = used / total if total else 0.0
    return ratio, Tone.CRIT if ratio >= FULL else Tone.WARN if ratio >= HIGH else Tone.TEXT


def node_line(node: NodeRow, width: int) -> Line:
    """One machine: CPU, load, memory, disk, network; the least important is left out when it is narrow."""
    memory, memory_tone = _share(node.memory_used_bytes, node.memory_total_bytes)
    disk, disk_tone = _share(node.disk_used_bytes, node.disk_total_bytes)
    cpu_tone = Tone.WARN if node.load_1m > 2 * node.cores else Tone.TEXT
    groups: list[tuple[int, tuple[Piece, ...]]] = [
        (1, (Piece(" "), *fitted(Piece(node.node, Tone.BRIGHT), 14))),
        (1, _figure("cpu", ratio_text(node.cpu_ratio), 5, cpu_tone)),
        (4, (Piece(meter(node.cpu_ratio, 8), cpu_tone), Piece("  "))),
        (2, _figure("load", f"{node.load_1m:.1f}/{node.cores}", 7, cpu_tone)),
        (
            1,
            _figure(
                "mem", f"{size_text(node.memory_used_bytes)} of {size_text(node.memory_total_bytes)}", 16, memory_tone
            ),
        ),
        (4, (Piece(meter(memory, 8), memory_tone), Piece("  "))),
        (1, _figure("disk", ratio_text(disk), 5, disk_tone)),
        (4, (Piece(meter(disk, 8), disk_tone), Piece("  "))),
        (3, _figure("in", f"{size_text(node.net_in_bytes_per_s)}/s", 9, Tone.TEXT)),
        (3, _figure("out", f"{size_text(node.net_out_bytes_per_s)}/s", 9, Tone.TEXT)),
        (2, _figure("up", _steady_age(node.uptime_s), 5, Tone.TEXT)),
        (5, (Piece(f"version {node.version}", Tone.DIM),)),
    ]
    return _fitting(groups, width)


def _figure(label: str, text: str, width: int, tone: Tone) -> tuple[Piece, ...]:
    return (Piece(f"{label} ", Tone.DIM), *fitted(with_unit(text, tone), width), Piece("  "))


def cache_line(cache: CacheFigures, width: int) -> Line:
    """Valkey in one line."""
    head = (Piece(" "), *fitted(Piece("Valkey", Tone.BRIGHT), 14))
    if not cache.up:
        return Line((*head, *verdict(Tone.CRIT, "does not answer"), Piece("  nothing durable lives there", Tone.DIM)))
    used, limit = cache.used_bytes, cache.max_bytes
    _, tone = _share(used or 0, limit or 0)
    memory = f"{size_text(used)} of {size_text(limit)}" if limit else size_text(used)
    groups: list[tuple[int, tuple[Piece, ...]]] = [
        (1, head),
        (1, _figure("mem", memory, 16, tone)),
        (2, _figure("keys", count_text(cache.keys), 7, Tone.TEXT)),
        (3, _figure("no TTL", count_text(cache.keys_without_ttl), 4, Tone.TEXT)),
        (1, _figure("evicted", count_text(cache.evicted), 5, Tone.WARN if cache.evicted else Tone.TEXT)),
        (3, _figure("clients", count_text(cache.clients), 5, Tone.TEXT)),
        (2, _figure("ops", f"{short_text(cache.commands_per_s)} /s", 8, Tone.TEXT)),
        (4, (Piece(f"version {cache.version}", Tone.DIM),)),
    ]
    return _fitting(groups, width)


def _fitting(groups: Sequence[tuple[int, tuple[Piece, ...]]], width: int) -> Line:
    """The groups up to the highest rank with which they fit."""
    for most in sorted({rank for rank, _ in groups}, reverse=True):
        pieces = tuple(piece for rank, group in groups if rank <= most for piece in group)
        if most == 1 or Line(pieces).width <= width:
            return Line(fitted(pieces, width))
    return Line()


def machine_lines(snapshot: FleetSnapshot, width: int, most: int) -> list[Line]:
    """The machines, at most `most` of them, and the cache."""
    nodes = snapshot.nodes
    right = (
        Piece(f"publisher on {snapshot.publisher}", Tone.DIM)
        if snapshot.publisher
        else Piece("no publisher", Tone.WARN)
    )
    lines = [rule((Piece("Machines", Tone.BRIGHT), Piece(f"  {len(nodes)}")), width, right)]
    lines += [node_line(node, width) for node in nodes[:most]]
    if len(nodes) > most:
        lines.append(Line((Piece(f" and {len(nodes) - most} more: sort processes by node", Tone.DIM),)))
    lines.append(cache_line(snapshot.cache, width))
    return lines


class FleetScreen(ConsoleScreen):
    """Machines above, processes below."""

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
            row_tone=lambda part: Tone.DIM if part.process.state in {"stopped", "waiting"} else None,
        )

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New figures."""
        if isinstance(snapshot, FleetSnapshot):
            self._draw(snapshot)
            self.query_one(VirtualTable).set_rows(parts_of(snapshot))

    def on_resize(self) -> None:
        """Machines are laid out anew."""
        seen = self.seen.get("fleet")
        if seen is not None and isinstance(seen.snapshot, FleetSnapshot):
            self._draw(seen.snapshot)

    def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A process with the end of its log."""
        if isinstance(event.row, Part):
            self.app.push_screen(ProcessScreen(event.row.process.name, event.row.node, here=event.row.here))

    def action_restart(self) -> None:
        """Drain the process under the cursor and start it afresh, after a question."""
        table = self.query_one(VirtualTable)
        parts = [part for part in table.acting_rows if isinstance(part, Part)]
        here = [part.process.name for part in parts if part.here]
        if not here:
            self.host.say("Only processes of this machine can be restarted from here.", severity="warning")
            return
        names = ", ".join(here[:4]) + (f" and {len(here) - 4} more" if len(here) > 4 else "")
        question = f"Restart {names}?" if len(here) == 1 else f"Restart {len(here)} processes: {names}?"
        more = "Each finishes or gives back what it has begun, ends, and is started again. Nothing accepted is lost."

        def answered(yes: bool | None) -> None:
            if yes:
                self.host.restart(here)

        self.app.push_screen(ConfirmDialog(question, more, "restart"), answered)

    def _draw(self, snapshot: FleetSnapshot) -> None:
        size = self.app.size
        self.query_one("#machines", LineView).show(machine_lines(snapshot, size.width, 2 if size.height < 30 else 6))
