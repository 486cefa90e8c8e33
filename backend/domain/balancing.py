"""Balancing: on each node, slots go from the queue that clears soonest to the one that clears latest.

What is compared is the time to clear: what waits × the time that one job takes ÷ the slots. Slots are lent, never made:
what one queue gets another gives, down to its floor and up to the ceiling of the one that gets them; what was lent goes
back once nobody needs it. Two rules keep slots from going to and fro: a queue gets slots only while it clears later
than `NEED_S`, and only if afterwards it still clears no sooner than the one that gave them; and a queue gives slots
back only if afterwards it clears within half of `NEED_S`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

NEED_S = 2.0
"""A queue that clears sooner needs no help: a shift takes longer to pay than that."""

COOLDOWN_S = 3.0
"""Between two shifts on a node: what the last one did has to show first."""

FAR_S = 30.0
"""Whoever clears later than this is far off: one slot at a time it would be over before it helped."""

MOST = 5
"""Slots that go at once to a queue that is far off, or back from one that has nothing to do; else it is one."""

UNKNOWN_RUN_S = 1.0
"""A job takes as long when none of its type has run lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One queue on one node, as it is now."""

    queue: str
    node: str
    slots: int
    floor: int
    """The balancer takes nothing below it."""
    base: int
    """Its slots while nobody needs help."""
    ceiling: int
    work_s: float
    """What waits × the time that one job takes: seconds of one slot. Of all nodes, its share on this one."""
    ready: int = 0
    """Jobs that wait, for telling."""
    is_fixed: bool = False
    """Said by a person, or paused: neither takes nor gives."""

    @property
    def clears_s(self) -> float:
        """Time to clear with the slots it has."""
        return self.clears_with(self.slots)

    def clears_with(self, slots: int) -> float:
        """Time to clear with so many slots."""
        if self.work_s <= 0:
            return 0.0
        return self.work_s / slots if slots > 0 else math.inf

    @property
    def lendable(self) -> int:
        """Slots above its floor."""
        return max(0, self.slots - self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One queue's number of slots becomes another one."""

    queue: str
    node: str
    before: int
    after: int
    base: int
    """What it has while nobody decides anything."""
    why: str
    """The decision in one line."""


def decide(loads: Sequence[Load]) -> tuple[Shift, ...]:
    """What to change now on one node: two queues' slots or, where there are too many or too few in sum, one's.

    `loads` are the node's queues. Empty: all is as it should be. The same loads always bring the same answer.
    """
    free = sorted((load for load in loads if not load.is_fixed), key=lambda load: load.queue)
    return _into_bounds(free) or _lend(free) or _give_back(free) or _settle_sum(free)


def applied(loads: Sequence[Load], shifts: Sequence[Shift]) -> tuple[Load, ...]:
    """The loads with these shifts done."""
    after = {shift.queue: shift.after for shift in shifts}
    return tuple(replace(load, slots=after.get(load.queue, load.slots)) for load in loads)


def loads_by_node(loads: Sequence[Load]) -> Mapping[str, tuple[Load, ...]]:
    """The loads of each node."""
    nodes: dict[str, tuple[Load, ...]] = {}
    for load in loads:
        nodes[load.node] = (*nodes.get(load.node, ()), load)
    return nodes


def _into_bounds(loads: Sequence[Load]) -> tuple[Shift, ...]:
    """A policy may have changed: what is outside its bounds comes inside, whatever the load is."""
    for load in loads:
        inside = min(max(load.slots, load.floor), load.ceiling)
        if inside != load.slots:
            which = "floor" if inside > load.slots else "ceiling"
            return (_shift(load, inside, f"{load.queue} {load.slots} → {inside}: its {which} is {inside}"),)
    return ()


def _lend(loads: Sequence[Load]) -> tuple[Shift, ...]:
    """From whoever would clear soonest to whoever clears latest, if that is worth it."""
    needy = sorted((load for load in loads if load.clears_s > NEED_S), key=lambda load: (-load.clears_s, load.queue))
    for getter in needy:
        room = getter.ceiling - getter.slots
        givers = [load for load in loads if load is not getter and load.lendable]
        if room <= 0 or not givers:
            continue
        # Slots above a queue's own number are borrowed themselves and go first, then those of whoever clears soonest.
        giver = min(givers, key=lambda load: (load.clears_with(load.slots - 1), load.slots <= load.base, load.queue))
        for count in range(min(_at_once(getter), room, giver.lendable), 0, -1):
            if giver.clears_with(giver.slots - count) <= getter.clears_with(getter.slots + count):
                return _lent(giver, getter, count)
    return ()


def _lent(giver: Load, getter: Load, count: int) -> tuple[Shift, ...]:
    told = f"{getter.queue} clears in {_span(getter.clears_s)} ({getter.ready:,} wait), {giver.queue} in"
    told = f"{told} {_span(giver.clears_s)}: {_slots(count)} from {giver.queue} to {getter.queue}"
    return (_shift(giver, giver.slots - count, told), _shift(getter, getter.slots + count, told))


def _give_back(loads: Sequence[Load]) -> tuple[Shift, ...]:
    """From whoever has more than its own number and needs it no longer to whoever has less."""
    short = [load for load in loads if load.slots < load.base]
    over = [load for load in loads if _can_give_back(load)]
    if not short or not over:
        return ()
    giver = min(over, key=lambda load: (load.clears_with(load.slots - 1), load.queue))
    getter = max(short, key=lambda load: (load.clears_s, load.base - load.slots, load.queue))
    count = 1 if giver.ready else min(MOST, giver.slots - giver.base, getter.base - getter.slots)
    told = f"{giver.queue} clears in {_span(giver.clears_s)}: {_slots(count)} back to {getter.queue}"
    return (_shift(giver, giver.slots - count, told), _shift(getter, getter.slots + count, told))


def _settle_sum(loads: Sequence[Load]) -> tuple[Shift, ...]:
    """A person's word about one queue leaves the others with too many or too few in sum: towards their own numbers."""
    surplus = sum(load.slots for load in loads) - sum(load.base for load in loads)
    if surplus < 0:
        short = [load for load in loads if load.slots < load.base]
        getter = max(short, key=lambda load: (load.clears_s, load.base - load.slots, load.queue))
        why = f"{getter.queue} {getter.slots} → {getter.slots + 1}: what it lent is not coming back"
        return (_shift(getter, getter.slots + 1, why),)
    over = [load for load in loads if _can_give_back(load)]
    if surplus > 0 and over:
        giver = max(over, key=lambda load: (load.slots - load.base, load.queue))
        why = f"{giver.queue} {giver.slots} → {giver.slots - 1}: nobody misses what it borrowed"
        return (_shift(giver, giver.slots - 1, why),)
    return ()


def _can_give_back(load: Load) -> bool:
    return load.slots > load.base and load.clears_with(load.slots - 1) <= NEED_S / 2


def _at_once(getter: Load) -> int:
    """One, unless the queue is far off: then a quarter of what it lacks to clear within `FAR_S`."""
    if getter.clears_s <= FAR_S or not math.isfinite(getter.clears_s):
        return 1
    lacking = getter.work_s / FAR_S - getter.slots
    return max(1, min(MOST, math.floor(lacking / 4)))


def _shift(load: Load, after: int, why: str) -> Shift:
    return Shift(queue=load.queue, node=load.node, before=load.slots, after=after, base=load.base, why=why)


def _slots(count: int) -> str:
    return f"{count} slot{'s' * (count != 1)}"


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "never"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 5400 else f"{seconds / 3600:.0f} h"
