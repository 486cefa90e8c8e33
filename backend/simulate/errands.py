"""What callers want done while they are on the line, where the voice agent can do it. Pure and seeded.

Which slot it becomes follows from what the system offers during the call; here stands what is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from backend.domain.vocabulary import CallOutcome, RefusalReason
from backend.simulate.businesses import Branch, Business, Service, Staff
from backend.simulate.presets import (
    ANY_STAFF,
    CHANGED_MIND,
    HELD_FIRST,
    OBSTACLE,
    RIVALRY,
    FunctionFault,
)

DONE_ON_THE_LINE = frozenset(
    {
        CallOutcome.BOOKED,
        CallOutcome.RESCHEDULED,
        CallOutcome.CANCELLED,
        CallOutcome.CALLBACK,
        CallOutcome.ENQUIRY,
    }
)
"""What an agent with functions uses them for."""


@dataclass(frozen=True, slots=True)
class Rivalry:
    """One slot that several callers want at the same moment."""

    number: int
    start: int
    """Unix minute."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a caller wants, as far as it does not depend on what is offered."""

    branch: Branch
    service: Service
    staff: Staff | None
    """None: the caller does not mind who."""
    names_branch: bool
    """The agent says which branch; otherwise it follows from the dialled number."""
    days_ahead: int
    """From today on the caller has time; 0 is today."""
    rivalry: Rivalry | None = None
    obstacle: RefusalReason | None = None
    """Why what is asked for first cannot be had."""
    is_held_first: bool = False
    """The slot is kept while the caller makes up their mind."""
    second_thought: CallOutcome | None = None
    """Moved or cancelled again within the same call."""
    phone: str | None = None
    """Told to the agent by a caller who hides the number."""
    faults: tuple[FunctionFault, ...] = ()
    """What surely goes wrong with the first request that changes something."""


def errand(
    dice: random.Random,
    business: Business,
    outcome: CallOutcome,
    *,
    fresh_phone: Callable[[], str],
    faults: bool,
    most_days_ahead: int,
) -> Errand:
    """An errand that leads to `outcome`, if all goes well."""
    branch = dice.choice(business.branches)
    service = dice.choice(business.offered(branch))
    offering = business.offering(branch, service)
    staff = None if dice.random() < ANY_STAFF else dice.choice(offering)
    obstacle = None
    if outcome is CallOutcome.BOOKED and faults and dice.random() < OBSTACLE:
        obstacle = dice.choice(_obstacles(business, branch, service))
    second_thought = None
    if outcome is CallOutcome.BOOKED and dice.random() < CHANGED_MIND:
        second_thought = dice.choice((CallOutcome.RESCHEDULED, CallOutcome.RESCHEDULED, CallOutcome.CANCELLED))
    return Errand(
        branch=branch,
        service=service,
        staff=staff,
        names_branch=len(business.branches) > 1 and dice.random() < 0.3,
        days_ahead=dice.randrange(most_days_ahead),
        obstacle=obstacle,
        is_held_first=outcome is CallOutcome.BOOKED and dice.random() < HELD_FIRST,
        second_thought=second_thought,
        phone=fresh_phone() if outcome is CallOutcome.CALLBACK else None,
    )


def is_rivalry(dice: random.Random) -> bool:
    """Whether others want the same slot."""
    return dice.random() < RIVALRY


def _obstacles(business: Business, branch: Branch, service: Service) -> list[RefusalReason]:
    found = [
        RefusalReason.SERVICE_UNKNOWN,
        RefusalReason.STAFF_UNKNOWN,
        RefusalReason.BRANCH_UNKNOWN,
        RefusalReason.TIME_UNREADABLE,
        RefusalReason.IN_PAST,
        RefusalReason.TOO_FAR,
        RefusalReason.OUTSIDE_HOURS,
        RefusalReason.OUTSIDE_HOURS,
        RefusalReason.OUTSIDE_HOURS,
    ]
    if service.notice:
        found += [RefusalReason.TOO_SOON] * 3
    if others_than(business, branch, service):
        found.append(RefusalReason.NOT_OFFERED)
    return found


def others_than(business: Business, branch: Branch, service: Service) -> tuple[Staff, ...]:
    """People of the company who do not offer the service at the branch."""
    offering = business.offering(branch, service)
    return tuple(person for person in business.staff if person not in offering)
