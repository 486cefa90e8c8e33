"""What a realistic load is: rates, the day's curve, mixes and fault rates, each with its source.

Shares are 0..1 of what their docstring names; durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.domain.vocabulary import CallOutcome

DAY_S = 86_400.0

WEEKDAY_WEIGHTS = (1.25, 1.05, 1.0, 1.0, 0.9, 0.5, 0.15)
"""Share of calls by weekday, Monday first."""

HOUR_WEIGHTS = (
    *(0.1,) * 7,
    *(0.5, 1.4, 1.8, 1.7, 1.4, 0.9, 1.0, 1.3, 1.3, 1.2, 1.0, 0.6),
    *(0.25,) * 5,
)
"""Share of calls by hour of the day, local time."""

BURSTS_PER_DAY = 2
BURST_FACTOR = 5.0
BURST_S = 180.0
BURST_HOURS = (8, 18)
"""A burst begins at a random instant between these hours, local time."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast calls arrive."""

    calls_per_day: float
    shaped: bool = True
    """Follows the weights of weekday and hour, with bursts; otherwise the rate is flat around the clock."""
    usual_calls: int = 200
    """How many calls a run has when nobody says."""


PACES: dict[str, Pace] = {
    "dev": Pace(100, usual_calls=100),
    "now": Pace(2_000, usual_calls=2_000),
    "tenfold": Pace(20_000, usual_calls=20_000),
    "storm": Pace(100 * DAY_S, shaped=False, usual_calls=6_000),
    # About 3.4 jobs follow from a call, so this leaves 50,000 of them.
    "backlog": Pace(100 * DAY_S, shaped=False, usual_calls=14_500),
}
"""Presets by name."""

OUTCOMES: dict[CallOutcome, float] = {
    CallOutcome.BOOKED: 0.45,
    CallOutcome.ENQUIRY: 0.20,
    CallOutcome.RESCHEDULED: 0.08,
    CallOutcome.CANCELLED: 0.07,
    CallOutcome.CALLBACK: 0.08,
    CallOutcome.TRANSFER: 0.04,
    CallOutcome.HANGUP: 0.06,
    CallOutcome.ERROR: 0.02,
}
"""What calls lead to."""

LONGEST_CALL_S = 900.0

MEDIAN_CALL_S: dict[CallOutcome, float] = {
    CallOutcome.BOOKED: 110.0,
    CallOutcome.ENQUIRY: 60.0,
    # The source is silent about these four; they lie between an enquiry and a booking.
    CallOutcome.RESCHEDULED: 90.0,
    CallOutcome.CANCELLED: 55.0,
    CallOutcome.CALLBACK: 70.0,
    CallOutcome.TRANSFER: 45.0,
}
"""Median of the lognormal duration; outcomes that are not here are short (see `HANGUP_S`)."""

CALL_SIGMA = 0.45
HANGUP_S = (6.0, 15.0)

ANONYMOUS = 0.06
"""Of calls: the caller hides the number."""
UNKNOWN_NUMBER = 0.003
"""Of calls: neither the dialled number nor the agent belongs to anybody."""
PORTED_NUMBER = 0.005
"""Of calls: the dialled number is unknown but the agent is known."""
WEB_CALL = 0.01
"""Of calls: through the web widget, without numbers."""
RETURNING = 0.60
"""Of named callers: have called before."""
SHARED_PHONE = 0.03
"""Of new callers: use the phone of another person."""
WITH_EMAIL = 0.35
"""Of new callers: give an e-mail address."""
TRANSCRIPT_UPDATES = 0.04
"""Of calls: the provider also sends transcript_updated while they last."""
NOT_CONNECTED = 0.5
"""Of failed calls: never connected, so they have no call_started."""

COMPLETED, CANCELLED_LATER, NO_SHOW = 0.80, 0.10, 0.08
"""What becomes of appointments; the rest stays as booked."""

