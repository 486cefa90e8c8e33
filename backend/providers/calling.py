"""How a provider is called over HTTP: bounded waits, few retries, a breaker, and errors that say what is known.

What is known matters most for a call that changes something: ProviderUnreachable tells whether the provider may have
acted before its answer got lost. Only calls that may safely be made twice are repeated here; whoever makes the others
looks first what became of them.

httpx is imported with the first call: processes that never call a provider don't pay for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec

from backend.providers.breaker import Breaker, BreakerOpen, BreakerPolicy, Permit
from backend.watch.histogram import Histogram

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Breaker",
    "BreakerOpen",
    "BreakerPolicy",
    "Clock",
    "EndpointFigures",
    "ProviderBusy",
    "ProviderClient",
    "ProviderError",
    "ProviderRefused",
    "ProviderUnreachable",
    "Reply",
    "Retries",
    "SystemClock",
    "Timeouts",
]

BODY_LIMIT = 8 * 1024 * 1024
"""An answer longer than this is none that a provider sends."""

DETAIL_LIMIT = 500
"""So much of a refusal's text is kept, in characters."""


class ProviderError(Exception):
    """A call did not bring an answer that can be used."""


class ProviderRefused(ProviderError):
    """The provider understood and said no (4xx but 408 and 429): the same call will be refused again."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status} {detail}".rstrip())
        self.status = status
        self.detail = detail
        """The provider's words, on one line, bounded."""


class ProviderBusy(ProviderError):
    """The provider asked to be left alone for a while (429, or 503 with Retry-After); it did nothing."""

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"{name} asked to wait {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class ProviderUnreachable(ProviderError):
    """No usable answer: no connection, no answer in time, or a failure of the provider's own (5xx, no JSON)."""

    def __init__(self, reason: str, *, may_have_acted: bool) -> None:
        super().__init__(reason)
        self.may_have_acted = may_have_acted
        """Whether what was asked may have been done all the same."""


class Clock(Protocol):
    """Time as a client sees it."""

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one of the machine's."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever go forward."""
        ...

    def now(self) -> datetime:
        """The time of day, aware."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let so many of this clock's seconds pass."""
        ...


class SystemClock:
    """The machine's own time, or one that runs `speed` times as fast (for trials that cannot wait)."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one of the machine's."""
        return self._speed

    def monotonic(self) -> float:
        """Seconds that only ever go forward."""
        return time.monotonic() * self._speed

    def now(self) -> datetime:
        """The time of day; never faster than it is."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let so many of this clock's seconds pass."""
        await asyncio.sleep(seconds / self._speed)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Longest waits of one attempt, in the machine's seconds."""

    connect_s: float = 2.0
    total_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How a call that may be repeated is repeated. Seconds of the client's clock."""

    attempts: int = 3
    base_s: float = 0.5
    """The n-th wait is a random part of base · 2^(n-1), the whole of it at most."""
    longest_s: float = 8.0
    busy_s: float = 5.0
    """A Retry-After up to this is waited for; a longer one is the caller's affair (ProviderBusy)."""
    longest_busy_s: float = 900.0
    """No Retry-After is believed beyond this."""


@dataclass(slots=True)
class EndpointFigures:
    """What calls to one endpoint came to since the process began."""

    durations: Histogram = field(default_factory=Histogram)
    """Of attempts, seconds."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Attempts by `ok`, `refused`, `busy`, `unreachable`."""

    def add(self, seconds: float, outcome: str) -> None:
        """Count one attempt."""
        self.durations.add(seconds)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer."""

    status: int
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON, None when it is empty. Raises ProviderUnreachable when it is no JSON."""
        if not self.body:
            return None
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderUnreachable(f"the answer is no JSON: {error}", may_have_acted=True) from error


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    endpoint: str
    bearer: str | None = field(repr=False)
    content: bytes | None = field(repr=False)
    params: Mapping[str, str] | None
    headers: Mapping[str, str]


