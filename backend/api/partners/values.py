"""The values that requests and answers are made of: strings within bounds, moments with an offset, slugs."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from backend.domain.phones import normalise
from backend.domain.zones import zone

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)

EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
LATEST = datetime(9999, 12, 30, tzinfo=UTC)
"""What lies outside is read as one of these two: it is in the past, or too far, in any zone."""


def read_moment(value: object) -> datetime:
    """An RFC 3339 date-time with its offset; UTC. Raises ValueError for anything else."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 date-time with an offset, as in 2026-03-04T10:00:00+01:00")
    text = value.upper()
    if text[17:19] == "60":  # a leap second is the last one of its minute
        text = text[:17] + "59" + text[19:]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is no date-time that exists") from None
    try:
        return min(max(moment.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if moment.year == 1 else LATEST


_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(2900, 1, 1)
"""A day outside is read as one of these two: nothing can be booked on any of them."""


def read_day(value: object) -> date:
    """A day, as in 2026-03-04. Raises ValueError for anything else."""
    if type(value) is date:
        return value
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day, as in 2026-03-04")
    if value.startswith("0000"):
        return FIRST_DAY
    return min(max(date.fromisoformat(value), FIRST_DAY), LAST_DAY)


PRINTED = r"[^\x00-\x1f\x7f-\x9f]"
"""A character that is no control character."""

SEEN = r"[^\s\x00-\x1f\x7f-\x9f]"
"""One that is no white space either."""

_EMAIL = re.compile(r"[^\s@\x00-\x1f]+@[^\s@\x00-\x1f]+")


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("is no e-mail address")
    return text.lower()


def _phone(text: str) -> str:
    number = normalise(text)
    if number is None:
        raise ValueError("is no possible phone number")
    return number


def read_whole(value: object) -> object:
    """For integers in bodies: 45.0 is one (JSON Schema), true and "45" are none. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be an integer")
    return value


def _normalised(text: str) -> str:
    """NFC; outer white space is dropped."""
    return unicodedata.normalize("NFC", text.strip())


Moment = Annotated[
    datetime,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-04T10:00:00+01:00"]}),
]
"""A point in time. In: RFC 3339 with an offset; out: the same."""

Day = Annotated[
    date, BeforeValidator(read_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-03-04"]})
]
"""A calendar day."""

Line = Annotated[str, StringConstraints(max_length=200, pattern=rf"^{PRINTED}*$"), AfterValidator(_normalised)]
"""A short text on one line."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=rf"^{PRINTED}*{SEEN}{PRINTED}*$"),
    AfterValidator(_normalised),
]
"""A name: a line that is not blank."""

Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
"""A long text with lines."""

Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=254),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}, examples=["kim@example.org"]),
]
"""An e-mail address, kept in lower case."""

Phone = Annotated[
    str,
    StringConstraints(min_length=3, max_length=64),
    AfterValidator(_phone),
    Field(json_schema_extra={"format": "phone"}, examples=["+4915112345678"]),
]
"""A phone number as people write it, kept and answered as E.164. Without a country code it is a German one."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"), Field(examples=["schnitt"])]
"""Names a branch, service or staff member (`GET /api/company`)."""

Cents = Annotated[int, Field(ge=0, description="Whole cents.")]


class Given(BaseModel):
    """What a client sends: nothing but the fields that there are, each of its own type."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Told(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(frozen=True)


def local(moment: datetime, zone_name: str) -> datetime:
    """`moment` in the IANA zone, so that it is written with the offset that it has there."""
    return moment.astimezone(zone(zone_name))
