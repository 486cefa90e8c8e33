"""Bodies as nobody should send them, made from those that providers do send; the same ones for the same seed.

Most are damaged in a way that gets past the signature and past JSON, so that they reach the code that reads them; the
others are damaged as bytes. Sizes are 0 to 300 kB.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from backend.providers.calcom.signature import sign as sign_calcom
from backend.providers.retell.signature import sign as sign_retell
from tests.voice_agent import CALLER, LINE, LINE_NORTH, at

WEBHOOK = "/api/retell/webhook"
INBOUND = "/api/retell/inbound"
FUNCTION = "/api/retell/function"
CALCOM = "/api/calcom/webhook"
PATHS = (WEBHOOK, INBOUND, FUNCTION, CALCOM)

LARGEST = 300 * 1024

Json: TypeAlias = Any
"""What `json` reads and writes."""

FUNCTIONS = (
    "initialize_call",
    "check_customer",
    "get_services",
    "check_availability",
    "get_alternatives",
    "book_appointment",
    "reschedule_appointment",
    "cancel_appointment",
    "get_customer_appointments",
    "request_callback",
)

CALL_EVENTS = ("call_started", "call_ended", "call_analyzed", "transcript_updated", "transfer_ended")

HUGE = 10**400

NO_OBJECTS = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"[" * 1000,
    b"{}",
    b'"text"',
    b"12",
    b"-",
    b"true",
    b"\x00",
    b"\xef\xbb\xbf{}",
    b"{" * 20_000,
)

PIECES = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\\u0000",
    b"NaN",
    b"/**/",
    b"\r\n",
)
"""What is put somewhere into a body."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    path: str
    kind: str
    """How its body was damaged."""
    headers: dict[str, str]
    body: bytes


