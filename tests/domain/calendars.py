"""Calendars for tests of availability: one person, one branch, and whatever a test changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from uuid import UUID

from backend.domain.availability import Busy, Calendar, OfferRules, Part, Person, Slot, find_slots
from backend.domain.opening import ExceptionRule, OpeningRules, WeeklySpans, WorkRules
from backend.domain.weeks import Span, parse_spans

SERVICE = UUID(int=1)
OTHER = UUID(int=2)
BRANCH = UUID(int=3)
ANNA, BEN, CEM = (UUID(int=number) for number in (11, 12, 13))

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
EVERY_DAY = range(1, 8)


def spans(text: str) -> tuple[Span, ...]:
    """Of `09:00-12:00 13:00-17:00`."""
    return parse_spans(text)


def weekly(text: str, days: Iterable[int] = EVERY_DAY) -> WeeklySpans:
    """The same spans on each of these ISO weekdays."""
    return {day: spans(text) for day in days}


def offer(minutes: int = 30, step: int = 30, **changes: object) -> OfferRules:
    """A simple service; buffers and notice in seconds, as in the record."""
    fields: dict[str, object] = {
        "service_id": SERVICE,
        "duration_s": minutes * 60,
        "before_s": 0,
        "after_s": 0,
        "step_s": step * 60,
        "capacity": 1,
        "notice_s": 0,
        "horizon_days": 100_000,
        "parts": (Part("", SERVICE, 0, minutes * 60),),
    }
    return OfferRules(**{**fields, **changes})  # type: ignore[arg-type] # the fields of the record, by name


def person(
    hours: str = "09:00-17:00",
    *,
    who: UUID = ANNA,
    busy: Sequence[Busy] = (),
    breaks: WeeklySpans | None = None,
    exceptions: Sequence[ExceptionRule] = (),
    skills: Iterable[UUID] = (SERVICE,),
    days: Iterable[int] = EVERY_DAY,
) -> Person:
    """Somebody who works these hours on these ISO weekdays."""
    work = WorkRules(weekly(hours, days), breaks or {}, tuple(exceptions))
    return Person(who, frozenset(skills), work, tuple(busy))


def calendar(
    *people: Person, rules: OfferRules | None = None, zone: str = "Europe/Berlin", opening: OpeningRules | None = None
) -> Calendar:
    """A branch that is always open, unless `opening` says otherwise."""
    return Calendar(BRANCH, opening or OpeningRules(zone), rules or offer(), people or (person(),))


def busy(
    starts: str, ends: str, *, before: int = 0, after: int = 0, seat: int = 1, of_service: UUID | None = None
) -> Busy:
    """An appointment between two times with offset, and its buffers in minutes."""
    first, last = (int(datetime.fromisoformat(text).timestamp()) for text in (starts, ends))
    return Busy(first - before * 60, last + after * 60, seat, of_service)


def local_times(slots: Iterable[Slot]) -> list[str]:
    """`09:00` of each."""
    return [f"{slot.local:%H:%M}" for slot in slots]


def on(day: str, item: Calendar, *, now: datetime = LONG_AGO, who: UUID | None = None) -> tuple[Slot, ...]:
    """The slots of one day."""
    return find_slots(item, date.fromisoformat(day), date.fromisoformat(day), now, person=who)
