"""Questions about pauses: what, why, until when, how fast afterwards; and the answers, ready to be carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType

from backend.domain.vocabulary import PauseKind
from backend.watch.snapshots import PauseRow
from screens.base import wall_clock
from screens.forms import Blank, Field, Form, choice, fact, told
from screens.in_force import KINDS
from screens.link import module
from screens.moments import day_text
from screens.until import Unreadable, span_of, until_of
from widgets.figures import age_text
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By

COMPANY = "a company …"
"""The choice whose name is typed."""


MOST_TOLD = 6
"""Pauses that a question tells one by one."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to pause."""

    kind: PauseKind
    name: str

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.name}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be paused from where the cursor stands."""

    targets: tuple[Target, ...]
    """Empty: a company, whose slug is typed."""
    effect: str = ""
    """What that means, in a sentence or two."""

    def __str__(self) -> str:
        if not self.targets:
            return COMPANY
        first = self.targets[0]
        if len(self.targets) == 1:
            return str(first)
        return f"{len(self.targets)} {KINDS[first.kind]}s: {', '.join(target.name for target in self.targets)}"


@dataclass(frozen=True, slots=True)
class PauseAnswer:
    """What is to be paused, and how."""

    targets: tuple[Target, ...]
    reason: str
    until: datetime | None
    ramp_s: int


class PauseForm(Form["PauseAnswer | None"]):
    """Asks what to pause and why; nothing happens without `y`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "choose(-1)", "other"),
        Binding("right,space", "choose(1)", "other"),
    ]
    FIRST = "reason"

    def __init__(
        self,
        choices: Sequence[Offer],
        user: str,
        *,
        until: str = "",
        ramps: bool = True,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        """A question with the first of the choices chosen.

        Args:
            choices: What may be paused, the likeliest first.
            user: Who will stand in the record.
            until: What stands in that field at first.
            ramps: Whether it can come back to full speed by and by.
            clock: The time, with its zone.
        """
        super().__init__()
        self._choices = tuple(choices)
        self._chosen = 0
        self._user = user
        self._until = until
        self._ramps = ramps
        self._clock = clock
        self._is_open = False

    def blanks(self) -> Sequence[Blank]:
        """Which company, why, until when, how fast afterwards."""
        ramp = Blank("ramp", "Ramp", hint="10 m: comes to full speed over so long; empty: at once")
        return (
            Blank("company", "Company", hint="its short name, as praxis-nord"),
            Blank("reason", "Why", hint="for the record, and for whoever wonders at night"),
            Blank("until", "Until", self._until, hint="30 m, 2 h, 14:30, tomorrow 8:00; empty: until resumed"),
            *((ramp,) if self._ramps else ()),
        )

    def on_mount(self) -> None:
        """The company's field is shown when one is to be named."""
        self._show_company()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """What the keys do now is told. From the first field on, so that what was typed too early agrees to nothing."""
        self._is_open = True
        self.draw()

    def above(self, width: int) -> Iterable[Line]:
        """What is paused, and what that means."""
        yield Line()
        yield from told("Pause", width, Tone.BRIGHT)
        yield Line()
        chosen = self._choices[self._chosen]
        several = len(self._choices) > 1 and not self.typing
        arrows = (Piece("‹ ", Tone.ACCENT), Piece(" ›", Tone.ACCENT)) if several else (Piece(""), Piece(""))
        what = (arrows[0], Piece(str(chosen), Tone.BRIGHT), arrows[1])
        yield fact("What", *what, width=width)

    def below(self, width: int) -> Iterable[Line]:
        """What the fields mean; the keys."""
        yield Line()
        chosen = self._choices[self._chosen]
        if chosen.effect:
            yield from told(chosen.effect, width, Tone.DIM)
        is_right = False
        try:
            meaning = self._meaning(self._answer())
        except Unreadable as wrong:
            yield from told(f"✖ {wrong}", width, Tone.CRIT)
        else:
            is_right = True
            yield from told(meaning, width, Tone.DIM)
        yield Line()
        typing = bool(self.typing)
        yield choice("y", "pause", f"recorded as {self._user}", possible=is_right and not typing)
        if len(self._choices) > 1:
            yield choice("← →", "pause something else", possible=not typing)
        yield choice("tab", "to the question" if typing else "type why, until when", "⏎ too" if typing else "")
        yield choice("esc", "do nothing")
        yield Line()

    def changed(self, name: str, value: str) -> None:
        """The meaning is told anew."""
        self.draw()

    def entered(self, name: str) -> None:
        """To the question at once."""
        self.set_focus(None)
        self.draw()

    def action_choose(self, by: int) -> None:
        """Another of the choices."""
        self._chosen = (self._chosen + by) % len(self._choices)
        self._show_company()
        self.draw()

    def action_agree(self) -> None:
        """Pause."""
        if not self._is_open:
            return
        try:
            self.dismiss(self._answer())
        except Unreadable:
            self.draw()

    def _show_company(self) -> None:
        row = self.query_one("#field-company", Field).parent
        assert row is not None
        row.display = not self._choices[self._chosen].targets

    def _answer(self) -> PauseAnswer:
        """Raises Unreadable."""
        targets = self._choices[self._chosen].targets
        if not targets:
            name = self.value("company")
            if not name:
                raise Unreadable("Which company? Type its short name.")
            targets = (Target(PauseKind.COMPANY, name),)
        until = until_of(self.value("until"), self._clock())
        return PauseAnswer(targets, self.value("reason"), until, int(span_of(self.value("ramp")).total_seconds()))

    def _meaning(self, answer: PauseAnswer) -> str:
        if answer.until is None:
            end = "It lasts until somebody resumes it."
        else:
            left = answer.until - self._clock()
            end = f"It ends by itself on {day_text(answer.until.timestamp())}, in {age_text(left.total_seconds())}."
        ramp = f" Then it comes to full speed over {age_text(answer.ramp_s)}." if answer.ramp_s else ""
        return end + ramp


@dataclass(frozen=True, slots=True)
class ResumeAnswer:
    """What is to be resumed, and how fast."""

    targets: tuple[Target, ...]
    ramp_s: int | None
    """None: as each pause says."""
    reason: str = ""


class ResumeForm(Form["ResumeAnswer | None"]):
    """Tells who paused it and why, and asks whether to go on."""

    def __init__(
        self, pauses: Sequence[PauseRow], effect: str, *, verb: str = "resume", title: str = "", ramps: bool = True
    ) -> None:
        """A question about these pauses.

        Args:
            pauses: What is paused; may be empty for a breaker that opened by itself.
            effect: What resuming means, in a sentence.
            verb: What `y` does.
            title: What it is about; pauses say it by themselves.
            ramps: Whether it can come back to full speed by and by.
        """
        super().__init__()
        self._ramps = ramps and bool(pauses)
        self._pauses = tuple(pauses)
        self._effect = effect
        self._verb = verb
        several = f"{len(pauses)} pauses" if len(pauses) > 1 else ""
        self._title = title or several or f"{KINDS[PauseKind(pauses[0].kind)]} {pauses[0].name}"
        self._differs = len({pause.ramp_s for pause in pauses}) > 1
        """Whether the pauses have different ramps."""

    def blanks(self) -> Sequence[Blank]:
        """How fast, and why."""
        if not self._ramps:
            return (Blank("reason", "Why", hint="for the record"),)
        own = self._pauses[0].ramp_s
        empty = "as each pause says" if self._differs else "at once"
        ramp = f"{own} s" if own and not self._differs else ""
        return (
            Blank("ramp", "Ramp", ramp, hint=f"10 m: to full speed over so long; empty: {empty}"),
            Blank("reason", "Why", hint="for the record"),
        )

    def above(self, width: int) -> Iterable[Line]:
        """What is paused, by whom, why."""
        yield Line()
        yield from told(f"{self._verb.capitalize()}: {self._title}", width, Tone.BRIGHT)
        yield Line()
        if len(self._pauses) == 1:
            yield from _pause_facts(self._pauses[0], width)
        for pause in self._pauses[:MOST_TOLD] if len(self._pauses) > 1 else ():
            what = f"{KINDS[PauseKind(pause.kind)]} {pause.name}"
            why = f": {pause.reason}" if pause.reason else ""
            yield from told(f"{what}, paused by {pause.paused_by}{why}", width, most=2)
        if len(self._pauses) > MOST_TOLD:
            yield from told(f"and {len(self._pauses) - MOST_TOLD} more", width, Tone.DIM)
        yield Line()

    def below(self, width: int) -> Iterable[Line]:
        """What it means; the keys."""
        yield Line()
        yield from told(self._effect, width, Tone.DIM)
        problem = ""
        try:
            ramp = self._ramp()
        except Unreadable as wrong:
            problem = str(wrong)
            yield from told(f"✖ {problem}", width, Tone.CRIT)
        else:
            if ramp:
                yield from told(f"It comes to full speed over {age_text(ramp)}.", width, Tone.DIM)
        yield Line()
        typing = bool(self.typing)
        yield choice("y", self._verb, possible=not problem and not typing)
        yield choice("tab", "to the question" if typing else "ramp, why" if self._ramps else "type why")
        yield choice("esc", "do nothing")
        yield Line()

    def changed(self, name: str, value: str) -> None:
        """The meaning is told anew."""
        self.draw()

    def entered(self, name: str) -> None:
        """To the question at once."""
        self.set_focus(None)
        self.draw()

    def action_agree(self) -> None:
        """Resume."""
        try:
            ramp = self._ramp()
        except Unreadable:
            self.draw()
            return
        targets = tuple(Target(PauseKind(pause.kind), pause.name) for pause in self._pauses)
        self.dismiss(ResumeAnswer(targets, ramp, self.value("reason")))

    def _ramp(self) -> int | None:
        """Raises Unreadable."""
        if not self._ramps or (self._differs and not self.value("ramp")):
            return None
        return int(span_of(self.value("ramp")).total_seconds())


def _pause_facts(pause: PauseRow, width: int) -> Iterable[Line]:
    """By whom, when, why."""
    yield fact("Paused by", Piece(pause.paused_by), width=width)
    yield fact("On", Piece(day_text(pause.paused_at)), width=width)
    yield fact("Reason", Piece(pause.reason or "nobody said", Tone.TEXT if pause.reason else Tone.DIM), width=width)


async def pause_all(connection: Connection, by: By, answer: PauseAnswer) -> None:
    """Pause what the answer names. Raises NotPossible, asyncpg's errors."""
    pauses = await module("backend.services.operating.pauses")
    for target in answer.targets:
        await pauses.pause(
            connection, by, target.kind, target.name, reason=answer.reason, until=answer.until, ramp_s=answer.ramp_s
        )


async def resume_all(connection: Connection, by: By, answer: ResumeAnswer) -> int:
    """Resume what the answer names; how many jobs that were put off may start.

    Of several, those that are resumed already are passed over. Raises NotPossible, asyncpg's errors.
    """
    pauses = await module("backend.services.operating.pauses")
    refusals = await module("backend.services.operating.refusals")
    released, already = 0, 0
    for target in answer.targets:
        try:
            done = await pauses.resume(
                connection, by, target.kind, target.name, ramp_s=answer.ramp_s, reason=answer.reason
            )
        except refusals.AlreadySo:
            already += 1
            if already == len(answer.targets):
                raise
        else:
            released += done.released
    return released


def paused_text(answer: PauseAnswer) -> str:
    """What was done, for the remark."""
    names = ", ".join(str(target) for target in answer.targets)
    until = "" if answer.until is None else f" until {answer.until:%H:%M}"
    if answer.until is not None and answer.until - wall_clock() > timedelta(days=1):
        until = f" until {answer.until:%a %d %b %H:%M}"
    return f"Paused {names}{until}."
