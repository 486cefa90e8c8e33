"""A payload as it is, for a reason: the record tells who looked at it and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from screens.forms import Blank, Form, choice, told
from screens.link import Link, NotDone, module
from widgets.pieces import Line, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.host import Host


class Revealed(Message):
    """The payload, or why it is not shown."""

    def __init__(self, payload: bytes | None, problem: str = "") -> None:
        super().__init__()
        self.payload = payload
        self.problem = problem


class RevealDialog(Form[tuple[bytes, str]]):
    """Asks for a reason, writes it down, and answers with the payload and the reason."""

    FIRST: ClassVar[str] = "reason"

    def __init__(self, job_id: int, what_for: str = "") -> None:
        """A dialog about one job's payload; `what_for` stands in the field already."""
        super().__init__()
        self._job_id = job_id
        self._what_for = what_for
        self._wrong = ""
        self._busy = False

    def blanks(self) -> Sequence[Blank]:
        """The reason."""
        return (Blank("reason", "Why", self._what_for, "in a few words, for the record"),)

    def above(self, width: int) -> Iterable[Line]:
        """What it means."""
        yield Line()
        yield from told(f"Show the payload of job {self._job_id} as it is?", width, Tone.BRIGHT)
        yield from told("It may hold names, numbers and addresses. That you looked is written down.", width, Tone.DIM)
        yield Line()

    def below(self, width: int) -> Iterable[Line]:
        """The keys, and what is missing."""
        yield Line()
        if self._busy:
            yield from told("Writing it down …", width, Tone.DIM)
        if self._wrong:
            yield from told(f"▲ {self._wrong}", width, Tone.WARN)
        yield choice("⏎", "write down and show", possible=bool(self.value("reason")) and not self._busy)
        yield choice("esc", "leave it hidden")
        yield Line()

    def changed(self, name: str, value: str) -> None:
        """With a reason it can be shown."""
        self._wrong = ""
        self.draw()

    def entered(self, name: str) -> None:
        """Write it down, then show it."""
        if self._busy:
            return
        if not self.value("reason"):
            self._wrong = "A payload is shown for a reason."
            self.draw()
            return
        self._busy = True
        self.draw()
        self.run_worker(self._reveal(self.value("reason")), exclusive=True, group="reveal", exit_on_error=False)

    def on_revealed(self, message: Revealed) -> None:
        """Hand it on, or say why not."""
        self._busy = False
        if message.payload is None:
            self._wrong = message.problem
            self.draw()
        else:
            self.dismiss((message.payload, self.value("reason")))

    async def _reveal(self, reason: str) -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        try:
            revealing = await module("backend.services.held_jobs.revealing")

            async def reveal(connection: Connection, by: By) -> bytes:
                payload: bytes = await revealing.reveal_payload(connection, by, self._job_id, reason=reason)
                return payload

            payload = await Link(host).change(reveal)
        except NotDone as problem:
            self.post_message(Revealed(None, str(problem)))
        else:
            self.post_message(Revealed(payload))