class ProviderClient:
    """Calls one provider. Belongs to one event loop; close it with `aclose()`."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        breaker: Breaker | None = None,
        clock: Clock | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        connections: int = 10,
        spread: random.Random | None = None,
    ) -> None:
        """`base_url`: scheme, host and path before every path. Redirects are never followed."""
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.clock: Clock = clock or SystemClock()
        self.breaker = breaker or Breaker(name, self.clock.monotonic)
        self.figures: dict[str, EndpointFigures] = {}
        """By endpoint."""
        self._headers = dict(headers or {})
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or Retries()
        self._connections = connections
        self._random = spread or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._under_way: dict[Permit, float] = {}
        """Attempts that are under way, and when each began (the machine's monotonic seconds)."""
        self._quiet: dict[bytes, float] = {}
        """Until when the holder of a key was asked to wait, by the key's hash."""
        self._http: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    @property
    def silent_s(self) -> float:
        """How long the attempt that has been under way longest has been waiting for its answer; 0 with none."""
        return time.monotonic() - min(self._under_way.values()) if self._under_way else 0.0

    def wait_s(self, bearer: str | None = None) -> float:
        """Seconds until a call with this key may be made at all; 0 when it may now."""
        until = self._quiet.get(_account(bearer), 0.0)
        return max(self.breaker.retry_after_s, until - self.clock.monotonic(), 0.0)

    async def call(
        self,
        method: str,
        path: str,
        *,
        endpoint: str,
        bearer: str | None = None,
        json: object = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> Reply:
        """Make one call and return its 2xx answer.

        `endpoint` names it in the figures. `repeatable`: it may be made twice without harm (default: a GET is).
        A call that the provider certainly did not act upon is repeated in any case.
        Raises ProviderRefused, ProviderBusy, ProviderUnreachable or BreakerOpen.
        """
        may_repeat = method == "GET" if repeatable is None else repeatable
        content = None if json is None else msgspec.json.encode(json)
        request = _Request(method, path, endpoint, bearer, content, params, headers or {})
        account = _account(bearer)
        attempt = 1
        while True:
            self._be_quiet(account)
            permit = self.breaker.permit()
            try:
                return await self._attempt(permit, request)
            except ProviderBusy as error:
                self._quiet[account] = self.clock.monotonic() + error.retry_after_s
                if attempt >= self._retries.attempts or error.retry_after_s > self._retries.busy_s:
                    raise
                wait_s = error.retry_after_s
            except ProviderUnreachable as error:
                if attempt >= self._retries.attempts or (error.may_have_acted and not may_repeat):
                    raise
                longest = min(self._retries.base_s * 2 ** (attempt - 1), self._retries.longest_s)
                wait_s = longest * self._random.random()
            await self.clock.sleep(wait_s)
            attempt += 1

    def _be_quiet(self, account: bytes) -> None:
        until = self._quiet.get(account)
        if until is not None:
            left_s = until - self.clock.monotonic()
            if left_s > 0:
                raise ProviderBusy(self.name, left_s)
            del self._quiet[account]

    async def _attempt(self, permit: Permit, request: _Request) -> Reply:
        began = self.clock.monotonic()
        outcome = "unreachable"
        self._under_way[permit] = time.monotonic()
        try:
            reply = await self._send(request)
            permit.succeeded()
            outcome = "ok"
            return reply
        except ProviderRefused:
            permit.succeeded()
            outcome = "refused"
            raise
        except ProviderBusy:
            permit.succeeded()
            outcome = "busy"
            raise
        except ProviderUnreachable:
            permit.failed()
            raise
        finally:
            del self._under_way[permit]
            permit.abandoned()
            figures = self.figures.get(request.endpoint)
            if figures is None:
                figures = self.figures[request.endpoint] = EndpointFigures()
            figures.add(self.clock.monotonic() - began, outcome)

    async def _send(self, request: _Request) -> Reply:
        import httpx

        if self._http is None:
            self._http = self._open()
        sent = {**self._headers, **request.headers}
        if request.bearer is not None:
            sent["authorization"] = f"Bearer {request.bearer}"
        if request.content is not None:
            sent["content-type"] = "application/json"
        try:
            async with (
                asyncio.timeout(self._timeouts.total_s),
                self._http.stream(
                    request.method,
                    self.base_url + request.path,
                    params=request.params,
                    headers=sent,
                    content=request.content,
                ) as response,
            ):
                body = await _bounded(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ProviderUnreachable(_words("no connection", error), may_have_acted=False) from error
        except TimeoutError as error:
            reason = f"no answer within {self._timeouts.total_s:g} s"
            raise ProviderUnreachable(reason, may_have_acted=True) from error
        except httpx.TimeoutException as error:
            raise ProviderUnreachable(_words("no answer in time", error), may_have_acted=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderUnreachable(_words("the connection broke", error), may_have_acted=True) from error
        return self._judge(response, body)

    def _open(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(self._timeouts.total_s, connect=self._timeouts.connect_s),
            limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
        )

    def _judge(self, response: httpx.Response, body: bytes) -> Reply:
        status = response.status_code
        if 200 <= status < 300:
            return Reply(status, body)
        stated = response.headers.get("retry-after")
        if status == 429 or (status == 503 and stated is not None):
            asked_s = seconds_to_wait(stated, self.clock.now())
            if asked_s is None:
                asked_s = self._retries.busy_s
            raise ProviderBusy(self.name, min(asked_s, self._retries.longest_busy_s))
        if 400 <= status < 500 and status != 408:
            raise ProviderRefused(status, _detail(body))
        reason = f"answered {status} {_detail(body)}".rstrip()
        # A redirect or a strange status is no promise that nothing happened.
        raise ProviderUnreachable(reason, may_have_acted=True)


def _account(bearer: str | None) -> bytes:
    return sha256((bearer or "").encode()).digest()


async def _bounded(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > BODY_LIMIT:
            raise ProviderUnreachable("the answer is too long", may_have_acted=True)
        parts.append(part)
    return b"".join(parts)


def seconds_to_wait(stated: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks for, as seconds or as a date (RFC 9110, 10.2.3); None when it is none."""
    text = (stated or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    with suppress(ValueError, OverflowError):
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, (when - now).total_seconds())
    return None


def _detail(body: bytes) -> str:
    """The provider's own words: the message in its JSON, else the beginning of its text, on one line."""
    text = ""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        text = _message(msgspec.json.decode(body[:65536]), depth=3)
    if not text:
        text = body[:2048].decode("utf-8", "replace")
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= DETAIL_LIMIT else line[: DETAIL_LIMIT - 1] + "…"


def _message(value: object, depth: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, (_message(item, depth - 1) for item in value[:5]))) if depth else ""
    if isinstance(value, dict) and depth:
        for key in ("message", "detail", "error", "title"):
            if key in value and (found := _message(value[key], depth - 1)):
                return found
    return ""


def _words(what: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    return f"{what}: {said}" if said else what
