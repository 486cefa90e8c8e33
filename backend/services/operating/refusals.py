"""What operators ask for and cannot have."""

from __future__ import annotations


class NotPossible(Exception):
    """It cannot be done as asked. Nothing was changed."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        """Why, for the person who asked."""
        self.hint = hint
        """What would be right; empty when the sentence says it all."""


class AlreadySo(NotPossible):
    """It is as asked already, or somebody was faster."""
