"""What a voice agent asks for while a call goes on, as its provider's payload is understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backend.domain.vocabulary import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """One tool call."""

    provider: Provider
    name: str
    """The function, as the agent named it."""
    provider_call_id: str
    tool_key: str
    """Equal for two deliveries of the same tool call: `id:<tool call id>`, else `args:<hash>`."""
    payload_hash: bytes
    """SHA-256 of the name and the canonical arguments."""
    dialled: str | None
    """The company's number, as far as it is one."""
    agent: str | None
    caller_number: str | None
    """The other end of the line, as the provider gave it; withheld ones too."""
    call_type: str | None
    direction: str | None
    from_number: str | None
    to_number: str | None
    started_at: datetime | None
    arguments: Mapping[str, object] = field(repr=False)
    """JSON values by name, not yet judged."""
