"""Quarantine: jobs of a type, a company and a payload are held before they run. Counted first, then asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from textual.message import Message

from screens.base import wall_clock
from screens.bulk_run import Scope
from screens.forms import Blank, Form, choice, fact, told
from screens.link import Link, NotDone, module
from screens.until import Unreadable, until_of
from widgets.figures import count_text
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from textual.timer import Timer

    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from backend.services.operating.quarantines import Matching
    from screens.host import Host

REST_S = 0.2
"""So long after the last key it is counted anew."""


class Counted(Message):
    """How many wait that it would hold, or why that is not known."""

    def __init__(self, matching: Matching | None, problem: str = "") -> None:
        super().__init__()
        self.matching = matching
        self.problem = problem


class Ended(Message):
    """It was made, or could not be."""

    def __init__(self, problem: str = "") -> None:
        super().__init__()
        self.problem = problem


class QuarantineDialog(Form[None]):
    """Which jobs, until when, why; `y` makes it."""

    def __init__(self, scope: Scope, *, after: Callable[[], None] | None = None) -> None:
        """A dialog about jobs like those in `scope`, which have a job type; `after` is called when it was made."""
        super().__init__()
        self._scope = scope
        self._after = after
        self._matching: Matching | None = None
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
        elif matching is None:
            yield fact("Dry run", Piece("counting …", Tone.DIM), width=width)
        else:
            of = f"  of {count_text(matching.companies)} companies" if matching.companies > 1 else ""
            jobs = "1 job waits" if matching.waiting == 1 else f"{count_text(matching.waiting)} jobs wait"
            found = Piece(f"{jobs} that it would hold", Tone.BRIGHT)
            yield fact("Dry run", found, Piece(f"{of}, and those to come", Tone.DIM), width=width)
        if self._wrong:
            yield from told(f"✖ {self._wrong}", width, Tone.CRIT)
        yield Line()
        yield choice("y", "quarantine them", possible=not self.typing and not self._problem and not self._busy)
        yield choice("tab", "the fields" if not self.typing else "on, then back to the question")
        yield choice("esc", "do nothing")
        yield Line()

    def on_mount(self) -> None:
        """Count."""
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        self._link = Link(host)
        self._count()

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
            self._timer = self.set_timer(REST_S, self._count)
        self.draw()

    def action_agree(self) -> None:
        """Make it."""
        if self._busy or self._problem:
            return
        try:
            until_of(self.value("until"), wall_clock())
        except Unreadable as wrong:
            self._wrong = str(wrong)
            self.draw()
            return
        self._busy = True
        self.draw()
        self.run_worker(self._make(), exclusive=True, group="make", exit_on_error=False)

    def on_counted(self, message: Counted) -> None:
        """Show the dry run."""
        self._matching, self._problem = message.matching, message.problem
        self.draw()

    def on_ended(self, message: Ended) -> None:
        """Say so, or why not."""
        self._busy = False
        if message.problem:
            self._wrong = message.problem
            self.draw()
            return
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        host.say(f"{self._scope.entrypoint} is quarantined. `askpro queue quarantine` shows and lifts it.")
        if self._after is not None:
            self._after()
        self.dismiss(None)

    def _count(self) -> None:
        self._matching, self._problem = None, ""
        self.run_worker(self._look(), exclusive=True, group="count", exit_on_error=False)

    async def _look(self) -> None:
        assert self._link is not None
        company, contains = self.value("company") or None, self.value("contains")
        try:
            quarantines = await module("backend.services.operating.quarantines")

            async def read(connection: Connection) -> Matching:
                found: Matching = await quarantines.would_match(
                    connection, self._scope.entrypoint, company=company, contains=contains
                )
                return found

            matching = await self._link.run(read)
        except NotDone as problem:
            self.post_message(Counted(None, str(problem)))
        else:
            self.post_message(Counted(matching))

    async def _make(self) -> None:
        assert self._link is not None
        try:
            quarantines = await module("backend.services.operating.quarantines")

            async def make(connection: Connection, by: By) -> None:
                await quarantines.quarantine(
                    connection,
                    by,
                    self._scope.entrypoint,
                    company=self.value("company") or None,
                    contains=self.value("contains"),
                    fingerprint=self._scope.fingerprint or None,
                    reason=self.value("reason"),
                    until=until_of(self.value("until"), wall_clock()),
                )

            await self._link.change(make)
        except NotDone as problem:
            self.post_message(Ended(str(problem)))
        else:
            self.post_message(Ended())
