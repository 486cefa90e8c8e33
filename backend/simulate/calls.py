"""What the simulator knows about a call before it sends anything about it: the truth that deliveries tell in parts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.domain.vocabulary import CallOutcome, CallStatus, RefusalReason
from backend.simulate.businesses import Branch, Business, Service, Staff
from backend.simulate.errands import Errand
from backend.simulate.people import Person


class Odd(StrEnum):
    """Which of a call's words is one that nobody knows yet."""

    REASON = "disconnection_reason"
    SENTIMENT = "user_sentiment"
    OUTCOME = "outcome"


class Written(StrEnum):
    """How a start is written."""

    OFFSET = "offset"
    """Wall time with its offset from UTC."""
    UTC = "utc"
    WALL = "wall"
    """Wall time alone, meant where the branch is."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A slot that a caller and the voice agent agreed on."""

    branch: Branch
    service: Service
    staff: Staff | None
    """None: the caller does not mind who."""
    start: int
    """Unix minute."""
    names_branch: bool
    """The agent says which branch; otherwise it follows from the dialled number."""
    written: Written
    """How the agent writes the start down."""
    flaw: RefusalReason | None
    """Why this cannot be booked whatever the calendar says."""
    contest: int
    """Number of the contest: bookings with one number want the same time, those with different ones never meet."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Bookings of which only so many can succeed, whatever the order in which they arrive."""

    number: int
    capacity: int
    calls: tuple[int, ...]
    """Numbers of the contending calls."""

    @property
    def winners(self) -> int:
        """How many of the bookings succeed."""
        return min(self.capacity, len(self.calls))


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call, complete."""

    number: int
    """Position in the plan; orders calls by start."""
    call_id: str
    business: Business | None
    """None: nobody can tell whose call it is."""
    branch: Branch | None
    """The branch that was called; None when the provider's words do not tell."""
    agent_id: str
    call_type: str
    from_number: str | None
    to_number: str | None
    person: Person | None
    """Who really called, if the caller has a usable phone."""
    spoken_name: str | None
    email: str | None
    started_ms: int
    """Unix milliseconds."""
    duration_ms: int
    outcome: CallOutcome
    status: CallStatus
    """At the end."""
    disconnection_reason: str
    sentiment: str
    """In the provider's words."""
    cost_cents: float
    booking: Booking | None
    """What the agent wrote down, to be booked after the call."""
    errand: Errand | None
    """What the agent does while the call lasts."""
    callback_reason: str | None
    odd: Odd | None
    with_words: bool
    """The transcript comes with the timing of each word."""
    wave: int
    """0, or 1 for calls that are sent only when everything else is in the database."""

    def __hash__(self) -> int:
        return hash(self.call_id)

    @property
    def ended_ms(self) -> int:
        """Unix milliseconds."""
        return self.started_ms + self.duration_ms

    @property
    def connected(self) -> bool:
        """A call that never connects has no call_started."""
        return self.status is not CallStatus.NOT_CONNECTED
