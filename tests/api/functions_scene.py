"""A salon whose phone the voice agent answers, and the agent: it signs as the provider does and remembers nothing."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from backend.domain.weeks import parse_week
from backend.services.companies import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
)
from tests.api.conftest import Api, encoded, retell_headers

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
    ),
    staff=(
        StaffDeclaration(
            slug="anna",
            name="Anna Weiß",
            branches=("mitte",),
            services=("schnitt", "farbe", "beratung"),
            hours={"mitte": WEEK},
        ),
        StaffDeclaration(
            slug="ben", name="Ben Kaya", branches=("mitte",), services=("schnitt",), hours={"mitte": WEEK}
        ),
        StaffDeclaration(slug="cem", name="Cem Öz", branches=("nord",), services=("schnitt",), hours={"nord": WEEK}),
    ),
)

_calls = itertools.count(1)


def day(ahead: int) -> datetime:
    """Midnight in Berlin, so many days from today."""
    return datetime.combine(datetime.now(BERLIN).date() + timedelta(days=ahead), datetime.min.time(), BERLIN)


def at(ahead: int, hour: int, minute: int = 0) -> str:
    """A time so many days from today, as the agent writes it."""
    return day(ahead).replace(hour=hour, minute=minute).isoformat()


@dataclass(frozen=True)
class Agent:
    """The voice agent during one call."""

    api: Api
    call: dict[str, object]

    @classmethod
    def calling(cls, api: Api, **fields: object) -> Agent:
        """In a new call of CALLER to LINE, unless `fields` say otherwise."""
        call: dict[str, object] = {
            "call_id": f"call_f{next(_calls)}",
            "call_type": "phone_call",
            "agent_id": "agent_salon",
            "direction": "inbound",
            "from_number": CALLER,
            "to_number": LINE,
            "start_timestamp": int(datetime.now(UTC).timestamp() * 1000),
        }
        return cls(api, call | fields)

    @property
    def call_id(self) -> str:
        return str(self.call["call_id"])

    async def post(self, name: str, args: object = None, **root: object) -> Any:
        """The raw response."""
        body = encoded({"name": name, "call": self.call, "args": {} if args is None else args, **root})
        return await self.api.client.post("/api/retell/function", content=body, headers=retell_headers(body))

    async def ask(self, function: str, key: str | None = None, /, **args: object) -> dict[str, Any]:
        """The answer, which is always 200 and always speakable."""
        response = await self.post(function, args, **({} if key is None else {"tool_call_id": key}))
        assert response.status_code == 200, response.text
        answer = json.loads(response.content)
        assert isinstance(answer, dict)
        assert answer["message"]
        assert isinstance(answer["ok"], bool)
        assert answer["ok"] != ("reason" in answer)
        return answer

    async def book(self, starts_at: str, key: str | None = None, /, **args: object) -> dict[str, Any]:
        """A haircut for Hans Müller, unless `args` say otherwise."""
        usual: dict[str, object] = {"service": "schnitt", "starts_at": starts_at, "name": "Hans Müller"}
        return await self.ask("book_appointment", key, **{**usual, **args})
