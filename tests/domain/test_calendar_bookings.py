"""The fold of a booking's events depends on the set of events and on nothing else."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.calendar_bookings import (
    CalendarBooking,
    CalendarEvent,
    CalendarEventKind,
    Stay,
    fold_booking,
    tells_nothing_new,
)
from backend.domain.vocabulary import AppointmentStatus, CalendarStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
K = CalendarEventKind

events = st.builds(
    CalendarEvent,
    kind=st.sampled_from(K),
    uid=st.sampled_from(["u0", "u1", "u2"]),
    created_at=st.integers(0, 4).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    replaces=st.sampled_from([None, None, "u0", "u1", "u2"]),
    starts_at=st.none() | st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours)),
    event_type_id=st.none() | st.integers(1, 2),
    attendee_name=st.sampled_from([None, "Anna", "Bea"]),
    is_no_show=st.none() | st.booleans(),
)


def told(kind: CalendarEventKind, minute: int, uid: str = "u0", **more: object) -> CalendarEvent:
    return CalendarEvent(kind=kind, uid=uid, created_at=NOON + timedelta(minutes=minute), **more)  # type: ignore[arg-type] # fields by name


def hour(hours: int) -> datetime:
    return NOON + timedelta(days=1, hours=hours)


def outcome(*told_events: CalendarEvent) -> tuple[str, CalendarStatus | None, datetime | None]:
    folded: CalendarBooking = fold_booking(told_events)
    return folded.uid, folded.status, folded.starts_at


@given(st.lists(events, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_and_any_duplicates_make_the_same_booking(
    given_events: list[CalendarEvent], rng: random.Random
) -> None:
    mixed = given_events + [rng.choice(given_events) for _ in range(rng.randrange(4))]
    rng.shuffle(mixed)
    assert fold_booking(mixed) == fold_booking(given_events)


CREATED = told(K.CREATED, 0, starts_at=hour(9))
MOVED = told(K.RESCHEDULED, 5, "u1", replaces="u0", starts_at=hour(10))
MOVED_AGAIN = told(K.RESCHEDULED, 9, "u2", replaces="u1", starts_at=hour(11))


@pytest.mark.parametrize(
    ("given_events", "expected"),
    [
        ((CREATED,), ("u0", CalendarStatus.ACCEPTED, hour(9))),
        ((CREATED, MOVED), ("u1", CalendarStatus.ACCEPTED, hour(10))),
        ((CREATED, MOVED, MOVED_AGAIN), ("u2", CalendarStatus.ACCEPTED, hour(11))),
        # The old booking's cancellation is part of the move.
        ((CREATED, MOVED, told(K.CANCELLED, 6)), ("u1", CalendarStatus.ACCEPTED, hour(10))),
        ((CREATED, MOVED, told(K.CANCELLED, 6, "u1")), ("u1", CalendarStatus.CANCELLED, hour(10))),
        ((CREATED, told(K.CANCELLED, 3)), ("u0", CalendarStatus.CANCELLED, hour(9))),
        ((told(K.REQUESTED, 0, starts_at=hour(9)),), ("u0", CalendarStatus.REQUESTED, hour(9))),
        ((told(K.REQUESTED, 0, starts_at=hour(9)), told(K.CREATED, 2)), ("u0", CalendarStatus.ACCEPTED, hour(9))),
        ((told(K.REQUESTED, 0, starts_at=hour(9)), told(K.REJECTED, 2)), ("u0", CalendarStatus.CANCELLED, hour(9))),
        # A move that is only asked for leaves the booking where it is.
        (
            (CREATED, told(K.REQUESTED, 5, "u1", replaces="u0", starts_at=hour(10))),
            ("u0", CalendarStatus.ACCEPTED, hour(9)),
        ),
        ((CREATED, told(K.ENDED, 60)), ("u0", CalendarStatus.COMPLETED, hour(9))),
        ((CREATED, told(K.ENDED, 60), told(K.CANCELLED, 30)), ("u0", CalendarStatus.CANCELLED, hour(9))),
        ((CREATED, told(K.ENDED, 60), told(K.NO_SHOW, 61, is_no_show=True)), ("u0", CalendarStatus.NO_SHOW, hour(9))),
        (
            (CREATED, told(K.ENDED, 60), told(K.NO_SHOW, 61, is_no_show=True), told(K.NO_SHOW, 62, is_no_show=False)),
            ("u0", CalendarStatus.COMPLETED, hour(9)),
        ),
        # It was missed and moved: nothing has taken place.
        ((CREATED, told(K.ENDED, 3), MOVED), ("u1", CalendarStatus.ACCEPTED, hour(10))),
        ((told(K.STARTED, 1, starts_at=hour(9)),), ("u0", None, hour(9))),
    ],
)
def test_what_events_add_up_to(
    given_events: tuple[CalendarEvent, ...], expected: tuple[str, CalendarStatus | None, datetime | None]
) -> None:
    assert outcome(*given_events) == expected


def test_a_booking_without_its_beginning_says_so() -> None:
    assert not fold_booking([MOVED]).has_beginning
    assert fold_booking([MOVED, CREATED]).has_beginning
    assert fold_booking([CREATED, MOVED]).uids == {"u0", "u1"}


def test_only_what_our_calendar_said_at_that_time_is_an_echo() -> None:
    stays = [
        Stay(NOON, NOON + timedelta(minutes=10), hour(9), AppointmentStatus.CONFIRMED),
        Stay(NOON + timedelta(minutes=10), None, hour(10), AppointmentStatus.CONFIRMED),
    ]

    def echoes(minutes: float, starts_at: datetime) -> bool:
        return tells_nothing_new(stays, NOON + timedelta(minutes=minutes), lambda stay: stay.starts_at == starts_at)

    assert echoes(0.1, hour(9))
    assert echoes(10.9, hour(9)), "our write was on its way when it was moved again"
    assert not echoes(11.1, hour(9)), "somebody there moved it back"
    assert echoes(-0.9, hour(9)), "clocks differ a little"
    assert not echoes(5, hour(10))
    assert echoes(500, hour(10))
