"""How a command says no: one exception for the command line's border, carrying what to do next."""

from __future__ import annotations

from backend.domain.nearest import nearest

__all__ = ["Refused", "WrongUsage", "nearest"]


class Refused(Exception):
    """A command that cannot do what was asked, in words for the person who asked. The program exits with 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to do about it; empty when the message says it all."""


class WrongUsage(Refused):
    """The command line or the configuration is wrong. The program exits with 2."""

    exit_code = 2
