"""Which slots are offered: the examples of the domain, and what each rule does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from backend.domain.availability import Part, find_alternatives, find_slots
from backend.domain.opening import ExceptionRule, OpeningRules
from backend.domain.vocabulary import ExceptionKind
from tests.domain.calendars import (
    ANNA,
    BEN,
    CEM,
    LONG_AGO,
    OTHER,
    SERVICE,
    busy,
    calendar,
    local_times,
    offer,
    on,
    person,
    spans,
    weekly,
)

MONDAY = "2026-03-02"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def exception(kind: str, first: str, span: str | None = None, last: str | None = None) -> tuple[ExceptionRule, ...]:
    days = (date.fromisoformat(first), date.fromisoformat(last or first))
    if span is None:
        return (ExceptionRule(ExceptionKind(kind), *days),)
    return tuple(ExceptionRule(ExceptionKind(kind), *days, one) for one in spans(span))


# Buffers, breaks, grid, notice ---------------------------------------------------------------------------------------


def test_buffers_of_both_appointments_add_up() -> None:
    booked = busy("2026-03-02T10:00+01:00", "2026-03-02T10:30+01:00", after=10)
    found = on(MONDAY, calendar(person("09:00-12:00", busy=[booked]), rules=offer(30, 15, before_s=300)))
    assert local_times(found) == ["09:00", "09:15", "09:30", "10:45", "11:00", "11:15", "11:30"]


def test_a_gap_between_windows_starts_the_grid_anew() -> None:
    found = on(MONDAY, calendar(person("11:00-12:00 13:00-14:00"), rules=offer(45, 15)))
    assert local_times(found) == ["11:00", "11:15", "13:00", "13:15"]


def test_a_break_does_the_same() -> None:
    found = on(MONDAY, calendar(person("11:00-14:00", breaks=weekly("12:00-13:00", [1])), rules=offer(45, 15)))
    assert local_times(found) == ["11:00", "11:15", "13:00", "13:15"]


def test_notice_is_elapsed_time_from_now() -> None:
    rules = offer(30, 30, notice_s=120 * 60)
    found = on(MONDAY, calendar(person("09:00-13:00"), rules=rules), now=moment("2026-03-02T08:10+01:00"))
    assert local_times(found)[0] == "10:30"
    # Over the night of the change only two of the three hours on the clock pass.
    spring = on("2026-03-29", calendar(person("00:00-06:00"), rules=rules), now=moment("2026-03-29T01:00+01:00"))
    assert local_times(spring)[0] == "04:00"


def test_notice_to_the_second() -> None:
    rules = offer(30, 30, notice_s=3600)
    late = on(MONDAY, calendar(rules=rules), now=moment("2026-03-02T09:00:00.5+01:00"))
    assert local_times(late)[0] == "10:30"
    exact = on(MONDAY, calendar(rules=rules), now=moment("2026-03-02T09:00+01:00"))
    assert local_times(exact)[0] == "10:00"


def test_slots_end_within_the_window() -> None:
    found = local_times(on(MONDAY, calendar(rules=offer(50, 50))))
    assert len(found) == 9
    assert found[-1] == "15:40"


def test_buffers_may_lie_outside_the_window() -> None:
    found = on(MONDAY, calendar(person("09:00-10:00"), rules=offer(60, 15, before_s=1800, after_s=1800)))
    assert local_times(found) == ["09:00"]


def test_the_horizon_is_calendar_days_at_the_branch() -> None:
    rules = offer(60, 60, horizon_days=2)
    late = moment("2026-03-02T23:30+01:00")  # still the 2nd in Berlin
    found = find_slots(calendar(rules=rules), date(2026, 3, 1), date(2026, 3, 10), late)
    assert {slot.local.day for slot in found} == {3, 4}
    in_tokyo = find_slots(calendar(rules=rules, zone="Asia/Tokyo"), date(2026, 3, 1), date(2026, 3, 10), late)
    assert {slot.local.day for slot in in_tokyo} == {3, 4, 5}


# Hours, exceptions, holidays -----------------------------------------------------------------------------------------


def test_hours_are_those_of_person_and_branch() -> None:
    opening = OpeningRules("Europe/Berlin", weekly("10:00-13:00 14:00-16:00"))
    assert local_times(on(MONDAY, calendar(opening=opening, rules=offer(60, 60)))) == [
        "10:00",
        "11:00",
        "12:00",
        "14:00",
        "15:00",
    ]
    closed = OpeningRules("Europe/Berlin", weekly("10:00-13:00", [2]))
    assert on(MONDAY, calendar(opening=closed)) == ()


def test_a_night_shift_belongs_to_the_day_on_which_it_starts() -> None:
    item = calendar(person("22:00-02:00", days=[1]), rules=offer(60, 60))
    assert local_times(on(MONDAY, item)) == ["22:00", "23:00"]
    assert local_times(on("2026-03-03", item)) == ["00:00", "01:00"]
    assert on("2026-03-04", item) == ()


def test_a_slot_may_cross_midnight_where_two_days_meet() -> None:
    opening = OpeningRules("Europe/Berlin", {1: spans("20:00-24:00"), 2: spans("00:00-02:00")})
    found = on(MONDAY, calendar(person("00:00-24:00"), opening=opening, rules=offer(90, 60)))
    assert local_times(found) == ["20:00", "21:00", "22:00", "23:00"]


def test_the_grid_of_a_day_does_not_depend_on_where_the_question_starts() -> None:
    item = calendar(person("00:00-24:00"), rules=offer(50, 50))
    whole = find_slots(item, date(2026, 3, 2), date(2026, 3, 8), LONG_AGO)
    single = [slot for day in range(2, 9) for slot in on(f"2026-03-{day:02}", item)]
    assert list(whole) == single


@pytest.mark.parametrize(
    ("exceptions", "offered"),
    [
        (exception("closed", MONDAY), []),
        (exception("closed", "2026-02-20", last="2026-03-10"), []),
        (exception("closed", MONDAY, "10:00-11:00"), ["09:00", "11:00"]),
        (exception("hours", MONDAY, "14:00-15:00 16:00-17:00"), ["14:00", "16:00"]),
        (exception("extra", MONDAY, "18:00-19:00"), ["09:00", "10:00", "11:00", "18:00"]),
        (exception("hours", MONDAY, "14:00-15:00") + exception("extra", MONDAY, "18:00-19:00"), ["14:00", "18:00"]),
        (exception("extra", MONDAY, "18:00-19:00") + exception("closed", MONDAY), []),
        (exception("closed", "2026-03-03"), ["09:00", "10:00", "11:00"]),
    ],
)
def test_exceptions_of_a_person_and_of_a_branch_override(
    exceptions: tuple[ExceptionRule, ...], offered: list[str]
) -> None:
    rules = offer(60, 60)
    of_person = calendar(person("09:00-12:00", exceptions=exceptions), rules=rules)
    assert local_times(on(MONDAY, of_person)) == offered
    opening = OpeningRules("Europe/Berlin", weekly("09:00-12:00"), exceptions=exceptions)
    of_branch = calendar(person("00:00-24:00"), opening=opening, rules=rules)
    assert local_times(on(MONDAY, of_branch)) == offered


def test_breaks_are_not_taken_out_of_exceptional_hours() -> None:
    who = person("09:00-17:00", breaks=weekly("12:00-13:00"), exceptions=exception("hours", MONDAY, "11:00-14:00"))
    assert local_times(on(MONDAY, calendar(who, rules=offer(60, 60)))) == ["11:00", "12:00", "13:00"]


def test_a_break_in_a_night_shift_lies_on_the_day_on_which_it_starts() -> None:
    who = person("22:00-02:00", days=[1], breaks=weekly("00:00-01:00", [2]))
    item = calendar(who, rules=offer(60, 60))
    assert local_times(on("2026-03-03", item)) == ["01:00"]


def test_public_holidays_of_the_bundesland_close_the_branch() -> None:
    item = {
        code: calendar(opening=OpeningRules("Europe/Berlin", None, code), rules=offer(60, 60))
        for code in ("BE", "BY", "")
    }
    epiphany, womens_day, easter_monday = "2026-01-06", "2027-03-08", "2027-03-29"
    assert [bool(on(epiphany, item[code])) for code in item] == [True, False, True]
    assert [bool(on(womens_day, item[code])) for code in item] == [False, True, True]
    assert [bool(on(easter_monday, item[code])) for code in item] == [False, False, True]


def test_a_night_shift_ends_where_a_holiday_begins() -> None:
    opening = OpeningRules("Europe/Berlin", None, "BE")
    item = calendar(person("22:00-06:00", days=[4, 5]), opening=opening, rules=offer(60, 60))
    assert local_times(on("2026-04-30", item)) == ["22:00", "23:00"]
    assert on("2026-05-01", item) == ()
    assert local_times(on("2026-05-02", item)) == [f"{hour:02}:00" for hour in range(6)]


def test_a_branch_may_open_on_a_holiday() -> None:
    opening = OpeningRules(
        "Europe/Berlin", weekly("08:00-18:00"), "BE", exceptions=exception("extra", "2026-05-01", "10:00-12:00")
    )
    assert local_times(on("2026-05-01", calendar(opening=opening, rules=offer(60, 60)))) == ["10:00", "11:00"]


# People, seats, parts ------------------------------------------------------------------------------------------------


def test_any_staff_names_all_who_are_free_and_a_named_one_only_that_one() -> None:
    taken = busy("2026-03-02T09:00+01:00", "2026-03-02T10:00+01:00")
    item = calendar(
        person("09:00-11:00", busy=[taken]),
        person("09:00-11:00", who=BEN),
        person("09:00-11:00", who=CEM, skills=[OTHER]),
        rules=offer(60, 60),
    )
    assert [slot.staff for slot in on(MONDAY, item)] == [(BEN,), (ANNA, BEN)]
    assert [(slot.local.hour, slot.staff) for slot in on(MONDAY, item, who=ANNA)] == [(10, (ANNA,))]
    assert on(MONDAY, item, who=CEM) == ()


def test_a_course_has_as_many_seats_as_its_capacity() -> None:
    rules = offer(60, 60, capacity=2)

    def offered(*seats: int, of_service: UUID = SERVICE) -> list[str]:
        booked = [
            busy("2026-03-02T09:00+01:00", "2026-03-02T10:00+01:00", seat=seat, of_service=of_service) for seat in seats
        ]
        return local_times(on(MONDAY, calendar(person("09:00-11:00", busy=booked), rules=rules)))

    assert offered() == offered(1) == offered(2) == ["09:00", "10:00"]
    assert offered(1, 2) == ["10:00"]
    assert offered(1, of_service=OTHER) == ["10:00"]
    assert offered(3) == ["10:00"]


def test_who_gives_a_course_cannot_do_anything_else() -> None:
    booked = busy("2026-03-02T09:00+01:00", "2026-03-02T10:00+01:00", seat=2, of_service=OTHER)
    assert local_times(on(MONDAY, calendar(person("09:00-11:00", busy=[booked]), rules=offer(60, 60)))) == ["10:00"]


COLOUR = offer(
    90,
    30,
    before_s=600,
    after_s=900,
    parts=(Part("main", SERVICE, 0, 1800), Part("main", SERVICE, 3600, 1800)),
)


def test_a_person_is_free_while_the_customer_waits() -> None:
    in_gap = busy("2026-03-02T09:30+01:00", "2026-03-02T10:00+01:00")
    assert local_times(on(MONDAY, calendar(person("09:00-10:30", busy=[in_gap]), rules=COLOUR))) == ["09:00"]
    in_part = busy("2026-03-02T09:35+01:00", "2026-03-02T10:05+01:00")
    assert on(MONDAY, calendar(person("09:00-10:30", busy=[in_part]), rules=COLOUR)) == ()
    in_buffer = busy("2026-03-02T10:40+01:00", "2026-03-02T11:00+01:00")
    assert on(MONDAY, calendar(person("09:00-10:30", busy=[in_buffer]), rules=COLOUR)) == ()


def test_each_part_needs_somebody_who_can_do_it_and_is_free() -> None:
    rules = replace(COLOUR, parts=(Part("cut", SERVICE, 0, 1800), Part("colour", OTHER, 3600, 1800)))
    cutter = person("09:00-12:00")
    painter = person("10:00-11:00", who=BEN, skills=[OTHER])
    item = calendar(cutter, painter, rules=rules)
    found = on(MONDAY, item)
    assert local_times(found) == ["09:00", "09:30"]
    assert {slot.staff_by_role for slot in found} == {((ANNA,), (BEN,))}
    assert on(MONDAY, calendar(cutter, rules=rules)) == ()
    assert on(MONDAY, item, who=BEN) == ()
    taken = busy("2026-03-02T10:15+01:00", "2026-03-02T10:20+01:00")
    late = calendar(cutter, replace(painter, busy=(taken,)), rules=rules)
    assert local_times(on(MONDAY, late)) == ["09:30"]


# Alternatives --------------------------------------------------------------------------------------------------------


def test_alternatives_are_the_same_time_with_another_then_the_same_day_then_other_days() -> None:
    taken = busy("2026-03-04T10:00+01:00", "2026-03-04T11:00+01:00")
    item = calendar(person("10:00-12:00", busy=[taken]), person("10:00-11:00", who=BEN), rules=offer(60, 60))
    found = find_alternatives(item, moment("2026-03-04T10:00+01:00"), moment("2026-03-02T00:00+01:00"), person=ANNA)
    assert [(f"{slot.local:%d. %H:%M}", slot.staff) for slot in found] == [
        ("04. 10:00", (BEN,)),
        ("04. 11:00", (ANNA,)),
        ("05. 10:00", (ANNA,)),
    ]


def test_alternatives_lie_within_seven_days_and_after_now() -> None:
    wanted = moment("2026-03-18T10:00+01:00")
    weekly_only = calendar(person("10:00-11:00", days=[3]), rules=offer(60, 60))
    found = find_alternatives(weekly_only, wanted, moment("2026-03-02T00:00+01:00"))
    assert [f"{slot.local:%d.}" for slot in found] == ["25.", "11."]
    later = find_alternatives(weekly_only, wanted, moment("2026-03-17T00:00+01:00"))
    assert [f"{slot.local:%d.}" for slot in later] == ["25."]
    fortnight = calendar(person("10:00-11:00", days=[4]), rules=offer(60, 60))
    assert all(
        abs(slot.starts_at - wanted) <= timedelta(days=8) for slot in find_alternatives(fortnight, wanted, LONG_AGO)
    )


def test_slots_are_utc_with_the_local_time_beside() -> None:
    (slot, *_) = on(MONDAY, calendar())
    assert slot.starts_at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert slot.ends_at - slot.starts_at == timedelta(minutes=30)
    assert slot.local.isoformat() == "2026-03-02T09:00:00+01:00"
    assert slot.offset_min == 60
