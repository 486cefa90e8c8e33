"""Declarations of every kind, for properties: small companies that use everything a file can say."""

from __future__ import annotations

from datetime import date, time, timedelta

from hypothesis import strategies as st

from backend.domain.vocabulary import Bundesland, ExceptionKind
from backend.domain.weeks import WEEKDAYS, Span, Week
from backend.services.companies.applying import (
    BranchDeclaration,
    BranchException,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
)

BRANCHES = ("mitte", "nord", "3-west")
SERVICES = ("schnitt", "farbe", "kurs")
STAFF = ("anna", "ben", "cem", "dora")

# Whatever a person may type, quotes, backslashes and all, but no NUL: PostgreSQL has no text with it.
_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
_name = _text.filter(bool)
_minute = st.integers(0, 59)


def _spans(first_hour: int, last_hour: int) -> st.SearchStrategy[tuple[Span, ...]]:
    """Up to two spans that do not overlap, between these hours."""
    middle = (first_hour + last_hour) // 2
    early = st.builds(lambda a, b: (time(first_hour, a), time(middle, b)), _minute, _minute)
    late = st.builds(lambda a, b: (time(middle + 1, a), time(last_hour, b)), _minute, _minute)
    return st.lists(st.one_of(early, late), max_size=2, unique_by=lambda span: span[0].hour).map(
        lambda spans: tuple(sorted(spans))
    )


def _weeks(first_hour: int, last_hour: int) -> st.SearchStrategy[Week]:
    return st.dictionaries(st.sampled_from(WEEKDAYS), _spans(first_hour, last_hour).filter(bool), max_size=4)


_night: st.SearchStrategy[Week] = st.just({"fri": ((time(22), time(6)),)})


@st.composite
def _exception(draw: st.DrawFn, kind: type[BranchException], branches: tuple[str, ...]) -> BranchException:
    what = draw(st.sampled_from(ExceptionKind)) if branches or kind is BranchException else ExceptionKind.CLOSED
    first = draw(st.dates(date(2026, 1, 1), date(2027, 12, 31)))
    hours = _spans(8, 20)
    fields: dict[str, object] = {
        "kind": what,
        "first_day": first,
        "last_day": draw(st.none() | st.integers(1, 40).map(lambda days: first + timedelta(days))),
        "hours": draw(hours if what is ExceptionKind.CLOSED else hours.filter(bool)),
        "reason": draw(_text),
    }
    if kind is StaffException:
        whole = what is ExceptionKind.CLOSED
        fields["branch"] = draw(st.sampled_from(branches) if not whole else st.sampled_from((None, *branches)))
    return kind(**fields)  # type: ignore[arg-type] # the fields of the record, by name


def _exceptions(
    kind: type[BranchException], branches: tuple[str, ...]
) -> st.SearchStrategy[tuple[BranchException, ...]]:
    return st.lists(_exception(kind, branches), max_size=3, unique_by=lambda one: (one.first_day, one.last_day)).map(
        tuple
    )


@st.composite
def _branch(draw: st.DrawFn, slug: str, numbers: tuple[str, ...]) -> BranchDeclaration:
    return BranchDeclaration(
        slug=slug,
        name=draw(_name),
        address=draw(_text),
        bundesland=draw(st.sampled_from(["", *(item.value for item in Bundesland)])),
        time_zone=draw(st.sampled_from([None, "Europe/Vienna", "America/New_York"])),
        numbers=numbers,
        agents=draw(st.sampled_from([(), (f"agent_{slug}",)])),
        opening_hours=draw(_weeks(6, 21) | _night),
        exceptions=draw(_exceptions(BranchException, ())),
        active=draw(st.booleans()),
    )


@st.composite
def _service(draw: st.DrawFn, slug: str, services: tuple[str, ...]) -> ServiceDeclaration:
    segments: tuple[SegmentDeclaration, ...] = ()
    if draw(st.booleans()):
        segments = (
            SegmentDeclaration(label=draw(_name), duration_min=draw(st.integers(1, 90))),
            SegmentDeclaration(label="Einwirken", duration_min=draw(st.integers(1, 90)), gap=True),
            SegmentDeclaration(
                label=draw(_name),
                duration_min=10,
                role=draw(st.sampled_from([None, "stylist"])),
                skill=draw(st.sampled_from((None, *services))),
            ),
        )
    return ServiceDeclaration(
        slug=slug,
        name=draw(_name),
        duration_min=0 if segments else draw(st.integers(1, 1440)),
        buffer_before_min=draw(st.integers(0, 240)),
        notice_min=draw(st.integers(0, 10_000)),
        horizon_days=draw(st.integers(1, 730)),
        step_min=draw(st.integers(1, 1440)),
        price_cents=draw(st.integers(0, 10_000_000)),
        capacity=1 if segments else draw(st.integers(1, 500)),
        cancel_hours=draw(st.integers(1, 100)),
        cancel_fee_cents=draw(st.integers(0, 5000)),
        calcom_event_type_id=draw(st.none() | st.integers(1, 2**40)),
        segments=segments,
        active=draw(st.booleans()),
    )


@st.composite
def _person(draw: st.DrawFn, slug: str, branches: tuple[str, ...], services: tuple[str, ...]) -> StaffDeclaration:
    mine = tuple(draw(st.lists(st.sampled_from(branches), unique=True)))
    # Somebody at two branches works in the morning at one and in the afternoon at the other.
    hours = {branch: draw(_weeks(6 + 5 * number, 10 + 5 * number)) for number, branch in enumerate(mine)}
    offered = tuple(draw(st.lists(st.sampled_from(services), unique=True)))
    return StaffDeclaration(
        slug=slug,
        name=draw(_name),
        branches=mine,
        services=offered,
        calcom_event_types={service: draw(st.integers(1, 2**40)) for service in offered if draw(st.booleans())},
        hours=hours,
        breaks=draw(_weeks(9, 14)),
        exceptions=tuple(one for one in draw(_exceptions(StaffException, mine)) if isinstance(one, StaffException)),
        bookable=draw(st.booleans()),
    )


@st.composite
def companies(draw: st.DrawFn, slug: str = "any") -> CompanyDeclaration:
    """A company that may be applied."""
    branches = tuple(draw(st.lists(st.sampled_from(BRANCHES), min_size=1, unique=True)))
    services = tuple(draw(st.lists(st.sampled_from(SERVICES), min_size=1, unique=True)))
    staff = tuple(draw(st.lists(st.sampled_from(STAFF), unique=True)))
    return CompanyDeclaration(
        slug=slug,
        name=draw(_name),
        time_zone=draw(st.sampled_from(["Europe/Berlin", "Asia/Kolkata"])),
        locale=draw(st.sampled_from(["de_DE", "en_GB"])),
        agents=draw(st.sampled_from([(), ("agent_any",)])),
        branches=tuple(draw(_branch(one, (f"030 231251{number}0",))) for number, one in enumerate(branches)),
        services=tuple(draw(_service(one, services)) for one in services),
        staff=tuple(draw(_person(one, branches, services)) for one in staff),
    )
