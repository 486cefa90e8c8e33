"""What the webhooks' jobs carry: which delivery, and what it is about."""

from __future__ import annotations

from uuid import UUID

import msgspec


class Delivered(msgspec.Struct, frozen=True):
    """Payload of the webhooks' jobs."""

    inbox_id: UUID
    subject: str
    """The provider's id of the call or booking."""
