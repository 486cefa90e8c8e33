"""The `:` line: what can be typed, what it is completed to, what it means, what was typed before. No terminal here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from askpro_console.refusal import nearest

MOST_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Command:
    """One word that can be typed after `:`."""

    word: str
    help: str
    run: Callable[[str], Awaitable[None] | None]
    """Gets the rest of the line."""
    values: Callable[[], Sequence[str]] = tuple
    """What the rest may be, for completion."""
    also: tuple[str, ...] = ()
    """Other words for it."""


class CommandLine:
    """Parses, completes, runs and remembers."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = tuple(commands)
        self._by_word = {word: command for command in commands for word in (command.word, *command.also)}
        self.history = History()

    async def run(self, text: str) -> str | None:
        """Run a line; what is wrong with it, as a sentence, or None. Nothing happens for an empty one.

        `:calls /anna` is the same as `:calls` and then `/anna`.
        """
        text = text.strip().removeprefix(":").strip()
        if not text:
            return None
        self.history.add(text)
        word, _, rest = text.partition(" ")
        command = self._by_word.get(word)
        if command is None:
            near = nearest(word, self._by_word)
            return f"There is no command :{word}." + (f" Did you mean :{near}?" if near else " ? lists them.")
        rest = rest.strip()
        allowed = command.values()
        if rest and allowed and rest not in allowed and not rest.startswith("/"):
            near = nearest(rest, allowed)
            return f":{command.word} {rest}: " + (f"did you mean {near}?" if near else f"one of {', '.join(allowed)}.")
        result = command.run(rest)
        if result is not None:
            await result
        return None

    def completions(self, text: str) -> list[str]:
        """Whole lines that `text` may become, best first."""
        text = text.removeprefix(":")
        word, space, rest = text.partition(" ")
        if not space:
            words = [known for known in self._by_word if known.startswith(word)]
            return sorted(words, key=lambda known: (known not in {c.word for c in self.commands}, len(known), known))
        command = self._by_word.get(word)
        if command is None:
            return []
        return [f"{word} {value}" for value in command.values() if value.startswith(rest.strip())]

    def complete(self, text: str) -> str:
        """`text` as far as it can only mean one thing; the first completion when it is as far as that already."""
        found = self.completions(text)
        if not found:
            return text
        common = found[0]
        for candidate in found[1:]:
            while not candidate.startswith(common):
                common = common[:-1]
        return common if len(common) > len(text.removeprefix(":")) else found[0]


class History:
    """Lines typed before, walked with up and down like a shell's."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._place = 0
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember a line; the same line twice in a row counts once."""
        if line and (not self._lines or self._lines[-1] != line):
            self._lines.append(line)
            del self._lines[:-MOST_REMEMBERED]
        self.rewind()

    def rewind(self) -> None:
        """Stand behind the last line again."""
        self._place = len(self._lines)
        self._draft = ""

    def older(self, current: str) -> str:
        """The line before; `current` is kept as the draft to come back to."""
        if self._place == len(self._lines):
            self._draft = current
        if self._place > 0:
            self._place -= 1
        return self._lines[self._place] if self._lines else current

    def newer(self) -> str:
        """The line after, at last the draft."""
        self._place = min(self._place + 1, len(self._lines))
        return self._lines[self._place] if self._place < len(self._lines) else self._draft
