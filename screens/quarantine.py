"""Quarantine: jobs of a type, a company and a payload are held before they run. Counted first, then asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from screens.base import wall_clock
from screens.bulk_run import Scope
from screens.changing import carry_out
from screens.forms import Blank, Form, choice, fact, told
from screens.link import Link, NotDone, module
from screens.until import Unreadable, until_of
from widgets.figures import count_text
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from datetime import datetime

    from textual.timer import Timer

    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from backend.services.operating.quarantines import Matching
    from screens.host import Host, Severity

REST_S = 0.2
"""So long after the last key it is counted anew."""

MOST = 50_000
"""Waiting jobs are counted no further than this."""


class Counted(Message):
    """How many wait that it would hold, or why that is not known."""

    def __init__(self, asked: tuple[str, str], matching: Matching | None, problem: str = "") -> None:
        super().__init__()
        self.asked = asked
        self.matching = matching
        self.problem = problem


class QuarantineDialog(Form[None]):
    """Which jobs, until when, why; `y` makes it, once what it would hold was counted."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+r", "count", "count again")]

    def __init__(self, scope: Scope, *, after: Callable[[], None] | None = None) -> None:
        """A dialog about jobs like those in `scope`, which have a job type; `after` is called when it was made."""
        super().__init__()
        self._scope = scope
        self._after = after
        self._matching: Matching | None = None
        self._counted: tuple[str, str] | None = None
        """With what in the fields it was counted."""
        self._problem = ""
        self._wrong = ""
        self._busy = False
        self._timer: Timer | None = None
        self._link: Link | None = None

    def blanks(self) -> Sequence[Blank]:
        """The fields."""
        return (
            Blank("company", "Company", self._scope.company, "of any company"),
            Blank("contains", "With", hint="any payload; else what stands in it"),
            Blank("until", "Until", hint="somebody lifts it; 2 h, 14:30, tomorrow 8:00"),
            Blank("reason", "Why", hint="for the record and for whoever finds it"),
        )

    def above(self, width: int) -> Iterable[Line]:
        """Which jobs."""
        yield Line()
        yield from told(f"Quarantine {self._scope.entrypoint}?", width, Tone.BRIGHT)
        yield from told(
            "Jobs like this are held before they run, until somebody decides about them. Those that run now go on.",
            width,
            Tone.DIM,
        )
        yield Line()

    def below(self, width: int) -> Iterable[Line]:
        """How many it would hold, and what the keys do."""
        yield Line()
        matching = self._matching
        if self._problem:
            yield from told(f"▲ {self._problem}", width, Tone.WARN)
        elif matching is None or not self._is_counted:
            yield fact("Dry run", Piece("counting …", Tone.DIM), width=width)
        else:
            of = f"  of {count_text(matching.companies)} companies" if matching.companies > 1 else ""
            more = "or more " if matching.waiting >= MOST else ""
            jobs = "1 job waits" if matching.waiting == 1 else f"{count_text(matching.waiting)} {more}jobs wait"
            found = Piece(f"{jobs} that it would hold", Tone.BRIGHT)
            yield fact("Dry run", found, Piece(f"{of}, and those to come", Tone.DIM), width=width)
        if self._wrong:
            yield from told(f"✖ {self._wrong}", width, Tone.CRIT)
        elif self._busy:
            yield from told("It is being made …", width, Tone.DIM)
        yield Line()
        possible = not self.typing and self._is_counted and not self._problem and not self._busy
        yield choice("y", "quarantine them", possible=possible)
        if self._problem:
            yield choice("ctrl+r", "count again")
        yield choice("tab", "the fields" if not self.typing else "on, then back to the question")
        yield choice("esc", "leave it to itself" if self._busy else "do nothing")
        yield Line()

    def on_mount(self) -> None:
        """Count."""
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        self._link = Link(host)
        self.action_count()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def changed(self, name: str, value: str) -> None:
        """Other jobs: count anew once the typing rests."""
        self._wrong = ""
        if name in {"company", "contains"}:
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(REST_S, self.action_count)
        self.draw()

    def action_agree(self) -> None:
        """Make it, when everything is there."""
        if self._busy or self._problem:
            return
        if not self._is_counted:
            self._wrong = "What it would hold is still being counted."
            self.draw()
            return
        try:
            until = until_of(self.value("until"), wall_clock())
        except Unreadable as wrong:
            self._wrong = str(wrong)
            self.draw()
            return
        self._busy, self._wrong = True, ""
        self.draw()
        self._make(until)

    def action_leave(self) -> None:
        """Leave; what is being made goes on."""
        if self._busy:
            self._say("The quarantine is being made; the result is told when it is there.")
        self.dismiss(None)

    def action_count(self) -> None:
        """Count what it would hold."""
        self._matching, self._problem, self._counted = None, "", None
        self.draw()
        self.run_worker(self._look(*self._asked), exclusive=True, group="count", exit_on_error=False)

    def on_counted(self, message: Counted) -> None:
        """Show the dry run, unless something else stands in the fields by now."""
        if message.asked == self._asked:
            self._matching, self._problem, self._counted = message.matching, message.problem, message.asked
            self._wrong = ""
            self.draw()

    @property
    def _asked(self) -> tuple[str, str]:
        """Company and piece of payload, as they stand in the fields."""
        return self.value("company"), self.value("contains")

    @property
    def _is_counted(self) -> bool:
        return self._matching is not None and self._counted == self._asked

    def _say(self, text: str, *, severity: Severity = "information") -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        host.say(text, severity=severity)

    def _made(self, _result: None) -> None:
        """Say so, with the dialog open or not."""
        self._say(f"{self._scope.entrypoint} is quarantined. `askpro queue quarantine` shows and lifts it.")
        if self._after is not None:
            self._after()
        if self.is_current:
            self.dismiss(None)

    def _refused(self, problem: str) -> None:
        """Say why not."""
        self._busy = False
        if self.is_current:
            self._wrong = problem
            self.draw()
        else:
            self._say(problem, severity="error")

    async def _look(self, company: str, contains: str) -> None:
        assert self._link is not None
        asked = (company, contains)
        try:
            quarantines = await module("backend.services.operating.quarantines")

            async def read(connection: Connection) -> Matching:
                found: Matching = await quarantines.would_match(
                    connection, self._scope.entrypoint, company=company or None, contains=contains
                )
                return found

            matching = await self._link.run(read)
        except NotDone as problem:
            self.post_message(Counted(asked, None, str(problem)))
        else:
            self.post_message(Counted(asked, matching))

    def _make(self, until: datetime | None) -> None:
        company, contains = self._asked
        reason = self.value("reason")

        async def make(connection: Connection, by: By) -> None:
            quarantines = await module("backend.services.operating.quarantines")
            await quarantines.quarantine(
                connection,
                by,
                self._scope.entrypoint,
                company=company or None,
                contains=contains,
                fingerprint=self._scope.fingerprint or None,
                reason=reason,
                until=until,
            )

        carry_out(self.app, make, done=self._made, failed=self._refused)
