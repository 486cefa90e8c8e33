"""What a declaration may not say: each mistake with its place. Needs no database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from zoneinfo import available_timezones

from backend.domain.email_addresses import usable_address
from backend.domain.nearest import perhaps
from backend.domain.phones import normalise
from backend.domain.vocabulary import Bundesland, ExceptionKind
from backend.domain.weeks import DAY_MIN, Span, Week, Weekday, format_spans, minutes, overlapping
from backend.domain.zones import ZoneUnknown, zone
from backend.services.companies.declarations import (
    BranchDeclaration,
    BranchException,
    CompanyDeclaration,
    Mistake,
    Path,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
)

LONGEST_NIGHT_MIN = 16 * 60
"""A span over midnight that is longer is taken for one whose times were swapped (all 24 hours are right again)."""

LONGEST_EXCEPTION_DAYS = 1100

SENT = ("confirmed", "moved", "cancelled", "no_show")
REMINDERS = ("24h", "2h", "30min")

NO_BUNDESLAND = ""
"""A branch that keeps no public holidays."""

_NAMES = {
    "baden-württemberg": "BW",
    "bayern": "BY",
    "berlin": "BE",
    "brandenburg": "BB",
    "bremen": "HB",
    "hamburg": "HH",
    "hessen": "HE",
    "mecklenburg-vorpommern": "MV",
    "niedersachsen": "NI",
    "nordrhein-westfalen": "NW",
    "rheinland-pfalz": "RP",
    "saarland": "SL",
    "sachsen": "SN",
    "sachsen-anhalt": "ST",
    "schleswig-holstein": "SH",
    "thüringen": "TH",
    "nrw": "NW",
}


def mistakes_in(declaration: CompanyDeclaration) -> Iterator[Mistake]:
    """Everything that is wrong with a declaration of the right form."""
    yield from _zone(declaration.time_zone, ("time_zone",))
    for kind, field, slugs in (
        ("branch", "branches", [branch.slug for branch in declaration.branches]),
        ("service", "services", [service.slug for service in declaration.services]),
        ("staff member", "staff", [person.slug for person in declaration.staff]),
    ):
        for number, slug in _repeated(slugs):
            yield Mistake((field, number, "slug"), f"the {kind} {slug} is declared twice")
    yield from _agents(declaration)
    yield from _notifications(declaration)
    yield from _numbers(declaration)
    for number, branch in enumerate(declaration.branches):
        yield from _branch(branch, ("branches", number))
    services = [service.slug for service in declaration.services]
    for number, service in enumerate(declaration.services):
        yield from _service(service, services, ("services", number))
    branches = [branch.slug for branch in declaration.branches]
    for number, person in enumerate(declaration.staff):
        yield from _person(person, branches, services, ("staff", number))


def _repeated(items: Sequence[object]) -> Iterator[tuple[int, object]]:
    seen: set[object] = set()
    for number, item in enumerate(items):
        if item in seen:
            yield number, item
        seen.add(item)


def _zone(name: str, path: Path) -> Iterator[Mistake]:
    try:
        zone(name)
    except ZoneUnknown as error:
        yield Mistake(path, f"`time_zone`: {error}{perhaps(name, available_timezones())}")


def _agents(declaration: CompanyDeclaration) -> Iterator[Mistake]:
    places: list[tuple[Path, str]] = [(("agents", number), agent) for number, agent in enumerate(declaration.agents)]
    for number, branch in enumerate(declaration.branches):
        places += [(("branches", number, "agents", item), agent) for item, agent in enumerate(branch.agents)]
    for place, agent in _repeated([agent for _, agent in places]):
        yield Mistake(places[place][0], f"`agents`: {agent} is given twice")


def _notifications(declaration: CompanyDeclaration) -> Iterator[Mistake]:
    rules = declaration.notifications
    for field, words, right in (("send", rules.send, SENT), ("reminders", rules.reminders, REMINDERS)):
        for number, word in enumerate(words):
            if word not in right:
                yield Mistake(
                    ("notifications", field, number),
                    f"`{field}` has {word}, but can have {', '.join(right)}{perhaps(word, right)}",
                )
        for number, twice in _repeated(words):
            yield Mistake(("notifications", field, number), f"`{field}` has {twice} twice")
    for table, field, address in (
        ("notifications", "reply_to", rules.reply_to),
        ("callbacks", "email", declaration.callbacks.email),
        ("calcom", "attendee_email", declaration.calcom.attendee_email),
    ):
        if address and usable_address(address) is None:
            yield Mistake((table, field), f'`{field}` is "{address}", which is no e-mail address')


def _numbers(declaration: CompanyDeclaration) -> Iterator[Mistake]:
    seen: set[str] = set()
    for number, branch in enumerate(declaration.branches):
        for item, raw in enumerate(branch.numbers):
            found = normalise(raw)
            if found is None or found in seen:
                what = "is no phone number" if found is None else "is given twice"
                yield Mistake(("branches", number, "numbers", item), f"`numbers`: {raw!r} {what}")
            else:
                seen.add(found)


def _branch(branch: BranchDeclaration, path: Path) -> Iterator[Mistake]:
    codes = [item.value for item in Bundesland]
    if branch.bundesland not in {*codes, NO_BUNDESLAND}:
        meant = _NAMES.get(branch.bundesland.lower())
        near = f"; did you mean `{meant}`?" if meant else perhaps(branch.bundesland.upper(), codes)
        yield Mistake(
            (*path, "bundesland"), f'`bundesland` is "{branch.bundesland}", but must be one of {" ".join(codes)}{near}'
        )
    if branch.time_zone is not None:
        yield from _zone(branch.time_zone, (*path, "time_zone"))
    yield from _hours([("", branch.opening_hours)], branch.slug, (*path, "opening_hours"), night=False)
    yield from _exceptions(branch.exceptions, (*path, "exceptions"))


def _service(service: ServiceDeclaration, services: Sequence[str], path: Path) -> Iterator[Mistake]:
    if not 1 <= service.total_min <= DAY_MIN:
        yield Mistake((*path, "duration_min"), f"`duration_min` of {service.slug} must be from 1 to {DAY_MIN} minutes")
    if service.cancel_fee_cents and not service.cancel_hours:
        yield Mistake((*path, "cancel_fee_cents"), "`cancel_fee_cents` is never due: `cancel_hours` is 0")
    if not service.segments:
        return
    parts = sum(segment.duration_min for segment in service.segments)
    if service.total_min != parts:
        yield Mistake(
            (*path, "duration_min"), f"`duration_min` is {service.duration_min}, but the segments take {parts} minutes"
        )
    if service.capacity > 1:
        yield Mistake((*path, "capacity"), "`capacity`: a service with segments has room for one")
    if service.segments[0].gap or service.segments[-1].gap:
        yield Mistake((*path, "segments"), "`segments` must begin and end with work, not with a gap")
    for number, segment in enumerate(service.segments):
        place = (*path, "segments", number)
        if segment.gap and (segment.role is not None or segment.skill is not None):
            yield Mistake(place, "nobody works in a gap: it has neither `role` nor `skill`")
        if segment.skill is not None and segment.skill not in services:
            yield Mistake(
                (*place, "skill"), f"`skill` is {segment.skill}, which is no service{perhaps(segment.skill, services)}"
            )


def _person(
    person: StaffDeclaration, branches: Sequence[str], services: Sequence[str], path: Path
) -> Iterator[Mistake]:
    for field, slugs, right, what in (
        ("branches", person.branches, branches, "works at {}, which is no branch"),
        ("services", person.services, services, "offers {}, which is no service"),
    ):
        for number, slug in enumerate(slugs):
            if slug not in right:
                yield Mistake((*path, field, number), f"{person.slug} {what.format(slug)}{perhaps(slug, right)}")
        for number, twice in _repeated(slugs):
            yield Mistake((*path, field, number), f"`{field}` of {person.slug} has {twice} twice")
    for slug in person.calcom_event_types:
        if slug not in person.services:
            yield Mistake(
                (*path, "calcom_event_types", slug),
                f"`calcom_event_types`: {person.slug} does not offer {slug}{perhaps(slug, person.services)}",
            )
    for slug in person.hours:
        if slug not in person.branches:
            yield Mistake(
                (*path, "hours", slug),
                f"`hours`: {slug} is none of {person.slug}'s branches{perhaps(slug, person.branches)}",
            )
    yield from _hours(person.hours.items(), person.slug, (*path, "hours"), night=True)
    yield from _hours([("", person.breaks)], person.slug, (*path, "breaks"), night=True)
    yield from _exceptions(person.exceptions, (*path, "exceptions"))
    for item, exception in enumerate(person.exceptions):
        yield from _place(exception, person, (*path, "exceptions", item))


def _place(exception: StaffException, person: StaffDeclaration, path: Path) -> Iterator[Mistake]:
    if exception.branch is not None and exception.branch not in person.branches:
        yield Mistake(
            (*path, "branch"),
            f"`branch`: {exception.branch} is none of {person.slug}'s branches"
            f"{perhaps(exception.branch, person.branches)}",
        )
    if exception.branch is None and exception.kind is not ExceptionKind.CLOSED and len(person.branches) != 1:
        yield Mistake(path, f"`branch` is missing: at which of {', '.join(person.branches) or 'no branches'}?")


def _hours(weeks: Iterable[tuple[str, Week]], whose: str, path: Path, *, night: bool) -> Iterator[Mistake]:
    """Mistakes in a week, or in the weeks of one person at several branches, who can't be at two of them at once."""
    spans: list[tuple[Weekday, Span]] = []
    for name, week in weeks:
        place = (*path, name) if name else path
        for day, several in week.items():
            for span in several:
                yield from _span(span, whose, f"on {day}", place, night=night)
                spans.append((day, span))
    for (one_day, one), (other_day, other) in overlapping(spans):
        yield Mistake(
            path,
            f"`{path[-1]}` of {whose}: {one_day} {format_spans([one])} and {other_day} {format_spans([other])} overlap",
        )