CONTEST = 0.04
"""Of bookings: others want the same slot at the same moment."""
FLAWED = 0.02
"""Of bookings: what the agent wrote down cannot be booked."""
ANY_STAFF = 0.10
"""Of bookings: the caller does not mind who."""


class Fault(StrEnum):
    """What goes wrong with deliveries on their way."""

    DUPLICATE = "duplicate"
    """The same delivery again, seconds to minutes later."""
    TWIN = "twin"
    """The same delivery again within one second."""
    OUT_OF_ORDER = "out_of_order"
    """Two neighbouring events of a call swap places."""
    STARTED_MISSING = "started_missing"
    ENDED_LOST = "ended_lost"
    BAD_SIGNATURE = "bad_signature"
    """A forged copy with a wrong or missing signature."""
    STALE = "stale"
    """A copy whose signature is older than five minutes."""
    MALFORMED = "malformed"
    """A well-signed copy that is no longer JSON, or not the JSON of an event."""
    UNKNOWN_EVENT = "unknown_event"
    """An event of a kind that nobody knows yet."""
    UNKNOWN_ENUM = "unknown_enum"
    """A known event whose words are new (disconnection reason, sentiment, outcome)."""


PER_DELIVERY: dict[Fault, float] = {
    Fault.DUPLICATE: 0.02,
    Fault.TWIN: 0.005,
    Fault.BAD_SIGNATURE: 0.001,
    Fault.STALE: 0.0005,
    Fault.MALFORMED: 0.0005,
    Fault.UNKNOWN_EVENT: 0.0005,
}
"""Chance of each fault for one delivery of a call event."""

PER_CALL: dict[Fault, float] = {
    Fault.OUT_OF_ORDER: 0.01,
    Fault.STARTED_MISSING: 0.005,
    Fault.ENDED_LOST: 0.003,
    # Words appear in the last two deliveries of a call: together with unknown_event 0.1 % of deliveries.
    Fault.UNKNOWN_ENUM: 0.0017,
}
"""Chance of each fault for one call."""

RIVALRY = 0.05
"""Of bookings during a call: others want the same slot at the same moment."""
OBSTACLE = 0.15
"""Of bookings during a call: what is asked for first cannot be had (closed, too soon, unknown, unreadable)."""
HELD_FIRST = 0.20
"""Of bookings during a call: the slot is kept until the caller has made up their mind."""
CHANGED_MIND = 0.06
"""Of bookings during a call: moved or cancelled again before the caller hangs up."""


class FunctionFault(StrEnum):
    """What goes wrong with a function that the voice agent calls."""

    REPEATED = "repeated"
    """The same tool call again after its answer."""
    TWIN = "twin"
    """The same tool call twice at once."""
    ANSWER_LOST = "answer_lost"
    """The answer comes too late for the agent, which calls again."""
    NO_ID = "no_id"
    """The tool call has no id."""
    BAD_SIGNATURE = "bad_signature"
    """A forged request with a wrong or missing signature."""
    STALE = "stale"
    """A request whose signature is older than five minutes."""
    MALFORMED = "malformed"
    """A well-signed request that is no JSON, or does not say which function of which call."""


PER_FUNCTION: dict[FunctionFault, float] = {
    FunctionFault.REPEATED: 0.02,
    FunctionFault.TWIN: 0.005,
    FunctionFault.ANSWER_LOST: 0.02,
    FunctionFault.NO_ID: 0.02,
    FunctionFault.BAD_SIGNATURE: 0.001,
    FunctionFault.STALE: 0.0005,
    FunctionFault.MALFORMED: 0.0005,
}
"""Chance of each fault for one function call. The first two are those of deliveries; answers are lost and ids missing
as often, the source being silent about both."""

ANALYSIS_LATE_S = (5.0, 60.0)
"""How long after the end of a call its analysis arrives."""
ANALYSIS_SOON_S = (1.0, 3.0)
"""The same without faults."""
