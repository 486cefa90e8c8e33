"""The policy: which limits and which class of the gate every route has. Nothing else in the API decides about that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.api.limits.gate import Priority
from backend.valkey.gcra import Limit

ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFigures:
    """What can be set of the policy (settings `[limits]`). Requests in a minute."""

    unverified_per_minute: int = 100
    """Deliveries and function calls whose signature fails, of one address; verified ones are not limited."""
    failed_auth_per_minute: int = 20
    """Requests without a good token, of one address."""
    address_per_minute: int = 1_200
    """Requests of one address, whatever they are; deliveries, probes and this machine itself do not count."""
    token_reads_per_minute: int = 600
    token_writes_per_minute: int = 60
    """Changes of appointments and whatever else is written."""
    token_reports_per_minute: int = 120
    """Lists of calls and customers, searches."""
    company_per_minute: int = 1_800
    """All requests with any token of one company."""
    company_reports_per_minute: int = 300
    """Its lists and searches among them."""
    concurrency_start: int = 8
    """Requests that one process works on at once, at first; the gate finds the right number between the next two."""
    concurrency_least: int = 4
    concurrency_most: int = 128
    wait_s: float = 1.0
    """Longest wait for a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for one group of routes. A limit that is None does not exist."""

    method: str
    """`*` for all others."""
    path: str
    """The group's first path; what continues it after a slash belongs to it."""
    priority: Priority
    gated: bool = True
    """Whether its requests need a place at the gate."""
    body_first: int | None = None
    """Its body is read before a place is taken, up to so many bytes: who sends slowly holds no place. None where the
    endpoint reads the body and takes the place itself, or where there is none."""
    enters_itself: bool = False
    """The endpoint takes the place, once it has verified the request."""
    address: Limit | None = None
    """Of the sender's address, before anything else is looked at."""
    token: Limit | None = None
    company: Limit | None = None
    route: Limit | None = None
    """Of the company, for this group of routes only."""
    shared_only: bool = False
    """Refused while limits cannot be shared: where guessing must not be multiplied by the number of processes."""

    def takes(self, method: str, path: str) -> bool:
        """Whether a request falls into the group."""
        return self.method in {ANY, method} and (not self.path or path == self.path or path.startswith(self.path + "/"))


RESOURCE_BODY = 64 * 1024
"""Largest body of a request for a resource, bytes; the resources themselves hold it to be as much."""

WRITES = ("POST", "PUT", "PATCH", "DELETE")


def failed_limits(figures: LimitFigures) -> tuple[Limit, Limit]:
    """Of one address: for signatures that fail, and for tokens that are not good."""
    return Limit("unverified", figures.unverified_per_minute), Limit("failed-auth", figures.failed_auth_per_minute)


def table(figures: LimitFigures) -> tuple[Rule, ...]:
    """All rules. The one with the longest path decides, and of these the one that names the method."""
    address = Limit("address", figures.address_per_minute)
    company = Limit("company", figures.company_per_minute)
    reads = Limit("token-read", figures.token_reads_per_minute)
    writes = Limit("token-write", figures.token_writes_per_minute)
    reports = Limit("token-report", figures.token_reports_per_minute)
    company_reports = Limit("company-report", figures.company_reports_per_minute)

    def signed(path: str, priority: Priority, *, gated: bool = True) -> Rule:
        return Rule(method="POST", path=path, priority=priority, gated=gated, enters_itself=gated)

    def read(path: str) -> Rule:
        return Rule(method=ANY, path=path, priority=Priority.BOOKING, address=address, token=reads, company=company)

    def written(path: str) -> tuple[Rule, ...]:
        return tuple(
            Rule(
                method=method,
                path=path,
                priority=Priority.BOOKING,
                body_first=RESOURCE_BODY,
                address=address,
                token=writes,
                company=company,
            )
            for method in WRITES
        )

    def report(path: str) -> Rule:
        return Rule(
            method=ANY,
            path=path,
            priority=Priority.REPORT,
            address=address,
            token=reports,
            company=company,
            route=company_reports,
        )

    return (
        signed("/api/retell/function", Priority.IN_CALL),
        signed("/api/retell/inbound", Priority.IN_CALL),
        # A delivery that is verified is refused by nothing but a full intake, which has a bound of its own.
        signed("/api/retell/webhook", Priority.INTAKE, gated=False),
        signed("/api/calcom/webhook", Priority.INTAKE, gated=False),
        Rule(method=ANY, path="/livez", priority=Priority.IN_CALL, gated=False),
        Rule(method=ANY, path="/readyz", priority=Priority.IN_CALL, gated=False),
        read("/api/appointments"),
        *written("/api/appointments"),
        read("/api/availability"),
        read("/api/company"),
        report("/api/customers"),
        *written("/api/customers"),
        report("/api/calls"),
        Rule(method=ANY, path="/api/dashboard", priority=Priority.REPORT, address=address),
        # Not gated: what tells of an overload must be readable during one, and costs the database nothing.
        Rule(method=ANY, path="/metrics", priority=Priority.REPORT, gated=False, address=address),
        # Every route that no row names, and everything that is none.
        Rule(
            method=ANY,
            path="",
            priority=Priority.REPORT,
            body_first=RESOURCE_BODY,
            address=address,
            token=reads,
            company=company,
        ),
    )


def rule_for(rules: Sequence[Rule], method: str, path: str) -> Rule:
    """The rule that decides about a request, or about a route's template."""
    return max(
        (rule for rule in rules if rule.takes(method, path)), key=lambda rule: (len(rule.path), rule.method != ANY)
    )