def _span(span: Span, whose: str, when: str, path: Path, *, night: bool) -> Iterator[Mistake]:
    if any(part.second or part.microsecond or part.tzinfo for part in span):
        yield Mistake(path, f"{whose}: {format_spans([span])} {when} is not in whole minutes")
    if night and span[1] <= span[0] and LONGEST_NIGHT_MIN < minutes(span) < DAY_MIN:
        yield Mistake(
            path,
            f"{whose}: {format_spans([span])} ends before starting {when}; "
            f"a night shift has at most {LONGEST_NIGHT_MIN // 60} hours",
        )


def _exceptions(exceptions: Sequence[BranchException], path: Path) -> Iterator[Mistake]:
    seen: set[tuple[str, str | None, date, date, Span | None]] = set()
    for number, exception in enumerate(exceptions):
        place = (*path, number)
        last = exception.last_day or exception.first_day
        if last < exception.first_day:
            yield Mistake((*place, "until"), f"`until` is {last}, which is before {exception.first_day}")
        elif (last - exception.first_day).days > LONGEST_EXCEPTION_DAYS:
            yield Mistake(
                (*place, "until"), f"`until` is {last}: at most {LONGEST_EXCEPTION_DAYS} days are one exception"
            )
        if exception.kind is not ExceptionKind.CLOSED and not exception.hours:
            yield Mistake(place, f"`hours` is missing: {exception.kind} says at which")
        for span in exception.hours:
            yield from _span(span, "exception", f"from {exception.first_day}", (*place, "hours"), night=True)
        branch = exception.branch if isinstance(exception, StaffException) else None
        for one in exception.hours or (None,):
            key = (exception.kind.value, branch, exception.first_day, last, one)
            if key in seen:
                yield Mistake(place, f"the exception from {exception.first_day} is declared twice")
            seen.add(key)
