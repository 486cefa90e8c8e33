"""A salon whose phone a voice agent answers, and that agent: it calls functions and checks what it is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from backend.domain.weeks import parse_week
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
)

BERLIN = ZoneInfo("Europe/Berlin")
LINE = "+493012300100"
LINE_NORTH = "+493012300101"
CALLER = "+4915112345678"
OTHER_CALLER = "+4915187654321"

WEEK = parse_week("Mon-Sun 08:00-18:00")

SALON = CompanyDeclaration(
    slug="salon",
    name="Salon Anna",
    agents=("agent_salon",),
    branches=(
        BranchDeclaration(slug="mitte", name="Mitte", bundesland="", numbers=(LINE,), opening_hours=WEEK),
        BranchDeclaration(slug="nord", name="Nord", bundesland="", numbers=(LINE_NORTH,), opening_hours=WEEK),
    ),
    services=(
        ServiceDeclaration(slug="schnitt", name="Haarschnitt", duration_min=30, step_min=30, price_cents=3500),
        ServiceDeclaration(slug="farbe", name="Farbe", duration_min=60, step_min=30, price_cents=8050),
        ServiceDeclaration(
            slug="beratung", name="Beratung", duration_min=30, step_min=30, cancel_hours=240, cancel_fee_cents=2000
        ),
        ServiceDeclaration(slug="kur", name="Haarkur", duration_min=30, step_min=30, cancel_hours=240),
    ),
    staff=(
        StaffDeclaration(
            slug="anna",
            name="Anna Weiß",
            branches=("mitte",),
            services=("schnitt", "farbe", "beratung", "kur"),
            hours={"mitte": WEEK},
        ),
        StaffDeclaration(
            slug="ben", name="Ben Kaya", branches=("mitte",), services=("schnitt",), hours={"mitte": WEEK}
        ),
        StaffDeclaration(slug="cem", name="Cem Öz", branches=("nord",), services=("schnitt",), hours={"nord": WEEK}),
    ),
)
"""Open every day; Anna and Ben in Mitte, Cem in Nord. Two services can be cancelled only ten days before."""

Answer: TypeAlias = "dict[str, object]"
Deliver: TypeAlias = "Callable[[bytes], Awaitable[bytes]]"
"""Sends a body and returns the answer's."""

_calls = itertools.count(1)


def at(ahead: int, hour: int, minute: int = 0, *, today: datetime | None = None) -> str:
    """A time in Berlin, so many days from today, as the agent writes it."""
    day = (today or datetime.now(UTC)).astimezone(BERLIN).date() + timedelta(days=ahead)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=BERLIN).isoformat()


@dataclass(frozen=True)
class Agent:
    """The voice agent during one call."""

    deliver: Deliver
    call: dict[str, object] = field(default_factory=dict)

    def calling(self, **fields: object) -> Agent:
        """In a new call of CALLER to LINE, unless `fields` say otherwise."""
        call: dict[str, object] = {
            "call_id": f"call_f{next(_calls)}",
            "call_type": "phone_call",
            "agent_id": "agent_salon",
            "direction": "inbound",
            "from_number": CALLER,
            "to_number": LINE,
        }
        return Agent(self.deliver, call | fields)

    @property
    def call_id(self) -> str:
        return str(self.call["call_id"])

    def body(self, function: str, args: object = None, **root: object) -> bytes:
        """What is sent for one tool call."""
        content = {"name": function, "call": self.call, "args": {} if args is None else args, **root}
        return json.dumps(content, ensure_ascii=False).encode()

    async def ask(self, function: str, key: str | None = None, /, **args: object) -> Answer:
        """The answer, which the agent can speak whatever it is; `key` is the tool call's id."""
        return told(await self.deliver(self.body(function, args, **({} if key is None else {"tool_call_id": key}))))

    async def book(self, starts_at: str, key: str | None = None, /, **args: object) -> Answer:
        """A haircut for Hans Müller, unless `args` say otherwise."""
        usual: dict[str, object] = {"service": "schnitt", "starts_at": starts_at, "name": "Hans Müller"}
        return await self.ask("book_appointment", key, **{**usual, **args})


def told(content: bytes) -> Answer:
    """An answer, checked for what every answer must have."""
    answer = json.loads(content)
    assert isinstance(answer, dict)
    assert isinstance(answer["message"], str)
    assert answer["message"]
    assert "{" not in answer["message"]
    assert isinstance(answer["ok"], bool)
    assert answer["ok"] != ("reason" in answer)
    if not answer["ok"]:
        assert isinstance(answer["alternatives"], list)
    return answer


def field_of(answer: Answer, items: str, name: str) -> list[object]:
    """One field of each of the answer's items: `field_of(answer, "slots", "starts_at")`."""
    found = answer[items]
    assert isinstance(found, list)
    return [item[name] for item in found]
