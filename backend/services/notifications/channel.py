"""The port to whatever carries messages to people, and what can go wrong with it."""

from __future__ import annotations

from typing import Protocol

from backend.services.notifications.message import Message


class ChannelFailure(Exception):
    """A message that was not taken. The text is for operators: the channel's own words."""


class Refused(ChannelFailure):
    """The channel will never take this message as it is, or is set up wrongly: somebody has to look."""


class Busy(ChannelFailure):
    """The channel cannot take it now: worth another try later."""


class Unreachable(ChannelFailure):
    """The person has no address that this channel could use. Nothing is wrong; there is nothing to send."""


class Channel(Protocol):
    """Carries messages. The same message again must do no harm (`Message.key`)."""

    @property
    def name(self) -> str:
        """One word: `smtp`, `file`."""

    @property
    def sender(self) -> str:
        """The address that its messages come from; empty when it needs none."""

    async def send(self, message: Message) -> str:
        """Hand the message over for good; the channel's answer, for the record. Raises ChannelFailure."""

    async def close(self) -> None:
        """Let go of what it holds."""
