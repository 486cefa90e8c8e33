"""Cal.com's bookings (API v2) as a server of ours: it keeps a calendar, and has bad moments by a seeded plan.

It answers in the provider's form (`{"status": "success", "data": …}`), asks for key and `cal-api-version`, gives a
moved booking a new uid, and does nothing against two bookings for the same thing: whoever calls it has to take care.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VERSION = "2024-08-13"
KEY = "cal_test_key"


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """Shares of requests that go wrong, and how. What is left is answered as it should be."""

    fails: float = 0.0
    """Answered 500, half of them after doing what was asked."""
    hangs: float = 0.0
    """Does what was asked, then never answers."""
    swallows: float = 0.0
    """Does nothing and never answers."""
    late: float = 0.0
    """Does not answer, and does what was asked only `late_s` later."""
    late_s: float = 0.5
    busy: float = 0.0
    """Answered 429, with `retry_after_s`."""
    retry_after_s: int = 2
    slow: float = 0.0
    """Answered after `slow_s`."""
    slow_s: float = 0.1
    latency_s: float = 0.0
    """Every answer takes at least so long."""
    reads: bool = True
    """Whether looking something up goes wrong as well."""


WELL = Misbehaviour()


@dataclass(slots=True)
class Booking:
    """A booking in the fake's calendar."""

    uid: str
    event_type_id: int
    starts_at: datetime
    attendee: Mapping[str, str]
    metadata: Mapping[str, str]
    status: str = "accepted"
    rescheduled_to: str | None = None
    rescheduled_from: str | None = None
    reason: str | None = None
    is_absent: bool = False
    """Its attendee is marked as not having come; the provider's `updatedAt` does not tell of it."""
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Refusal(Exception):
    """What Cal.com answers with a 4xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeCalcom:
    """The server's state. Serve `app`; read `standing()` to compare."""

    def __init__(
        self,
        misbehaviour: Misbehaviour = WELL,
        *,
        seed: int = 1,
        minutes: Mapping[int, int] | None = None,
        key: str = KEY,
    ) -> None:
        """`minutes`: the event types there are, and their lengths; None: all there can be, 30 minutes long."""
        self.misbehaviour = misbehaviour
        self.is_down = False
        """While it is, a gateway answers in its place, and sometimes not even that."""
        self.refuses: Callable[[str, Mapping[str, object]], str | None] = lambda endpoint, wish: None
        """Words with which a well-formed request is refused (400), by endpoint and body."""
        self.forgets_marks = False
        """Whether it says yes to marks of who did not come, and keeps none."""
        self.bookings: dict[str, Booking] = {}
        self.answers: Counter[str] = Counter()
        """Requests by what became of them: ok, refused, fails, hangs, late, busy, down."""
        self.asked: Counter[str] = Counter()
        """Requests by endpoint."""
        self._minutes = minutes
        self._key = key
        self._random = random.Random(seed)
        self.app = Starlette(
            routes=[
                Route("/v2/bookings", self._endpoint("create", self._create), methods=["POST"]),
                Route("/v2/bookings", self._endpoint("list", self._list), methods=["GET"]),
                Route("/v2/bookings/{uid}", self._endpoint("get", self._get), methods=["GET"]),
                Route(
                    "/v2/bookings/{uid}/reschedule", self._endpoint("reschedule", self._reschedule), methods=["POST"]
                ),
                Route("/v2/bookings/{uid}/cancel", self._endpoint("cancel", self._cancel), methods=["POST"]),
                Route(
                    "/v2/bookings/{uid}/mark-absent",
                    self._endpoint("mark_absent", self._mark_absent),
                    methods=["POST"],
                ),
            ]
        )

    def standing(self) -> list[Booking]:
        """What takes place, by start; copies."""
        return sorted(
            (replace(booking) for booking in list(self.bookings.values()) if booking.status == "accepted"),
            key=lambda booking: (booking.starts_at, booking.uid),
        )

    def copy(self, booking: Booking) -> None:
        """Make a second booking of the same."""
        twin = replace(booking, uid=secrets.token_urlsafe(12))
        self.bookings[twin.uid] = twin

    # Endpoints -------------------------------------------------------------------------------------------------------

    def _endpoint(
        self, name: str, act: Callable[[Request, Mapping[str, object]], object]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            self.asked[name] += 1
            wish = await _body(request)
            if self.is_down:
                self.answers["down"] += 1
                if self.answers["down"] % 5 == 0:
                    return await _given_up()
                return Response("<html><h1>502 Bad Gateway</h1></html>", 502, media_type="text/html")
            plan = self.misbehaviour
            await asyncio.sleep(plan.latency_s)
            fate = self._fate(plan) if plan.reads or request.method == "POST" else "ok"
            self.answers[fate] += 1
            match fate:
                case "busy":
                    return JSONResponse(
                        {"status": "error", "error": {"code": "TooManyRequests", "message": "Too Many Requests"}},
                        429,
                        headers={"retry-after": str(plan.retry_after_s)},
                    )
                case "fails":
                    if self._random.random() < 0.5:
                        self._done(request, wish, act)
                    return JSONResponse({"status": "error", "error": {"message": "Internal Server Error"}}, 500)
                case "hangs":
                    self._done(request, wish, act)
                    return await _given_up()
                case "swallows":
                    return await _given_up()
                case "late":
                    await asyncio.sleep(plan.late_s)
                    self._done(request, wish, act)
                    return await _given_up()
                case "slow":
                    await asyncio.sleep(plan.slow_s)
            return self._done(request, wish, act)

        return answer

    def _fate(self, plan: Misbehaviour) -> str:
        drawn = self._random.random()
        for fate, share in (
            ("fails", plan.fails),
            ("hangs", plan.hangs),
            ("swallows", plan.swallows),
            ("late", plan.late),
            ("busy", plan.busy),
            ("slow", plan.slow),
        ):
            if drawn < share:
                return fate
            drawn -= share
        return "ok"

    def _done(
        self,
        request: Request,
        wish: Mapping[str, object],
        act: Callable[[Request, Mapping[str, object]], object],
    ) -> Response:
        try:
            if request.headers.get("authorization") != f"Bearer {self._key}":
                raise Refusal(401, "Invalid API Key")
            if request.headers.get("cal-api-version") != VERSION:
                raise Refusal(404, f"Cannot {request.method} {request.url.path}")
            if (words := self.refuses(request.url.path.rpartition("/")[2], wish)) is not None:
                raise Refusal(400, words)
            found = act(request, wish)
        except Refusal as refused:
            error = {"code": "BadRequestException", "message": str(refused), "details": {"message": str(refused)}}
            return JSONResponse(
                {"status": "error", "timestamp": _stamp(datetime.now(UTC)), "error": error}, refused.status
            )
        if isinstance(found, dict) and "pagination" in found:
            return JSONResponse({"status": "success", **found})
        return JSONResponse({"status": "success", "data": found}, 201 if request.method == "POST" else 200)

    def _create(self, _request: Request, wish: Mapping[str, object]) -> object:
        attendee = wish.get("attendee")
        event_type = wish.get("eventTypeId")
        if not isinstance(attendee, dict) or not (attendee.get("email") or attendee.get("phoneNumber")):
            raise Refusal(400, "attendee.email or attendee.phoneNumber is required")
        if not isinstance(event_type, int) or self._length(event_type) is None:
            raise Refusal(404, f"Event type with id {event_type} not found")
        metadata = wish.get("metadata")
        booking = Booking(
            uid=secrets.token_urlsafe(12),
            event_type_id=event_type,
            starts_at=_moment(wish.get("start")),
            attendee=dict(attendee),
            metadata=dict(metadata) if isinstance(metadata, dict) else {},
        )
        self.bookings[booking.uid] = booking
        return self._shown(booking)

    def _get(self, request: Request, _wish: Mapping[str, object]) -> object:
        return self._shown(self._found(request))

    def _reschedule(self, request: Request, wish: Mapping[str, object]) -> object:
        old = self._found(request)
        if old.status != "accepted":
            raise Refusal(400, f"Booking with uid={old.uid} is cancelled and can't be rescheduled")
        new = replace(
            old,
            uid=secrets.token_urlsafe(12),
            starts_at=_moment(wish.get("start")),
            rescheduled_from=old.uid,
            is_absent=False,
            updated_at=datetime.now(UTC),
        )
        old.status, old.rescheduled_to, old.updated_at = "cancelled", new.uid, datetime.now(UTC)
        self.bookings[new.uid] = new
        return self._shown(new)

    def _cancel(self, request: Request, wish: Mapping[str, object]) -> object:
        booking = self._found(request)
        if booking.status != "accepted":
            raise Refusal(400, f"Can't cancel booking with uid={booking.uid} because it has been cancelled already")
        booking.status, booking.updated_at = "cancelled", datetime.now(UTC)
        booking.reason = str(wish.get("cancellationReason") or "")
        return self._shown(booking)

    def _mark_absent(self, request: Request, wish: Mapping[str, object]) -> object:
        booking = self._found(request)
        marks = wish.get("attendees")
        if not isinstance(marks, list) or not marks or not all(_is_mark(mark) for mark in marks):
            raise Refusal(400, "attendees must contain at least 1 elements of email and absent")
        if booking.starts_at > datetime.now(UTC):
            raise Refusal(403, "Cannot mark no-show before the meeting has started.")
        for mark in marks:
            # Whoever is not there is passed over without a word.
            if mark["email"] == _address(booking) and not self.forgets_marks:
                booking.is_absent = mark["absent"]
        return self._shown(booking)

    def _list(self, request: Request, _wish: Mapping[str, object]) -> object:
        asked = request.query_params
        after, before = (_moment(asked[name]) if name in asked else None for name in ("afterStart", "beforeEnd"))
        statuses = set(asked.get("status", "upcoming,past,cancelled,unconfirmed").split(","))
        found = sorted(
            (
                booking
                for booking in self.bookings.values()
                if ("eventTypeId" not in asked or booking.event_type_id == int(asked["eventTypeId"]))
                and (after is None or booking.starts_at > after)
                and (before is None or self._end(booking) < before)
                and ("cancelled" in statuses if booking.status == "cancelled" else statuses & {"upcoming", "past"})
            ),
            key=lambda booking: booking.starts_at,
        )
        skip, take = int(asked.get("skip", "0")), min(250, int(asked.get("take", "100")))
        page = found[skip : skip + take]
        return {
            "data": [self._shown(booking) for booking in page],
            "pagination": {"totalItems": len(found), "hasNextPage": skip + len(page) < len(found)},
        }

    def _found(self, request: Request) -> Booking:
        uid = request.path_params["uid"]
        booking = self.bookings.get(uid)
        if booking is None:
            raise Refusal(404, f"Booking with uid={uid} was not found in the database")
        return booking

    def _length(self, event_type: int) -> int | None:
        return 30 if self._minutes is None else self._minutes.get(event_type)

    def _end(self, booking: Booking) -> datetime:
        return booking.starts_at + timedelta(minutes=self._length(booking.event_type_id) or 30)

    def _shown(self, booking: Booking) -> dict[str, object]:
        shown: dict[str, object] = {
            "id": 1,
            "uid": booking.uid,
            "title": "Termin",
            "status": booking.status,
            "start": _stamp(booking.starts_at),
            "end": _stamp(self._end(booking)),
            "duration": self._length(booking.event_type_id),
            "eventTypeId": booking.event_type_id,
            "eventType": {"id": booking.event_type_id, "slug": "termin"},
            "attendees": [{**booking.attendee, "email": _address(booking), "absent": booking.is_absent}],
            "metadata": dict(booking.metadata),
            "createdAt": _stamp(booking.updated_at),
            "updatedAt": _stamp(booking.updated_at),
        }
        if booking.rescheduled_to is not None:
            shown["rescheduledToUid"] = booking.rescheduled_to
        if booking.rescheduled_from is not None:
            shown["rescheduledFromUid"] = booking.rescheduled_from
        return shown


def _address(booking: Booking) -> str:
    """Of its attendee: one with nothing but a phone number gets one made up."""
    return booking.attendee.get("email") or f"{booking.attendee.get('phoneNumber', '').lstrip('+')}@sms.cal.com"


def _is_mark(mark: object) -> bool:
    return isinstance(mark, dict) and isinstance(mark.get("email"), str) and isinstance(mark.get("absent"), bool)


async def _given_up() -> Response:
    """An answer that comes when nobody waits for it any more."""
    await asyncio.sleep(60)
    return Response(status_code=504)


async def _body(request: Request) -> Mapping[str, object]:
    raw = await request.body()
    try:
        found = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _moment(value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        raise Refusal(400, "start must be a valid ISO 8601 date string") from None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
