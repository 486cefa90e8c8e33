"""Two calendars compared: what differs, and whose word counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.reconciliation import Finding, OurBooking, Repair, TheirBooking, compare
from backend.domain.vocabulary import DifferenceKind

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TEN = NOW + timedelta(days=1)
ELEVEN = TEN + timedelta(hours=1)
LONG_AGO = NOW - timedelta(hours=5)
ONE, TWO = UUID(int=1), UUID(int=2)


def mine(**changes: object) -> OurBooking:
    fields: dict[str, object] = {
        "appointment_id": ONE,
        "version": 1,
        "starts_at": TEN,
        "takes_place": True,
        "uids": frozenset({"u1"}),
        "changed_at": LONG_AGO,
    }
    return OurBooking(**{**fields, **changes})  # type: ignore[arg-type] # a test names fields of the record


def theirs(**changes: object) -> TheirBooking:
    fields: dict[str, object] = {
        "uid": "u1",
        "starts_at": TEN,
        "takes_place": True,
        "updated_at": LONG_AGO - timedelta(hours=1),
    }
    return TheirBooking(**{**fields, **changes})  # type: ignore[arg-type] # a test names fields of the record


def told(ours: list[OurBooking], there: list[TheirBooking]) -> list[tuple[DifferenceKind, Repair]]:
    return [(finding.kind, finding.repair) for finding in compare(ours, there, NOW)]


LATER = LONG_AGO + timedelta(hours=1)
JUST_NOW = NOW - timedelta(seconds=30)


EARLIER = NOW - timedelta(hours=2)
"""When something began."""


def held(**changes: object) -> list[OurBooking]:
    """Mine, which began a while ago."""
    return [mine(starts_at=EARLIER, **changes)]


def seen(is_absent: bool | None) -> list[TheirBooking]:
    """Theirs of the same, and whether somebody is marked there as not having come."""
    return [theirs(starts_at=EARLIER, is_absent=is_absent)]


MISSED: dict[str, object] = {"takes_place": False, "has_ended": True, "is_no_show": True}
CAME: dict[str, object] = {"takes_place": False, "has_ended": True}
BEFORE, AFTER = EARLIER - timedelta(hours=1), EARLIER + timedelta(hours=1)
DIFFERS = DifferenceKind.ATTENDANCE_DIFFERS


@pytest.mark.parametrize(
    ("ours", "there", "expected"),
    [
        (held(), seen(False), []),
        (held(), seen(None), []),
        (held(**MISSED, status_at=AFTER), seen(True), []),
        (held(**MISSED, status_at=AFTER), seen(None), []),
        (held(**MISSED, status_at=AFTER), [], []),
        (held(**CAME, status_at=AFTER), seen(False), []),
        (held(**MISSED, status_at=AFTER), seen(False), [(DIFFERS, Repair.PUSH)]),
        (held(**MISSED, status_at=AFTER, is_stuck=True), seen(False), [(DIFFERS, Repair.NONE)]),
        (held(**MISSED, status_at=AFTER, is_being_written=True), seen(False), []),
        # Their calendar had said so itself, and has taken it back.
        (held(**MISSED), seen(False), [(DIFFERS, Repair.FOLD)]),
        (held(), seen(True), [(DIFFERS, Repair.FOLD)]),
        (held(**CAME), seen(True), [(DIFFERS, Repair.FOLD)]),
        (held(status_at=BEFORE), seen(True), [(DIFFERS, Repair.FOLD)]),
        (held(status_at=AFTER), seen(True), [(DIFFERS, Repair.PUSH)]),
        (held(**CAME, status_at=AFTER), seen(True), [(DIFFERS, Repair.NONE)]),
    ],
)
def test_who_came_is_compared_and_the_later_word_counts(
    ours: list[OurBooking], there: list[TheirBooking], expected: list[tuple[DifferenceKind, Repair]]
) -> None:
    assert told(ours, there) == expected


@pytest.mark.parametrize(
    ("ours", "there", "expected"),
    [
        ([mine()], [theirs()], []),
        ([mine()], [], [(DifferenceKind.MISSING_THERE, Repair.PUSH)]),
        ([mine(uids=frozenset())], [theirs(uid="x", appointment_id=ONE)], []),
        ([mine(is_being_written=True)], [], []),
        ([mine(is_stuck=True)], [], [(DifferenceKind.MISSING_THERE, Repair.NONE)]),
        ([mine(changed_at=JUST_NOW)], [], []),
        ([mine(starts_at=NOW - timedelta(hours=1))], [], []),
        ([], [theirs()], [(DifferenceKind.MISSING_HERE, Repair.FOLD)]),
        ([], [theirs(is_request=True)], []),
        ([], [theirs(takes_place=False)], []),
        ([], [theirs(updated_at=JUST_NOW)], []),
        # A booking that names an appointment of ours which is not among these is no stranger.
        ([], [theirs(appointment_id=TWO)], []),
        ([mine()], [theirs(starts_at=ELEVEN)], [(DifferenceKind.TIME_DIFFERS, Repair.PUSH)]),
        ([mine()], [theirs(starts_at=ELEVEN, updated_at=LATER)], [(DifferenceKind.TIME_DIFFERS, Repair.FOLD)]),
        # Moved there: the new booking is found by what it replaced, through one that we never heard of.
        (
            [mine()],
            [
                theirs(takes_place=False, replaced_by="u2", updated_at=LATER),
                theirs(uid="u2", replaces="u1", takes_place=False, replaced_by="u3", updated_at=LATER),
                theirs(uid="u3", replaces="u2", starts_at=ELEVEN, updated_at=LATER),
            ],
            [(DifferenceKind.TIME_DIFFERS, Repair.FOLD)],
        ),
        ([mine()], [theirs(takes_place=False, updated_at=LATER)], [(DifferenceKind.CANCELLED_THERE, Repair.FOLD)]),
        ([mine()], [theirs(takes_place=False)], [(DifferenceKind.MISSING_THERE, Repair.PUSH)]),
        ([mine(takes_place=False)], [theirs()], [(DifferenceKind.CANCELLED_HERE, Repair.PUSH)]),
        ([mine(takes_place=False)], [theirs(takes_place=False)], []),
        ([mine(takes_place=False, has_ended=True)], [theirs()], []),
        ([mine()], [theirs(), theirs(uid="x", appointment_id=ONE)], [(DifferenceKind.DOUBLED, Repair.CANCEL)]),
    ],
)
def test_what_differs_and_whose_word_counts(
    ours: list[OurBooking], there: list[TheirBooking], expected: list[tuple[DifferenceKind, Repair]]
) -> None:
    assert told(ours, there) == expected


def test_of_two_bookings_the_one_that_is_not_ours_by_uid_is_too_many() -> None:
    (finding,) = compare([mine(uid="u1")], [theirs(uid="x", appointment_id=ONE), theirs()], NOW)
    assert finding.theirs is not None
    assert finding.theirs.uid == "x"


@given(
    st.lists(
        st.builds(
            TheirBooking,
            uid=st.sampled_from(["u1", "u2", "u3"]),
            starts_at=st.sampled_from([TEN, ELEVEN]),
            takes_place=st.booleans(),
            replaces=st.sampled_from([None, "u1", "u2", "u3"]),
            replaced_by=st.sampled_from([None, "u1", "u2"]),
            appointment_id=st.sampled_from([None, ONE, TWO]),
            updated_at=st.sampled_from([None, LONG_AGO, LATER]),
        ),
        max_size=5,
        unique_by=lambda booking: booking.uid,
    )
)
def test_each_side_is_judged_at_most_once(there: list[TheirBooking]) -> None:
    ours = [mine(), mine(appointment_id=TWO, uids=frozenset({"u2"}), takes_place=False)]
    findings: list[Finding] = compare(ours, there, NOW)
    judged = [finding.ours.appointment_id for finding in findings if finding.ours is not None]
    assert len(judged) == len(set(judged))
    strangers = [finding.theirs.uid for finding in findings if finding.ours is None and finding.theirs is not None]
    assert len(strangers) == len(set(strangers))
