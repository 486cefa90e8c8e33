"""The invented companies whose phones the simulator rings: read from TOML, with what a booking needs to know.

`DEMO` lives in `askpro up --demo`; `TRIAL` belongs to `askpro simulate`, so that a checked run never shares a
calendar with the demo's traffic. How they get into the database is `backend.simulate.settle`'s matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import msgspec

DEMO, TRIAL = "demo", "trial"

ZONE = ZoneInfo("Europe/Berlin")
"""All invented companies are German."""

WEEKDAYS = ("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a working day in minutes after local midnight."""

    start: int
    end: int


Week = dict[int, tuple[Span, ...]]
"""Working time by ISO weekday (Monday is 1); absent days are free."""


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """A place of a company."""

    slug: str
    name: str
    address: str
    bundesland: str
    numbers: tuple[str, ...]
    hours: str
    """As in `Mo-Do 08:00-12:30 13:30-18:00, Fr 08:00-14:00`."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Something a company can be booked for."""

    slug: str
    name: str
    minutes: int
    before: int = 0
    """Buffer before, minutes."""
    after: int = 0
    """Buffer after, minutes."""
    price_cents: int
    horizon_days: int = 90
    """How far ahead it can be booked."""
    notice: int = 0
    """How long beforehand it must be booked, minutes."""


class Staff(msgspec.Struct, frozen=True, kw_only=True):
    """A person who can be booked."""

    slug: str
    name: str
    branches: tuple[str, ...]
    services: tuple[str, ...]
    hours: str


class Business(msgspec.Struct, frozen=True, kw_only=True):
    """One invented company."""

    slug: str
    name: str
    agent: str
    """Id of its voice agent."""
    domain: str
    has_functions: bool = False
    """Its voice agent books while the caller is on the line; others only write down what the caller wishes."""
    branches: tuple[Branch, ...]
    services: tuple[Service, ...]
    staff: tuple[Staff, ...]

    def offering(self, branch: Branch, service: Service) -> tuple[Staff, ...]:
        """Who offers the service at the branch."""
        return tuple(s for s in self.staff if branch.slug in s.branches and service.slug in s.services)

    def offered(self, branch: Branch) -> tuple[Service, ...]:
        """What somebody offers at the branch."""
        return tuple(service for service in self.services if self.offering(branch, service))


class _File(msgspec.Struct, frozen=True):
    company: tuple[Business, ...]


@cache
def businesses(collection: str) -> tuple[Business, ...]:
    """The companies of a collection, `DEMO` or `TRIAL`."""
    text = (files("backend.simulate.companies") / f"{collection}.toml").read_bytes()
    return msgspec.toml.decode(text, type=_File).company


@cache
def week(text: str) -> Week:
    """Working time by weekday. Raises ValueError for text that is not of the form described at `Branch.hours`."""
    found: Week = {}
    for part in text.split(","):
        days, *spans = part.split()
        first, _, last = days.partition("-")
        span = tuple(_span(item) for item in spans)
        for day in range(WEEKDAYS.index(first), WEEKDAYS.index(last or first) + 1):
            found[day + 1] = span
    return found


def _span(text: str) -> Span:
    match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text)
    if match is None:
        raise ValueError(f"not a span of time: {text!r}")
    from_hour, from_minute, to_hour, to_minute = map(int, match.groups())
    return Span(from_hour * 60 + from_minute, to_hour * 60 + to_minute)
