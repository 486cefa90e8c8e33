"""The words of the business, each once: states, outcomes, sources, queues.

The database enforces the same words as check constraints (a test compares the two).
A reschedule is an event of an appointment, never one of its states.
"""

from __future__ import annotations

from enum import StrEnum


class AppointmentStatus(StrEnum):
    """State of an appointment; the appointment row is the projection of its events."""

    HELD = "held"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"


ACTIVE_APPOINTMENT = frozenset(
    {
        AppointmentStatus.HELD,
        AppointmentStatus.PENDING,
        AppointmentStatus.CONFIRMED,
        AppointmentStatus.IN_PROGRESS,
    }
)
"""The states in which an appointment keeps its staff member busy."""


class AppointmentEvent(StrEnum):
    """What can happen to an appointment; appended, never changed."""

    HELD = "held"
    BOOKED = "booked"
    CONFIRMED = "confirmed"
    RESCHEDULED = "rescheduled"
    STARTED = "started"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    RESTORED = "restored"
    HOLD_EXPIRED = "hold_expired"


class AppointmentSource(StrEnum):
    """Where an appointment came from."""

    CALL = "call"
    CALCOM = "calcom"
    CONSOLE = "console"
    API = "api"
    IMPORT = "import"


class RefusalReason(StrEnum):
    """Why an appointment was not booked; also the reason of the callback request that remains of a call's wish."""

    SLOT_TAKEN = "slot_taken"
    SERVICE_UNKNOWN = "service_unknown"
    BRANCH_UNKNOWN = "branch_unknown"
    """No such branch, or none named by a company that has several."""
    STAFF_UNKNOWN = "staff_unknown"
    NOT_OFFERED = "not_offered"
    """The person asked for does not offer the service at the branch, or nobody does."""
    TIME_UNREADABLE = "time_unreadable"
    IN_PAST = "in_past"
    TOO_FAR = "too_far"
    """Further ahead than the service can be booked, or than any can."""
    OUTSIDE_HOURS = "outside_hours"
    """Nobody works then, or it is not one of the times at which the service begins."""
    TOO_SOON = "too_soon"
    """The service must be booked longer beforehand."""
    COMPANY_INACTIVE = "company_inactive"


class ExceptionKind(StrEnum):
    """What is different on certain days (docs/companies.md)."""

    CLOSED = "closed"
    """Not there: all day, or in a span of it."""
    HOURS = "hours"
    """Other hours instead of the weekly ones."""
    EXTRA = "extra"
    """More hours beside the weekly ones."""


class Bundesland(StrEnum):
    """A German state, whose public holidays a branch keeps (ISO 3166-2:DE)."""

    BRANDENBURG = "BB"
    BERLIN = "BE"
    BADEN_WUERTTEMBERG = "BW"
    BAVARIA = "BY"
    BREMEN = "HB"
    HESSE = "HE"
    HAMBURG = "HH"
    MECKLENBURG_VORPOMMERN = "MV"
    LOWER_SAXONY = "NI"
    NORTH_RHINE_WESTPHALIA = "NW"
    RHINELAND_PALATINATE = "RP"
    SCHLESWIG_HOLSTEIN = "SH"
    SAARLAND = "SL"
    SAXONY = "SN"
    SAXONY_ANHALT = "ST"
    THURINGIA = "TH"


class CallStatus(StrEnum):
    """State of a call, in the provider's words (Retell `call_status`)."""

    REGISTERED = "registered"
    NOT_CONNECTED = "not_connected"
    ONGOING = "ongoing"
    ENDED = "ended"
    ERROR = "error"


class CallOutcome(StrEnum):
    """What a finished call led to."""

    BOOKED = "booked"
    ENQUIRY = "enquiry"
    RESCHEDULED = "rescheduled"
    CANCELLED = "cancelled"
    CALLBACK = "callback"
    TRANSFER = "transfer"
    HANGUP = "hangup"
    ERROR = "error"
    UNKNOWN = "unknown"


class Sentiment(StrEnum):
    """The caller's mood as the provider judged it."""

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"
    UNKNOWN = "unknown"


