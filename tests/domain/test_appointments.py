"""An appointment is what its events add up to, and only possible histories add up."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.appointments import ALLOWED, PROJECTED, RESULT, AppointmentHappening, HistoryBroken, project
from backend.domain.vocabulary import AppointmentEvent, AppointmentStatus

STARTS = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
STAFF = UUID(int=7)


def happening(version: int, kind: AppointmentEvent, **data: object) -> AppointmentHappening:
    status = RESULT[kind]
    return AppointmentHappening(version, kind, {**({"status": status.value} if status else {}), **data})


def booked() -> AppointmentHappening:
    return happening(
        1,
        AppointmentEvent.BOOKED,
        staff_id=str(STAFF),
        starts_at=STARTS.isoformat(),
        ends_at=(STARTS + timedelta(minutes=30)).isoformat(),
        price_cents=3500,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[AppointmentHappening]:
    history = [booked()]
    status = AppointmentStatus.CONFIRMED
    for version in range(2, draw(st.integers(2, 12))):
        possible = [kind for kind in AppointmentEvent if status in ALLOWED[kind]]
        if not possible:
            break
        kind = draw(st.sampled_from(possible))
        data: dict[str, object] = {}
        if kind is AppointmentEvent.RESCHEDULED:
            data["starts_at"] = (STARTS + timedelta(hours=draw(st.integers(1, 99)))).isoformat()
        history.append(happening(version, kind, **data))
        status = RESULT[kind] or status
    return history


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_events_are_read_does_not_matter(
    history: list[AppointmentHappening], rng: random.Random
) -> None:
    mixed = list(history)
    rng.shuffle(mixed)
    assert project(mixed) == project(history)


@given(histories())
def test_the_projection_is_the_last_word_on_every_field(history: list[AppointmentHappening]) -> None:
    projection = project(history)
    assert projection.version == len(history)
    assert set(projection.fields) == set(PROJECTED)
    for name in ("status", "price_cents"):
        said = [event.data[name] for event in history if name in event.data]
        assert projection.fields[name] == said[-1]
    assert projection.fields["staff_id"] == STAFF


@given(histories().filter(lambda history: len(history) > 2), st.data())
def test_a_history_with_a_hole_is_broken(history: list[AppointmentHappening], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(history) - 2))
    with pytest.raises(HistoryBroken, match="missing or doubled"):
        project(history[:gone] + history[gone + 1 :])


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([], "no event"),
        ([happening(1, AppointmentEvent.CANCELLED)], "begins with cancelled"),
        ([booked(), booked()], "missing or doubled"),
        ([booked(), happening(2, AppointmentEvent.RESTORED)], "restored can't follow confirmed"),
        ([booked(), happening(2, AppointmentEvent.BOOKED)], "booked can't follow confirmed"),
        ([booked(), happening(2, AppointmentEvent.RESCHEDULED, colour="red")], "colour, which is no field"),
        ([booked(), happening(2, AppointmentEvent.RESCHEDULED, status="completed")], "rescheduled ends in completed"),
        ([booked(), happening(2, AppointmentEvent.RESCHEDULED, starts_at="soon")], "starts_at is 'soon'"),
        ([happening(1, AppointmentEvent.BOOKED, status="asleep")], "asleep"),
    ],
)
def test_an_impossible_history_says_where_it_breaks(history: list[AppointmentHappening], said: str) -> None:
    with pytest.raises(HistoryBroken, match=said):
        project(history)


def test_a_booking_may_wait_for_its_confirmation() -> None:
    pending = AppointmentHappening(1, AppointmentEvent.BOOKED, {"status": "pending"})
    assert project([pending]).fields["status"] == "pending"
    assert project([pending, happening(2, AppointmentEvent.CONFIRMED)]).fields["status"] == "confirmed"
