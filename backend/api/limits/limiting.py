"""What a request has to pass: limits of its address, then a place at the gate, then limits of its token and company.

The table of rules is `backend.api.limits.table`; this module applies it. Authentication stands behind the gate because
it asks the database, which the gate protects.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.body import read_already, read_body
from backend.api.limits.clients import Clients, is_this_machine
from backend.api.limits.gate import Gate, GatePolicy, Overloaded, Priority
from backend.api.limits.table import LimitFigures, Rule, failed_limits, rule_for, table
from backend.api.problems import Problem, RawHeaders
from backend.services.intake.rejects import network_of
from backend.valkey.gcra import Check, Limit, Verdict
from backend.valkey.rates import Rates

ADMISSION = "askpro.admission"
"""Key of the request's `Admission` in the ASGI scope."""

SHED_RETRY_S = {Priority.IN_CALL: (1, 2), Priority.INTAKE: (1, 3), Priority.BOOKING: (1, 4), Priority.REPORT: (3, 10)}
"""Who finds no place is asked to come back after so many seconds, from and to: not all at once."""

JITTER = 0.2
"""Who used up a limit is asked to wait up to this share longer than needed."""


class Guard:
    """One process's limits and gate."""

    def __init__(
        self,
        figures: LimitFigures,
        rates: Rates,
        clients: Clients,
        *,
        rules: Sequence[Rule] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.rates = rates
        self.clients = clients
        self.gate = gate or Gate(
            GatePolicy(
                start=figures.concurrency_start,
                least=figures.concurrency_least,
                most=figures.concurrency_most,
                wait_s=figures.wait_s,
            )
        )
        self._rules = table(figures) if rules is None else tuple(rules)
        self._unverified, self._failed_auth = failed_limits(figures)
        self.limited: Counter[tuple[str, str]] = Counter()
        """Refusals by limit and class since the start."""

    def rule(self, method: str, path: str) -> Rule:
        """The rule of a request or of a route's template."""
        return rule_for(self._rules, method, path)

    def around(self, method: str, path: str, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint with what its requests have to pass; itself when there is nothing to pass."""
        rule = self.rule(method, path)
        if not rule.gated and rule.address is None and rule.token is None:
            return endpoint
        return Guarded(endpoint, self, rule)

    async def note_unverified(self, scope: Scope) -> None:
        """A signature failed. Raises a 429 `Problem` when that happened too often at this address."""
        priority = self.rule(scope["method"], scope["path"]).priority
        await self.count([self._of_address(scope, self._unverified)], priority)

    async def note_failed_auth(self, scope: Scope) -> None:
        """There was no good token. Raises a 429 `Problem` when that happened too often at this address."""
        admission: Admission | None = scope.get(ADMISSION)
        priority = Priority.REPORT if admission is None else admission.rule.priority
        await self.count([self._of_address(scope, self._failed_auth)], priority)

    def address_check(self, scope: Scope, limit: Limit) -> Check | None:
        """A count of the sender's address; None for this machine itself."""
        return None if is_this_machine(scope) else self._of_address(scope, limit)

    async def count(self, checks: Sequence[Check], priority: Priority, *, shared_only: bool = False) -> Verdict:
        """Count a request. Raises a 429 `Problem` when one of its limits is used up, 503 when they must be shared."""
        if shared_only and not self.rates.shared:
            raise Problem(503, "limits cannot be checked", reason="limits_unavailable", retry_after_s=jittered(5.0))
        verdict = await self.rates.check(checks)
        if verdict.binding is not None:
            self.limited[verdict.binding.name, priority.word] += 1
            raise used_up(verdict, verdict.binding)
        return verdict

    def _of_address(self, scope: Scope, limit: Limit) -> Check:
        return Check(limit, f"{limit.name}:{network_of(self.clients.address(scope))}")


class Guarded:
    """ASGI: an endpoint behind its rule."""

    def __init__(self, app: ASGIApp, guard: Guard, rule: Rule | None = None) -> None:
        """Without `rule` each request's method and path find it."""
        self._app = app
        self._guard = guard
        self._rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rule or self._guard.rule(scope["method"], scope["path"])
        admission = scope[ADMISSION] = Admission(self._guard, rule)
        await admission.arrive(scope)
        if rule.body_first is not None:
            receive = read_already(await read_body(scope["headers"], receive, limit=rule.body_first), receive)
        failed = False
        try:
            if rule.gated and not rule.enters_itself:
                await admission.enter()
            await self._app(scope, receive, admission.telling(send))
        except Problem as problem:
            failed = problem.status == 503
            problem.headers += admission.headers
            raise
        finally:
            admission.leave(failed=failed)


class Admission:
    """One request on its way through."""

    __slots__ = ("_entered_at", "_guard", "headers", "rule")

    def __init__(self, guard: Guard, rule: Rule) -> None:
        self._guard = guard
        self.rule = rule
        self.headers: RawHeaders = []
        """For the answer: where the sender stands with the limits."""
        self._entered_at: float | None = None

    async def arrive(self, scope: Scope) -> None:
        """Count it for its address. Raises a 429 `Problem`."""
        if self.rule.address is not None:
            check = self._guard.address_check(scope, self.rule.address)
            if check is not None:
                await self._guard.count([check], self.rule.priority)

    async def enter(self) -> None:
        """Take a place at the gate, once. Raises a 503 `Problem`."""
        if self._entered_at is None:
            try:
                await self._guard.gate.enter(self.rule.priority)
            except Overloaded as overload:
                raise Problem(
                    503,
                    "too much to do at the moment",
                    reason="overloaded",
                    retry_after_s=random.randint(*SHED_RETRY_S[overload.priority]),  # noqa: S311 - jitter
                ) from None
            self._entered_at = perf_counter()

    async def count_caller(self, token_id: str, company_id: UUID) -> None:
        """Count it for its token, its company and their routes. Raises a 429 `Problem`."""
        rule = self.rule
        company = f"{{{company_id}}}"  # in braces: what one request asks for lies in one slot of a cluster
        limits = (
            (rule.token, f"{company}:token:{token_id}"),
            (rule.company, company),
            (rule.route, company),
        )
        checks = [Check(limit, f"{key}:{limit.name}") for limit, key in limits if limit is not None]
        if checks:
            verdict = await self._guard.count(checks, rule.priority, shared_only=rule.shared_only)
            self.headers = standing_headers(verdict)

    def telling(self, send: Send) -> Send:
        """`send` that adds the headers."""

        async def told(message: Message) -> None:
            if self.headers and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        return told

    def leave(self, *, failed: bool) -> None:
        """Give the place back, if there is one."""
        if self._entered_at is not None:
            self._guard.gate.leave(self.rule.priority, perf_counter() - self._entered_at, failed=failed)
            self._entered_at = None


async def enter_gate(scope: Scope) -> None:
    """For endpoints that take their place themselves, once the request is verified. Raises a 503 `Problem`."""
    admission: Admission | None = scope.get(ADMISSION)
    if admission is not None:
        await admission.enter()


async def count_caller(scope: Scope, token_id: str, company_id: UUID) -> None:
    """Count a request whose token is good. Raises a 429 `Problem`."""
    admission: Admission | None = scope.get(ADMISSION)
    if admission is not None:
        await admission.count_caller(token_id, company_id)


def used_up(verdict: Verdict, limit: Limit) -> Problem:
    """429 with the time to come back after."""
    problem = Problem(
        429, f"the limit {limit.name} is used up", reason="rate_limited", retry_after_s=jittered(verdict.wait_s)
    )
    problem.headers = standing_headers(verdict)
    return problem


def standing_headers(verdict: Verdict) -> RawHeaders:
    """`RateLimit-Policy` (quota and window) and `RateLimit` (what is left, and until when all is again).

    The form is that of draft-ietf-httpapi-ratelimit-headers, from its ninth version on.
    """
    policy = ", ".join(
        f'"{standing.limit.name}";q={standing.limit.count};w={standing.limit.period_s:.0f}'
        for standing in verdict.standings
    )
    left = ", ".join(
        f'"{standing.limit.name}";r={standing.remaining};t={whole(standing.reset_s)}' for standing in verdict.standings
    )
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


def jittered(seconds: float) -> int:
    """Whole seconds to come back after, never less than `seconds`."""
    return whole(seconds * random.uniform(1.0, 1.0 + JITTER))  # noqa: S311 - jitter


def whole(seconds: float) -> int:
    """Whole seconds, rounded up, at least one."""
    return max(1, -int(-seconds // 1))