class HostileBodies:
    """Makes them, one after the other."""

    def __init__(self, seed: int, *, retell_key: str, calcom_secret: str) -> None:
        self._dice = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._retell_key = retell_key
        self._calcom_secret = calcom_secret
        self._byte_kinds: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
            ("cut off", self._cut),
            ("flipped bytes", self._flipped),
            ("spliced bytes", self._spliced),
            ("twice the same name", self._doubled_name),
            ("deep", self._deep),
            ("large", self._large),
            ("no JSON object", self._no_object),
            ("another encoding", self._encoded),
            ("compressed", lambda body: gzip.compress(body, 1, mtime=0)),
        )

    def next(self) -> Hostile:
        """The next one."""
        dice = self._dice
        self._number += 1
        path = dice.choice(PATHS)
        content = self._real(path)
        kind = "wrong values"
        for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
            self._damage(content)
        body = _written(content)
        if dice.random() < 0.4:
            kind, change = dice.choice(self._byte_kinds)
            body = change(body)
        body = body[:LARGEST]
        return Hostile(path, kind, self._headers(path, body, kind), body)

    def _headers(self, path: str, body: bytes, kind: str) -> dict[str, str]:
        dice = self._dice
        headers = {"content-type": "application/json"}
        if dice.random() < 0.05:
            headers["content-type"] = dice.choice(
                ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "a/b" * 50)
            )
        if kind == "compressed" and dice.random() < 0.5:
            headers["content-encoding"] = "gzip"
        if path == CALCOM:
            headers["x-cal-signature-256"] = sign_calcom(body, self._calcom_secret)
        else:
            headers["x-retell-signature"] = sign_retell(body, self._retell_key, int(time.time() * 1000))
        return headers

    # What providers send

    def _real(self, path: str) -> Json:
        if path == CALCOM:
            return self._booking()
        call = self._call()
        if path == INBOUND:
            return {
                "event": "call_inbound",
                "call_inbound": {key: call[key] for key in ("agent_id", "from_number", "to_number")},
            }
        if path == FUNCTION:
            return self._function(call)
        call["call_analysis"] = {
            "call_summary": "Books an appointment.",
            "user_sentiment": "Positive",
            "custom_analysis_data": {
                "customer_name": "Ömer Yıldız",
                "customer_email": "oemer@example.com",
                "outcome": "booked",
                "booking": {"service": "schnitt", "staff": "anna", "starts_at": self._moment(), "branch": "mitte"},
                "callback": {"reason": "Rückruf"},
            },
        }
        call["call_cost"] = {"combined_cost": 12.5, "product_costs": [{"product": "voice", "cost": 9.8}]}
        call["latency"] = {"e2e": {"p50": 612.5, "p99": 1900.0}}
        words = [{"word": "Guten", "start": 0.4}]
        call["transcript_object"] = [{"role": "agent", "content": "Guten Tag", "words": words}]
        return {"event": self._dice.choice(CALL_EVENTS), "call": call}

    def _call(self) -> dict[str, Json]:
        return {
            "call_id": f"call_h{self._seed}_{self._number if self._dice.random() < 0.7 else self._number // 20}",
            "call_type": "phone_call",
            "agent_id": "agent_salon",
            "call_status": "ended",
            "direction": "inbound",
            "from_number": CALLER,
            "to_number": self._dice.choice((LINE, LINE, LINE_NORTH)),
            "start_timestamp": 1767607199000,
            "end_timestamp": 1767607299000,
            "duration_ms": 100000,
            "disconnection_reason": "user_hangup",
            "transcript": "Agent: Guten Tag\nUser: Einen Termin bitte.",
        }

    def _moment(self) -> str:
        return at(self._dice.randint(1, 30), self._dice.randint(7, 18), self._dice.choice((0, 30)))

    def _function(self, call: Json) -> Json:
        dice = self._dice
        arguments = {
            "service": dice.choice(("schnitt", "farbe", "beratung", "Haarschnitt", "massage")),
            "branch": dice.choice(("mitte", "nord", None)),
            "staff": dice.choice(("anna", "ben", "cem", None)),
            "starts_at": self._moment(),
            "current_starts_at": self._moment(),
            "date": self._moment()[:10],
            "time": "14:30",
            "days": 7,
            "limit": 5,
            "name": dice.choice(("Hans Müller", "Ömer Yıldız", "Ana")),
            "phone": CALLER,
            "email": "hans@example.com",
            "reason": "Termin",
            "when": "morgen",
            "hold": dice.choice((True, False)),
            "appointment": "00000000-0000-0000-0000-000000000000",
        }
        content = {"name": dice.choice(FUNCTIONS), "call": call, "tool_call_id": f"tool_{dice.randint(0, 10**6)}"}
        style = dice.random()
        if style < 0.7:
            return content | {"args": arguments}
        return content | ({"args": json.dumps(arguments)} if style < 0.85 else arguments)

    def _booking(self) -> Json:
        trigger = self._dice.choice(
            ("BOOKING_CREATED", "BOOKING_RESCHEDULED", "BOOKING_CANCELLED", "BOOKING_NO_SHOW_UPDATED", "MEETING_ENDED")
        )
        uid = f"uid_{self._dice.randint(0, 500)}"
        payload = {
            "uid": uid,
            "bookingUid": uid,
            "rescheduleUid": f"uid_{self._dice.randint(0, 500)}",
            "eventTypeId": 4711,
            "startTime": self._moment(),
            "endTime": self._moment(),
            "status": "ACCEPTED",
            "attendees": [{"name": "Ana", "email": "ana@example.com", "timeZone": "Europe/Berlin"}],
            "metadata": {"appointment": "00000000-0000-0000-0000-000000000000"},
        }
        return {"triggerEvent": trigger, "createdAt": self._moment(), "payload": payload}

    # Damage that JSON survives

    def _damage(self, content: Json) -> None:
        """Change one value somewhere in it."""
        places = list(_places(content))
        if not places:
            return
        holder, key = self._dice.choice(places)
        choice = self._dice.random()
        if choice < 0.12 and isinstance(holder, dict):
            del holder[key]
        elif choice < 0.2 and isinstance(holder, dict):
            holder[self._text()[:200]] = self._value()
        else:
            holder[key] = self._value()

    def _value(self) -> Json:
        dice = self._dice
        return dice.choice(
            (
                lambda: None,
                lambda: dice.choice((True, False)),
                lambda: dice.choice((0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**64), HUGE)),
                lambda: dice.choice((0.0, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -1.5)),
                self._text,
                self._text,
                self._text,
                list,
                dict,
                lambda: [self._text() for _ in range(dice.randint(1, 4))],
                lambda: {self._text()[:100]: self._text() for _ in range(dice.randint(1, 4))},
                lambda: [[[[{"a": [None]}]]]],
            )
        )()

    def _text(self) -> str:
        dice = self._dice
        return dice.choice(
            (
                "",
                " ",
                "\x00",
                "a\x00b",
                "\ud800",
                "\udfff\ud800",
                "\ufeff",
                "\u202eabc",
                "a" + "\u0300" * 200,
                "\x1b]52;c;aGk=\x07",
                "'; drop table calls; --",
                "%s%n{0}{x}\\",
                "[/nope]",
                "null",
                "+49" + "1" * 400,
                "anonymous",
                "sip:a@b",
                "call_" + "x" * 300,
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59-12:00",
                "2026-03-29T02:30:00",
                "2026-02-30",
                "2026-10-25T02:30:00+02:00",
                "24:00",
                "25:61",
                "morgen um drei",
                "-1",
                "1e999",
                "ANNA",
                "schnitt",
                "true",
                "x" * dice.choice((255, 256, 257, 4097)),
                "ß" * 1000,
                "\U0001f9d1\u200d\U0001f680" * 50,
            )
        )

    # Damage to the bytes

    def _cut(self, body: bytes) -> bytes:
        return body[: self._dice.randint(0, len(body))]

    def _flipped(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._dice.randint(1, 8)):
            if changed:
                changed[self._dice.randrange(len(changed))] = self._dice.randrange(256)
        return bytes(changed)

    def _spliced(self, body: bytes) -> bytes:
        at_byte = self._dice.randint(0, len(body))
        piece = self._dice.choice(PIECES)
        return body[:at_byte] + piece * self._dice.choice((1, 1, 3)) + body[at_byte:]

    def _doubled_name(self, body: bytes) -> bytes:
        name = self._dice.choice((b"event", b"call", b"name", b"payload", b"call_id"))
        return b'{"%s": 1, ' % name + body[1:] if body.startswith(b"{") else body

    def _deep(self, body: bytes) -> bytes:
        depth = self._dice.choice((10, 63, 64, 65, 500, 10_000, 50_000))
        opening, closing = self._dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
        middle = b"" if opening == b"[" else b"1"
        return body[:-1] + b', "deep": ' + opening * depth + middle + closing * depth + b"}"

    def _large(self, body: bytes) -> bytes:
        size = self._dice.choice((10_000, 60_000, 200_000, LARGEST - len(body) - 20))
        return body[:-1] + b', "x": "' + b"y" * max(0, size) + b'"}'

    def _no_object(self, _body: bytes) -> bytes:
        return self._dice.choice(NO_OBJECTS)

    def _encoded(self, body: bytes) -> bytes:
        text = body.decode("utf-8", "replace")
        return text.encode(self._dice.choice(("utf-16", "utf-32", "utf-7", "cp037")), "replace")


def _places(content: Json) -> list[tuple[Json, Json]]:
    """Every value in it, as its holder and key."""
    found: list[tuple[Json, Json]] = []
    waiting = [content]
    while waiting:
        node = waiting.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            found.append((node, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def _written(content: Json) -> bytes:
    """As JSON, with lone surrogates escaped and NaN as it is."""
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()
