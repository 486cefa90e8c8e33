"""The line one types into at the bottom of a screen: a command after `:`, a filter after `/`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Literal

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone
from widgets.safe_text import ELLIPSIS, cell_width, cut, safe_text

LONGEST = 256
"""Characters that can be typed or pasted."""

SETTLE_S = 1.0
"""Longest wait for keys on their way to the input."""

FILTER_HINTS = ("⏎ keep", "esc clear", "!word without", "~word fuzzy")
"""What a filter may be made of, what matters most first."""

Kind = Literal["command", "filter"]


class BarInput(Input):
    """The input itself: no blinking, no markup, keys of its own go to the bar."""

    def __init__(self, value: str) -> None:
        super().__init__(value, max_length=LONGEST, compact=True, select_on_focus=False)
        self.cursor_blink = False

    def on_key(self, event: events.Key) -> None:
        """Keys that mean something to the bar."""
        bar = self.parent
        if isinstance(bar, CommandBar) and bar.take_key(event.key):
            event.stop()
            event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text comes in harmless and short."""
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(safe_text(event.text, LONGEST))


class CommandBar(Horizontal):
    """A prompt, an input, and what could be meant at its right."""

    DEFAULT_CSS = """
    CommandBar { height: 1; }
    CommandBar > .prompt { width: 2; padding: 0 0 0 1; }
    CommandBar > .meant { width: 2fr; }
    CommandBar > BarInput { width: 3fr; background: $ground-base; }
    """

    class Changed(Message):
        """Another text."""

        def __init__(self, kind: Kind, text: str) -> None:
            super().__init__()
            self.kind = kind
            self.text = text

    def __init__(
        self,
        kind: Kind,
        text: str = "",
        *,
        complete: Callable[[str], str] | None = None,
        meant: Callable[[str], list[str]] | None = None,
        older: Callable[[str], str] | None = None,
        newer: Callable[[], str] | None = None,
    ) -> None:
        """A bar for one use.

        Args:
            kind: What is typed.
            text: What stands there already.
            complete: For tab: the text completed.
            meant: Possible completions, shown at the right.
            older: For up: the line before in the history.
            newer: For down: the line after.
        """
        super().__init__()
        self.kind: Kind = kind
        self._text = text
        self._complete = complete
        self._meant = meant
        self._older = older
        self._newer = newer

    def compose(self) -> ComposeResult:
        """Prompt, input, hints."""
        yield LineView(classes="prompt")
        yield BarInput(self._text)
        yield LineView(classes="meant")

    def on_mount(self) -> None:
        """Show prompt and hints."""
        self.query_one(".prompt", LineView).show([Line((Piece(":" if self.kind == "command" else "/", Tone.ACCENT),))])
        self._tell_meant(self._text)

    @property
    def text(self) -> str:
        """What is typed now."""
        return self.query_one(BarInput).value

    async def settled_text(self) -> str:
        """What is typed, after every key that was given to the input has arrived there."""
        field = self.query_one(BarInput)
        arrived = asyncio.Event()
        field.call_later(arrived.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await arrived.wait()
        return field.value

    def take_key(self, key: str) -> bool:
        """Act on a key that is the bar's; whether it was."""
        if key == "tab" and self._complete is not None:
            self._put(self._complete(self.text))
        elif key == "up" and self._older is not None:
            self._put(self._older(self.text))
        elif key == "down" and self._newer is not None:
            self._put(self._newer())
        else:
            return key == "tab"
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        """Pass on what was typed."""
        event.stop()
        self._tell_meant(event.value)
        self.post_message(self.Changed(self.kind, event.value))

    def _put(self, text: str) -> None:
        field = self.query_one(BarInput)
        field.value = text
        field.cursor_position = len(text)

    def _tell_meant(self, text: str) -> None:
        view = self.query_one(".meant", LineView)
        room = max(1, (self.app.size.width - 2) * 2 // 5 - 1)
        if self._meant is None:
            view.show([whole_words(FILTER_HINTS, room)])
            return
        view.show([whole_words(self._meant(text)[:12], room)])


def whole_words(words: Sequence[str], width: int) -> Line:
    """As many of the words from the first on as fit whole; an ellipsis for those that do not."""
    kept, used = "", 0
    for number, word in enumerate(words):
        cells = cell_width(safe_text(word)) + (2 if number else 0)
        tail = 2 if number < len(words) - 1 else 0
        if used + cells + tail > width:
            more = f" {ELLIPSIS}" if number else cut(word, width)
            return Line((Piece(f"{kept}{more}", Tone.DIM),))
        kept, used = f"{kept}{'  ' if number else ''}{word}", used + cells
    return Line((Piece(kept, Tone.DIM),))