class CallbackState(StrEnum):
    """State of a request to call a customer back."""

    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"


class NotificationKind(StrEnum):
    """What a customer is told about an appointment."""

    CONFIRMED = "confirmed"
    MOVED = "moved"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    """They did not come: may we make a new appointment?"""
    REMINDER_24H = "reminder_24h"
    REMINDER_2H = "reminder_2h"
    REMINDER_30MIN = "reminder_30min"


class NotificationState(StrEnum):
    """State of a notification."""

    WAITING = "waiting"
    """Its job is queued, runs, or is held."""
    SENT = "sent"
    """The channel took it."""
    DROPPED = "dropped"
    """It was not sent, and need not be: the detail says why."""
    REFUSED = "refused"
    """The channel will not take it: its job is held."""


class CalendarState(StrEnum):
    """How far an appointment has got into its calendar at the provider."""

    PENDING = "pending"
    """Its last change is on the way."""
    SYNCED = "synced"
    FAILED = "failed"
    """The provider refused it: somebody has to look."""
    OFF = "off"
    """It is not written there (any more): the company, or the service, says so."""


class BreakerState(StrEnum):
    """Whether calls to a provider go out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One is on its way and decides."""


class Provider(StrEnum):
    """Who sends webhooks."""

    RETELL = "retell"
    CALCOM = "calcom"


class InboxState(StrEnum):
    """State of an accepted webhook delivery."""

    ACCEPTED = "accepted"
    """Stored, its job is queued or running."""
    PROCESSED = "processed"
    """Its effect is in the database."""
    QUARANTINED = "quarantined"
    """No tenant is known for it: waits for an operator, has no job."""
    HELD = "held"
    """Its job was held after its last attempt."""
    IGNORED = "ignored"
    """Understood, and nothing follows from it (an event of a kind nobody needs)."""


class RejectReason(StrEnum):
    """Why a delivery was refused."""

    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_WRONG = "signature_wrong"
    STALE = "stale"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"


class QueueName(StrEnum):
    """The queues; each is worked off by a process of its own."""

    WEBHOOKS = "webhooks"
    APPOINTMENTS = "appointments"
    DEFAULT = "default"
    NOTIFICATIONS = "notifications"


class RunOutcome(StrEnum):
    """How one attempt at a job ended."""

    DONE = "done"
    RETRY = "retry"
    HELD = "held"
    RELEASED = "released"
    """Given back unfinished because the worker was told to stop."""
    POSTPONED = "postponed"
    """Somebody else must be waited for; it counts as no attempt."""


class WorkerState(StrEnum):
    """State of a worker process as it reports itself."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class NodeState(StrEnum):
    """State of a machine of the fleet."""

    UP = "up"
    VANISHED = "vanished"
    """Not heard of any more, and it did not say that it stops."""
    LEFT = "left"
    """It was stopped in good order."""


class NodeOrder(StrEnum):
    """What a node can be told to do."""

    RESTART = "restart"
    """Drain a process, or each one of its own, and start it afresh."""
    STOP = "stop"
    """Take the whole node down in good order."""


class OrderState(StrEnum):
    """What became of an order to a node."""

    WAITING = "waiting"
    """The node has not taken it yet."""
    DONE = "done"
    """Its supervisor was told."""
    FAILED = "failed"
    EXPIRED = "expired"
    """The node took it up too late to obey it."""


class HeldState(StrEnum):
    """What became of a held job."""

    HELD = "held"
    RETRIED = "retried"
    DISCARDED = "discarded"
    REPLACED = "replaced"
    """Another job was made of it."""


class JobOrigin(StrEnum):
    """How a job was made of a held one."""

    EDITED = "edited"
    MOVED = "moved"


class BulkAction(StrEnum):
    """What is done to many held jobs."""

    RETRY = "retry"
    DISCARD = "discard"
    MOVE = "move"
    EDIT = "edit"


class BulkState(StrEnum):
    """How far an action on many jobs is."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PauseKind(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    JOB_TYPE = "job_type"
    COMPANY = "company"
    PROVIDER = "provider"
    """Its breakers stay open and jobs that need it are not started."""
    NODE = "node"
    """The workers of one machine: drained."""
    SCHEDULE = "schedule"
    """A periodic job does not come round."""


