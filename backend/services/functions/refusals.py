"""Why a function did not do what it was asked for. Each has a sentence in every language (`wording`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from backend.domain.availability import Slot
from backend.domain.vocabulary import RefusalReason


class FunctionRefusal(StrEnum):
    """Reasons beside those for which an appointment is not booked (`RefusalReason`)."""

    UNKNOWN_NUMBER = "unknown_number"
    """The number that was called belongs to no company, and neither does the agent."""
    FUNCTION_UNKNOWN = "function_unknown"
    UNAVAILABLE = "unavailable"
    """The database did not answer in time, or something broke. Nothing was done."""
    TOOL_CALL_REUSED = "tool_call_reused"
    """Another function or other arguments under the id of an earlier tool call."""
    ARGUMENT_MISSING = "argument_missing"
    """`argument` says which."""
    NAME_NEEDED = "name_needed"
    """The line does not tell who is calling."""
    PHONE_NEEDED = "phone_needed"
    """The caller's number is withheld and none was given."""
    IDENTITY_UNPROVEN = "identity_unproven"
    """The appointments asked about are not those of the line that calls."""
    APPOINTMENT_UNKNOWN = "appointment_unknown"
    """None that this caller may see."""
    APPOINTMENT_AMBIGUOUS = "appointment_ambiguous"
    """Several that could be meant; they are listed."""
    NOT_CHANGEABLE = "not_changeable"
    """It has begun, is over, or is cancelled already."""
    HOLD_EXPIRED = "hold_expired"
    """The slot was kept for a while, and the while is over."""
    POLICY_FORBIDS = "policy_forbids"
    """Too late to move or cancel it free of charge."""


Reason = RefusalReason | FunctionRefusal


class Declined(Exception):
    """Ends a function with a refusal that the agent can speak."""

    def __init__(
        self,
        reason: Reason,
        fields: Mapping[str, object] | None = None,
        words: Mapping[str, str] | None = None,
        alternatives: tuple[Slot, ...] = (),
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.fields = fields or {}
        """More of the answer, beside reason and message."""
        self.words = words or {}
        """What the sentence names."""
        self.alternatives = alternatives
