"""What `P` and `O` would do with rows of the Queues screen: the hint and the key both ask here, so that they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.vocabulary import BulkState, PauseKind
from backend.watch.snapshots import BulkRow, HeldGroup, PauseRow, QuarantineRow
from screens.in_force import Lane
from screens.queue_lists import ProviderLine, QueueLine, TypeLine, is_in_force, listed

UNMARK = "`U` takes the marks away."


class Deed(StrEnum):
    """What is done; the value is how the key hints call it."""

    PAUSE = "pause"
    RESUME = "resume"
    LIFT = "lift"
    CANCEL = "cancel"
    CLOSE = "close breaker"
    HOLD_OPEN = "hold breaker open"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Meant:
    """What a key means for the chosen rows."""

    deed: Deed
    refusal: str = ""
    """Why nothing is done, in a sentence; empty when something is, or when nothing is chosen."""


def refused(sentence: str) -> Meant:
    """Nothing is done."""
    return Meant(Deed.NOTHING, sentence)


def one_of_many(rows: Sequence[object], what: str) -> str:
    """Why something that is for one row is not done while several are marked; empty when one is meant."""
    return f"{what}, and {len(rows)} are marked: {UNMARK}" if len(rows) > 1 else ""


def meant(rows: Sequence[object], now: float) -> Meant:
    """What `P` does with these rows, of one list, at a moment in Unix seconds."""
    if not rows:
        return Meant(Deed.NOTHING)
    first = rows[0]
    match first:
        case ProviderLine():
            sentence = one_of_many(rows, "One breaker is held open or closed at a time")
            return refused(sentence) if sentence else Meant(_of_breaker(first, now))
        case Lane():
            return _of_lanes([row for row in rows if isinstance(row, Lane)], now)
        case QueueLine() | TypeLine():
            return _of_lines([row for row in rows if isinstance(row, (QueueLine, TypeLine))], now)
        case HeldGroup():
            return Meant(Deed.PAUSE)
    return refused("There is nothing to pause here, and nothing to take back.")


def holds(pause: PauseRow | None, now: float) -> bool:
    """Whether there is a pause that holds something back, and not only its ramp."""
    return pause is not None and is_in_force(pause, now)


def _of_breaker(line: ProviderLine, now: float) -> Deed:
    is_open = holds(line.pause, now) or (line.row is not None and line.row.breaker != "closed")
    return Deed.CLOSE if is_open else Deed.HOLD_OPEN


def _of_lanes(lanes: Sequence[Lane], now: float) -> Meant:
    if len(lanes) == 1:
        return _of_lane(lanes[0], now)
    deeds = [_of_lane(lane, now) for lane in lanes]
    if all(each.deed is Deed.RESUME for each in deeds):
        return deeds[0]
    return refused(f"Pauses are resumed together; whatever else is in force, one by one: {UNMARK}")


def _of_lane(lane: Lane, now: float) -> Meant:
    match lane.ref:
        case PauseRow() as pause:
            if not is_in_force(pause, now):
                return refused("It is resumed already, and on its way to full speed.")
            return Meant(Deed.CLOSE if pause.kind == PauseKind.PROVIDER else Deed.RESUME)
        case QuarantineRow():
            return Meant(Deed.LIFT)
        case BulkRow(state=BulkState.RUNNING):
            return Meant(Deed.CANCEL)
    return refused("It has ended: there is nothing to cancel.")


def _of_lines(lines: Sequence[QueueLine | TypeLine], now: float) -> Meant:
    paused = [_name(line) for line in lines if holds(line.pause, now)]
    others = [_name(line) for line in lines if not holds(line.pause, now)]
    if paused and others:
        are = "is" if len(paused) == 1 else "are"
        both = f"{listed(paused)} {are} paused, {listed(others)} not"
        return refused(f"{both}: mark only what is to be resumed, or only what is to be paused.")
    return Meant(Deed.RESUME if paused else Deed.PAUSE)


def _name(line: QueueLine | TypeLine) -> str:
    return line.row.queue if isinstance(line, QueueLine) else line.row.entrypoint