class TroubleKind(StrEnum):
    """What a job can do to its worker, or its provider to it."""

    CRASH = "crash"
    """It was running when its worker ended without a word."""
    MEMORY = "memory"
    """Its worker's memory grew to the ceiling while it ran."""
    BLOCKS = "blocks"
    """It holds up its worker's event loop."""
    OVERRUN = "overrun"
    """It ran longer than it may."""
    IGNORES_CANCELLATION = "ignores_cancellation"
    """It goes on though it was told to end."""
    RAISES = "raises"
    """It fails again and again."""
    PROVIDER_HANGS = "provider_hangs"
    """The provider that it calls gives no answer."""


class TokenScope(StrEnum):
    """What an API token may do. Writing includes reading."""

    AVAILABILITY_READ = "availability:read"
    APPOINTMENTS_READ = "appointments:read"
    APPOINTMENTS_WRITE = "appointments:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    CALLS_READ = "calls:read"
    DASHBOARD_READ = "dashboard:read"


class CalendarStatus(StrEnum):
    """State of a booking as the provider's calendar tells it."""

    REQUESTED = "requested"
    """Somebody asked for it and nobody has accepted yet."""
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"


class CalendarBookingState(StrEnum):
    """How far a booking in the provider's calendar is followed here."""

    WAITING = "waiting"
    """Too little was told of it so far."""
    REQUESTED = "requested"
    """It is followed once it is accepted."""
    UNMAPPED = "unmapped"
    """It is not known which service, staff or branch its event type stands for."""
    CONFLICT = "conflict"
    """Its time is taken here: somebody has to decide."""
    SETTLED = "settled"


class RunCause(StrEnum):
    """Why a reconciliation runs."""

    SCHEDULE = "schedule"
    NIGHTLY = "nightly"
    COMMAND = "command"


class RunState(StrEnum):
    """State of a reconciliation."""

    RUNNING = "running"
    DONE = "done"
    DELAYED = "delayed"
    """The provider could not be asked to the end: the next run goes on from there."""
    FAILED = "failed"
    """The provider refuses: somebody has to mend the key or the settings."""


class DifferenceKind(StrEnum):
    """What differs between a provider and us."""

    CALL_MISSING = "call_missing"
    """Nothing was ever delivered about a call."""
    END_MISSING = "end_missing"
    ANALYSIS_MISSING = "analysis_missing"
    CALL_UNASSIGNED = "call_unassigned"
    """A call to a number, or of an agent, that nobody here has."""
    CALL_UNKNOWN_THERE = "call_unknown_there"
    """A call that goes on here and that the provider does not know."""
    CALL_DIFFERS = "call_differs"
    MISSING_THERE = "missing_there"
    MISSING_HERE = "missing_here"
    TIME_DIFFERS = "time_differs"
    CANCELLED_THERE = "cancelled_there"
    CANCELLED_HERE = "cancelled_here"
    ATTENDANCE_DIFFERS = "attendance_differs"
    """One side says that nobody came, the other one does not."""
    CONFLICT = "conflict"
    """A booking there whose time is taken here."""
    UNMAPPED = "unmapped"
    """A booking of an event type that no service here names."""
    DOUBLED = "doubled"
    """One booking there had become two appointments here."""


class DifferenceAction(StrEnum):
    """What was done about a difference."""

    FOLDED_IN = "folded_in"
    """Taken over from the provider, as if it had been delivered."""
    PUSHED = "pushed"
    """Ours is written there again."""
    CLOSED = "closed"
    """Ended: here, because the provider knows nothing of it, or there, because it was one too many."""
    REPORTED = "reported"
    """Nothing: somebody has to decide."""


class Verdict(StrEnum):
    """Judgement of one check. Unknown always comes with its reason and never counts as ok."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"
    UNKNOWN = "unknown"
