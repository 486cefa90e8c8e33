"""The question how many jobs of a queue run at once: what more or fewer would mean, before it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from backend.watch.snapshots import JobTypeRow, QueuesSnapshot, WorkerRow
from screens.forms import Blank, Field, Form, choice, fact, told
from screens.queue_lists import QueueLine
from widgets.figures import age_text, count_text, meter
from widgets.pieces import Line, Piece, Tone

MOST = 1000
"""Slots that a queue may have at all."""

EVERYWHERE = "every node"


@dataclass(frozen=True, slots=True)
class ScaleAnswer:
    """How many jobs at once, and where."""

    queue: str
    slots: int
    node: str
    """Empty: on every node without a number of its own."""
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queue can be scaled, and what it has there."""

    node: str
    slots: int
    floor: int
    ceiling: int
    base: int
    machines: int = 1
    """Nodes that work off the queue there."""

    def __str__(self) -> str:
        return self.node or EVERYWHERE


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a question about slots is about."""

    queue: str
    places: tuple[Place, ...]
    """Where it can be scaled, at least one."""
    ready: int | None
    """Jobs that wait; None where that is not known."""
    oldest_s: float | None
    run_s: float | None
    """How long one runs; None when nothing is known."""
    busy: int | None = None
    """Jobs at work there; None where only the queue is meant."""


def scaling_of_line(line: QueueLine, types: Sequence[JobTypeRow]) -> Scaling:
    """A queue, on all of its nodes or on one."""
    row = line.row
    return Scaling(row.queue, tuple(places(line)), row.ready, row.oldest_s, run_s(row.queue, types))


def scaling_of_worker(worker: WorkerRow, snapshot: QueuesSnapshot | None) -> Scaling:
    """A queue on one worker's node; with the queues' figures also what waits, and within which bounds."""
    slots, floor, ceiling, base = worker.concurrency, 0, MOST, worker.concurrency
    row, run = None, None
    if snapshot is not None:
        row = next((row for row in snapshot.queues if row.queue == worker.queue), None)
        run = run_s(worker.queue, snapshot.job_types)
        for slot in snapshot.slots:
            if (slot.queue, slot.node) == (worker.queue, worker.node):
                floor, ceiling, base = slot.floor, slot.ceiling, slot.base
    place = Place(worker.node, slots, floor, ceiling, base)
    ready, oldest_s = (row.ready, row.oldest_s) if row is not None else (None, None)
    return Scaling(worker.queue, (place,), ready, oldest_s, run, worker.busy)


def places(line: QueueLine) -> list[Place]:
    """Everywhere first, then each node that works off the queue."""
    if not line.slots:
        slots = line.row.concurrency
        return [Place("", slots, 0, MOST, slots)]
    nodes = [slot for slot in line.slots if slot.node]
    common = next((slot for slot in line.slots if not slot.node), line.slots[0])
    machines = max(1, len(nodes))
    slots = common.slots if line.expected.slots is None else line.expected.slots // machines
    found = [Place("", slots, common.floor, common.ceiling, common.base, machines)]
    if len(nodes) > 1:
        found += [Place(slot.node, slot.slots, slot.floor, slot.ceiling, slot.base) for slot in nodes]
    return found


def run_s(queue: str, types: Sequence[JobTypeRow]) -> float | None:
    """How long a job of the queue runs, by the medians of what waits there; None when nothing is known."""
    known = [row for row in types if row.queue == queue and row.run_p50_s is not None]
    weights = [(row.ready or 0, row.run_p50_s or 0.0) for row in known]
    total = sum(ready for ready, _ in weights)
    if total:
        return sum(ready * seconds for ready, seconds in weights) / total
    return sum(row.run_p50_s or 0.0 for row in known) / len(known) if known else None


def clear_s(ready: int, run: float | None, slots: int) -> float | None:
    """Time until so many jobs are done with so many slots, while no other comes."""
    return None if run is None or slots <= 0 else ready * run / slots


class ScaleForm(Form["ScaleAnswer | None"]):
    """Asks how many; `+` and `-` change the number, and what it would mean is told at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus", "change(1)", "more"),
        Binding("minus", "change(-1)", "fewer"),
        Binding("pageup", "change(5)", "more", priority=True),
        Binding("pagedown", "change(-5)", "fewer", priority=True),
        Binding("left", "place(-1)", "elsewhere"),
        Binding("right", "place(1)", "elsewhere"),
    ]

    def __init__(self, about: Scaling, *, by: int, user: str) -> None:
        """A question that begins with so many more or fewer than now."""
        super().__init__()
        self._about = about
        self._places = about.places
        self._place = 0
        self._user = user
        self._first = str(min(MOST, max(1, self.place.slots + by)))

    @property
    def place(self) -> Place:
        """Where it is to hold."""
        return self._places[self._place]

    def blanks(self) -> Sequence[Blank]:
        """How many, why."""
        return (Blank("slots", "Jobs at once", self._first), Blank("reason", "Why", hint="for the record"))

    def above(self, width: int) -> Iterable[Line]:
        """The queue and what waits there."""
        about = self._about
        only = f" on {self.place.node}" if len(self._places) == 1 and self.place.node else ""
        yield Line()
        yield from told(f"Scale {about.queue}{only}", width, Tone.BRIGHT)
        yield Line()
        where: tuple[Piece, ...] = (Piece(str(self.place), Tone.BRIGHT),)
        if len(self._places) > 1 and not self.typing:
            where = (Piece("‹ ", Tone.ACCENT), *where, Piece(" ›", Tone.ACCENT))
        yield fact("Where", *where, width=width)
        if about.busy is not None:
            yield fact("At work", Piece(f"{count_text(about.busy)} of {self.place.slots}"), width=width)
        if about.ready is not None:
            oldest = Piece(f", oldest {age_text(about.oldest_s)}" if about.ready else "")
            yield fact("Wait", Piece(count_text(about.ready)), oldest, width=width)

    def below(self, width: int) -> Iterable[Line]:
        """What the number means; the keys."""
        slots, problem = self._asked()
        place = self.place
        yield Line()
        if problem:
            yield from told(f"✖ {problem}", width, Tone.CRIT)
        elif slots is not None:
            top = max(place.ceiling, slots, place.slots)
            bar = meter(slots / top, 30) if top else ""
            bounds = f"  {place.floor} to {place.ceiling}" if place.ceiling < MOST else ""
            yield fact("", Piece(bar, Tone.ACCENT), Piece(bounds, Tone.DIM), width=width)
            for sentence, tone in self._meaning(slots):
                yield from told(sentence, width, tone)
        yield Line()
        typing = bool(self.typing)
        yield choice("y", f"{place.slots} → {slots}" if slots is not None else "scale",
                     f"recorded as {self._user}", possible=not problem and not typing)  # fmt: skip
        yield choice("+ -", "one more, one fewer", "pgup, pgdn: five", possible=not typing)
        yield choice("tab", "to the question" if typing else "type number, why")
        yield choice("esc", "do nothing")
        yield Line()

    def changed(self, name: str, value: str) -> None:
        """The meaning is told anew."""
        self.draw()

    def entered(self, name: str) -> None:
        """To the question at once."""
        self.set_focus(None)
        self.draw()

    def action_change(self, by: int) -> None:
        """More or fewer."""
        field = self.query_one("#field-slots", Field)
        now = int(field.value) if field.value.strip().isdecimal() else self.place.slots
        field.value = str(min(MOST, max(1, now + by)))
        self.draw()

    def action_place(self, by: int) -> None:
        """Somewhere else: begins with what it has there."""
        self._place = (self._place + by) % len(self._places)
        self.query_one("#field-slots", Field).value = str(self.place.slots)
        self.draw()

    def action_agree(self) -> None:
        """Scale."""
        slots, problem = self._asked()
        if slots is not None and not problem:
            self.dismiss(ScaleAnswer(self._about.queue, slots, self.place.node, self.value("reason")))

    def _asked(self) -> tuple[int | None, str]:
        """The number, or what is wrong with it."""
        text = self.value("slots") or self._first
        if not text.isdecimal() or int(text) > MOST:
            return None, f"`{text}` is no number of jobs: 1 to {self.place.ceiling} is."
        slots = int(text)
        if slots < 1:
            return slots, "A queue has at least one slot. To let nothing run, `P` pauses it."
        if slots > self.place.ceiling:
            return slots, f"{slots} is beyond what its policy allows: at most {self.place.ceiling}."
        return slots, ""

    def _meaning(self, slots: int) -> Iterable[tuple[str, Tone]]:
        place, ready = self.place, self._about.ready or 0
        before, after = (clear_s(ready, self._about.run_s, count * place.machines) for count in (place.slots, slots))
        if ready and self._about.busy is None and after is not None and before is not None:
            yield f"What waits is done in about {age_text(after)} instead of {age_text(before)}.", Tone.TEXT
        if slots < place.floor:
            yield f"▲ That is below its floor of {place.floor}, which it has so that it is never starved.", Tone.WARN
        where = " Other machines keep theirs." if place.node else ""
        yield f"It stays so until `=` gives the queue back to the balancer.{where}", Tone.DIM
