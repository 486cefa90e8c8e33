"""Whatever the rules say together, the slots are those that asking of every minute finds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.domain.availability import Busy, Calendar, OfferRules, Part, Person, find_alternatives, find_slots
from backend.domain.intervals import Interval, contains, difference, intersection, union
from backend.domain.opening import ExceptionRule, OpeningRules, WeeklySpans, WorkRules
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import Span
from tests.domain.calendars import BRANCH, OTHER, SERVICE
from tests.domain.minute_oracle import Oracle

# Around clock changes and holidays, where it is easy to be wrong, and one week of neither.
PLACES = (
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/Berlin", date(2026, 5, 1)),
    ("Europe/Berlin", date(2027, 3, 28)),
    ("Europe/Berlin", date(2027, 10, 31)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2027, 11, 7)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2027, 10, 3)),
    ("Asia/Kolkata", date(2026, 12, 31)),
)

_times = st.builds(lambda hour, quarter: time(hour, 15 * quarter), st.integers(0, 23), st.integers(0, 3))
_spans: st.SearchStrategy[Span] = st.tuples(_times, _times)
_long: st.SearchStrategy[Span] = st.sampled_from(
    ((time(), time()), (time(1, 30), time(12)), (time(22), time(6)), (time(8), time(20)))
)


_hours: st.SearchStrategy[WeeklySpans] = st.fixed_dictionaries(
    {day: st.lists(_long | _spans, min_size=1, max_size=2).map(tuple) for day in range(1, 8)}
)
_breaks: st.SearchStrategy[WeeklySpans] = st.just({}) | st.dictionaries(
    st.integers(1, 7),
    st.sampled_from([(time(9), time(9, 30)), (time(2), time(2, 30)), (time(23, 30), time(0, 30))]).map(
        lambda one: (one,)
    ),
)


@st.composite
def _exceptions(draw: st.DrawFn, around: date) -> tuple[ExceptionRule, ...]:
    found: list[ExceptionRule] = []
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        kind = draw(st.sampled_from(ExceptionKind))
        first = around + timedelta(days=draw(st.integers(-2, 1)))
        last = first + timedelta(days=draw(st.integers(0, 1)))
        span = draw(_spans | st.none()) if kind is ExceptionKind.CLOSED else draw(_spans)
        found.append(ExceptionRule(kind, first, last, span))
    return tuple(found)


@st.composite
def _offers(draw: st.DrawFn) -> OfferRules:
    lengths = st.integers(1, 6).map(lambda tens: tens * 600)
    if draw(st.booleans()):
        length = draw(lengths)
        parts: tuple[Part, ...] = (Part("", SERVICE, 0, length),)
        capacity = draw(st.integers(1, 2))
    else:
        first, gap, second = draw(lengths), draw(st.integers(0, 6)) * 600, draw(lengths)
        length, capacity = first + gap + second, 1
        role, skill = draw(st.sampled_from((("a", SERVICE), ("b", OTHER), ("b", SERVICE))))
        parts = (Part("a", SERVICE, 0, first), Part(role, skill, first + gap, second))
    return OfferRules(
        service_id=SERVICE,
        duration_s=length,
        before_s=draw(st.integers(0, 2)) * 300,
        after_s=draw(st.integers(0, 2)) * 300,
        step_s=draw(st.sampled_from((10, 15, 50, 60))) * 60,
        capacity=capacity,
        notice_s=draw(st.sampled_from((0, 0, 90, 600))) * 60,
        horizon_days=draw(st.integers(1, 3)),
        parts=parts,
    )


@st.composite
def _people(draw: st.DrawFn, day: date) -> tuple[Person, ...]:
    found: list[Person] = []
    midnight = int(datetime.combine(day, time(), UTC).timestamp()) - 12 * 3600
    for number in range(draw(st.integers(1, 2))):
        booked = []
        for _ in range(draw(st.integers(0, 3))):
            starts = midnight + 300 * draw(st.integers(0, 12 * 36))
            ends = starts + 300 * draw(st.integers(1, 24))
            booked.append(Busy(starts, ends, draw(st.integers(1, 3)), draw(st.sampled_from((SERVICE, OTHER)))))
        work = WorkRules(draw(_hours), draw(_breaks), draw(_exceptions(day)))
        skills = draw(st.sampled_from(((SERVICE, OTHER), (SERVICE,), (SERVICE, OTHER), (OTHER,))))
        found.append(Person(UUID(int=20 + number), frozenset(skills), work, tuple(booked)))
    return tuple(found)


@st.composite
def _situations(draw: st.DrawFn) -> tuple[Calendar, date, datetime]:
    zone, day = draw(st.sampled_from(PLACES))
    opening = OpeningRules(
        zone, draw(st.none() | _hours), draw(st.sampled_from(("", "BE", "BY"))), draw(_exceptions(day))
    )
    now = datetime.combine(day, time(), UTC) + timedelta(minutes=draw(st.integers(-2000, 300)))
    return Calendar(BRANCH, opening, draw(_offers()), draw(_people(day))), day, now


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_situations())
def test_the_slots_are_those_that_every_minute_finds(situation: tuple[Calendar, date, datetime]) -> None:
    calendar, day, now = situation
    found = {slot.starts_at: tuple(map(frozenset, slot.staff_by_role)) for slot in find_slots(calendar, day, day, now)}
    assert found == Oracle(calendar).slots(day, day, now)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_situations(), st.integers(0, 24 * 60))
def test_alternatives_are_few_near_and_can_be_had(situation: tuple[Calendar, date, datetime], minutes: int) -> None:
    calendar, day, now = situation
    wanted = datetime.combine(day, time(), UTC) + timedelta(minutes=minutes)
    found = find_alternatives(calendar, wanted, now)
    offered = find_slots(calendar, day - timedelta(days=9), day + timedelta(days=9), now)
    assert len(found) <= 3
    assert set(found) <= set(offered)
    assert all(abs(slot.starts_at - wanted) < timedelta(days=8) for slot in found)
    assert all(slot.starts_at != wanted for slot in found)
    if len(found) < 3:  # then all that are near enough are named
        local = offered[0].local.tzinfo if offered else None
        near = [
            slot
            for slot in offered
            if abs((slot.local.date() - wanted.astimezone(local).date()).days) <= 7 and slot.starts_at != wanted
        ]
        assert set(near) == set(found)


_numbers = st.sets(st.integers(0, 30))


def _intervals(numbers: set[int]) -> list[Interval]:
    return union((number, number + 1) for number in numbers)


@given(_numbers, _numbers)
def test_intervals_are_sets_of_numbers(ones: set[int], others: set[int]) -> None:
    one, other = _intervals(ones), _intervals(others)
    assert intersection(one, other) == _intervals(ones & others)
    assert difference(one, other) == _intervals(ones - others)
    assert union([*one, *other]) == _intervals(ones | others)
    assert {number for number in range(-1, 32) if contains(one, number)} == ones
