"""What a company is, declared: the records behind a company's TOML file, and the mistakes that one can hold.

The docstrings under the fields are what `askpro company schema` tells editors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, TypeAlias

import msgspec

from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import Span, Week

Slug = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Minutes = Annotated[int, msgspec.Meta(ge=1, le=1440)]
Buffer = Annotated[int, msgspec.Meta(ge=0, le=240)]
Cents = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class BranchException(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"first_day": "from", "last_day": "until"},
):
    """What differs at a branch on certain days."""

    kind: ExceptionKind
    """closed: all day or, with hours, in them; hours: these instead of the weekly ones; extra: these as well."""
    first_day: date
    """The first day, as in 2026-12-24."""
    last_day: date | None = None
    """The last day, included; without it, the first."""
    hours: tuple[Span, ...] = ()
    """As in "09:00-12:00 14:00-16:00"."""
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """For people; callers are not told."""


class StaffException(BranchException, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs for a person on certain days."""

    branch: str | None = None
    """At this branch only. Hours and extra hours need one when the person works at several."""


class BranchDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place of the company."""

    slug: Slug
    """Names it in this file and in the address of everything; it never changes."""
    name: Name
    """As callers hear it."""
    address: Annotated[str, msgspec.Meta(max_length=500)] = ""
    """Street, post code and town."""
    bundesland: str = "BE"
    """Whose public holidays it keeps: BB BE BW BY HB HE HH MV NI NW RP SH SL SN ST TH; "" for none."""
    time_zone: str | None = None
    """IANA name, as in Europe/Berlin; without it, the company's."""
    numbers: tuple[str, ...] = ()
    """Phone numbers that are answered for it."""
    agents: tuple[str, ...] = ()
    """Ids of voice agents that answer for this branch alone."""
    opening_hours: Week = {}
    """As in "Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00"; without it, the staff's hours alone count."""
    exceptions: tuple[BranchException, ...] = ()
    """Closed, open at other hours, open longer."""
    active: bool = True
    """Whether it can be booked."""


class SegmentDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a composite service."""

    label: Name
    """What happens in it."""
    duration_min: Minutes
    """Minutes."""
    gap: bool = False
    """The customer waits and nobody is busy."""
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] | None = None
    """Parts with the same role are done by the same person; without it, main."""
    skill: str | None = None
    """The service that one must offer to do this part; without it, the composite service itself."""


MAIN_ROLE = "main"


class ServiceDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that can be booked. Times in minutes, money in cents."""

    slug: Slug
    """Names it in this file and for the voice agent; it never changes."""
    name: Name
    """As callers hear it."""
    duration_min: Annotated[int, msgspec.Meta(ge=0, le=1440)] = 0
    """Minutes; can be left out when there are segments, whose sum it is."""
    buffer_before_min: Buffer = 0
    """Minutes that the staff member needs before."""
    buffer_after_min: Buffer = 0
    """Minutes that the staff member needs after."""
    notice_min: Annotated[int, msgspec.Meta(ge=0, le=527_040)] = 0
    """At least so many minutes from now."""
    horizon_days: Annotated[int, msgspec.Meta(ge=1, le=730)] = 90
    """At most so many calendar days ahead."""
    step_min: Minutes = 15
    """Slots start every so many minutes, counted from the start of the free time."""
    price_cents: Cents = 0
    """Whole cents."""
    capacity: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1
    """How many can be booked with one staff member at the same time, as in a course."""
    cancel_hours: Annotated[int, msgspec.Meta(ge=0, le=8760)] = 0
    """Can be cancelled free of charge until so many hours before."""
    cancel_fee_cents: Cents = 0
    """What cancelling costs after that."""
    calcom_event_type_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    """The event type at Cal.com that its bookings are written to."""
    segments: tuple[SegmentDeclaration, ...] = ()
    """Its parts, one after the other, when several people or waiting times are involved."""
    active: bool = True
    """Whether it can be booked."""

    @property
    def total_min(self) -> int:
        """How long it is, segments and gaps included."""
        return self.duration_min or sum(segment.duration_min for segment in self.segments)


class StaffDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person who can be booked."""

    slug: Slug
    """Names the person in this file; it never changes."""
    name: Name
    """As callers hear it."""
    branches: tuple[str, ...]
    """Where the person may work."""
    services: tuple[str, ...]
    """What the person can do."""
    calcom_event_types: dict[str, Annotated[int, msgspec.Meta(ge=1, le=2**53)]] = {}
    """By service, the person's own event type at Cal.com, where it is not the service's."""
    hours: dict[str, Week] = {}
    """Working hours: as in "Mon-Fri 09:00-17:00" for all of the person's branches, or a table by branch."""
    breaks: Week = {}
    """Taken out of the weekly hours, wherever the person works that day."""
    exceptions: tuple[StaffException, ...] = ()
    """Vacation, other hours, extra hours."""
    bookable: bool = True
    """Whether the person can be booked."""


class NotificationRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What customers are told about their appointments, and by whom."""

    send: tuple[str, ...] = ("confirmed", "moved", "cancelled")
    """Of what customers are told when it happens: confirmed, moved, cancelled, no_show."""
    reminders: tuple[str, ...] = ("24h", "2h", "30min")
    """How long before an appointment customers are reminded of it: 24h, 2h, 30min."""
    sender_name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """Who the messages are from; without it, the company's name."""
    reply_to: Annotated[str, msgspec.Meta(max_length=254)] = ""
    """The e-mail address that answers go to; without it, that of the sender."""


class CallbackRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How soon the company calls back."""

    within_min: Annotated[int, msgspec.Meta(ge=5, le=10_080)] = 240
    """Minutes until a callback is overdue, counted while the branch is open."""
    urgent_within_min: Annotated[int, msgspec.Meta(ge=5, le=10_080)] = 60
    """The same for an urgent one."""
    urgent: tuple[Annotated[str, msgspec.Meta(min_length=2, max_length=60)], ...] = ()
    """Words that make a callback urgent when the reason holds one of them, in capitals or not."""
    always: bool = False
    """Count the minutes also while the branch is closed."""
    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    """Who is told when a callback is overdue; empty for nobody."""


class CalcomRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How its appointments are written to Cal.com."""

    api_key_secret: Annotated[str, msgspec.Meta(pattern="^([a-z][a-z0-9_]{0,62})?$")] = ""
    """The secret that holds the API key, as in calcom_api_key; empty: nothing is written there."""
    attendee_email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    """Stands for customers of whom neither e-mail address nor phone number is known."""
    allow_conflicts: bool = False
    """Write also what Cal.com thinks is not free; only a host's own key may."""


class RetellRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Its own account at Retell, when it has one."""

    api_key_secret: Annotated[str, msgspec.Meta(pattern="^([a-z][a-z0-9_]{0,62})?$")] = ""
    """The secret that holds the account's API key; empty: its calls are in the system's account, retell_api_key."""


class CompanyDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole company. Everything is named by its slug."""

    slug: Slug
    """Names the company for operators; it never changes."""
    name: Name
    """As callers hear it."""
    time_zone: str = "Europe/Berlin"
    """IANA name."""
    locale: Annotated[str, msgspec.Meta(pattern="^[a-z]{2}_[A-Z]{2}$")] = "de_DE"
    """Language and country, as in de_DE."""
    agents: tuple[str, ...] = ()
    """Ids of its voice agents."""
    notifications: NotificationRules = NotificationRules()
    """Confirmations, reminders and the like."""
    callbacks: CallbackRules = CallbackRules()
    """Until when it calls back."""
    calcom: CalcomRules = CalcomRules()
    """Whether and how its appointments are written to Cal.com."""
    retell: RetellRules = RetellRules()
    """Its own account at Retell, when it has one."""
    branches: tuple[BranchDeclaration, ...]
    """Its places."""
    services: tuple[ServiceDeclaration, ...]
    """What can be booked."""
    staff: tuple[StaffDeclaration, ...]
    """Who can be booked."""


class CompanySettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tables of a declaration that are kept as one JSON value, `companies.settings`, without what is at default."""

    notifications: NotificationRules = NotificationRules()
    callbacks: CallbackRules = CallbackRules()
    calcom: CalcomRules = CalcomRules()
    retell: RetellRules = RetellRules()


@cache
def fields_of(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a record, which msgspec would work out again for each of many records."""
    return msgspec.structs.fields(kind)


Path: TypeAlias = "tuple[str | int, ...]"
"""A place in a declaration: `("services", 2, "duration_min")`; lists count from 0."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a declaration."""

    path: Path
    message: str
    """Names the key, the value and, when one is near, the right one."""


class DeclarationWrong(Exception):
    """A declaration that is malformed, contradicts itself, or takes what belongs to another company."""

    def __init__(self, mistakes: Iterable[Mistake], slug: str = "") -> None:
        self.mistakes = tuple(mistakes)
        where = f"{slug}: " if slug else ""
        super().__init__("\n".join(f"{where}{written(mistake.path)}{mistake.message}" for mistake in self.mistakes))


def written(path: Path) -> str:
    """A place as a reader of the file counts: `services[3].duration_min: `; empty for the whole file."""
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""
