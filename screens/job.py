"""A job under the lamp: where it stands, every attempt, why it is held, what it came of and became, its payload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from screens.detail import DetailScreen, Entry, Loaded, Page
from screens.held_actions import Choice, HeldActions, Scope
from screens.link import module
from screens.moments import day_text
from screens.payloads import laid_out, why_not_editable
from screens.things import hide_numbers, state_piece, text_piece
from widgets.figures import age_text, size_text
from widgets.pieces import Content, Piece, Tone
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.watch.details import Details, JobDetail, Run

HELD = "held"


class JobScreen(DetailScreen, HeldActions):
    """A job, and what can be done about it while it is held."""

    NAME = "job"
    TITLE = "Job"
    CSS_PATH = "detail.tcss"

    def __init__(self, thing_id: str) -> None:
        super().__init__(thing_id)
        self._job: JobDetail | None = None
        self._revealed: tuple[bytes, str] | None = None
        """The payload as it is, and why it was asked for."""

    async def read(self, details: Details) -> Page | None:
        """The job with its runs."""
        found = await details.job(int(self.thing_id)) if self.thing_id.isdigit() else None
        if found is None:
            return None
        redaction = await module("backend.domain.redaction")
        self._job = found
        return page_of(found, redaction.redacted, self._revealed[0] if self._revealed else None)

    def on_loaded(self, message: Loaded) -> None:
        """The timeline takes the lines that it needs, the long texts the rest."""
        if message.page is not None:
            self.query_one(VirtualTable).styles.height = (
                "1fr" if self.has_class("-wide") else len(message.page.entries) + 2
            )

    # What can be done

    @property
    def is_held(self) -> bool:
        """Whether somebody has to decide about it."""
        job = self._job
        return job is not None and job.held is not None and job.held.state == HELD

    def scopes(self) -> tuple[Scope, ...]:
        """This job while it is held, and all of its cause."""
        job = self._job
        if job is None or job.held is None or not self.is_held:
            return ()
        cause = job.held.fingerprint
        common = {"entrypoint": job.entrypoint, "fingerprint": cause}
        return (
            Scope(f"job {job.job_id}", Choice(job_ids=(job.job_id,)), company=job.company, **common),
            Scope("all of its cause", Choice(fingerprint=cause), **common),
        )

    def action_reload(self) -> None:
        """Read it anew."""
        DetailScreen.action_reload(self)

    def action_reveal(self) -> None:
        """Show the payload as it is, for a reason; or hide it again."""
        if self._revealed is not None:
            self._revealed = None
            self.action_reload()
            return
        self._with_payload(lambda: None)

    def action_edit(self) -> None:
        """Edit the payload and run that; the original stays."""
        if not self.is_held:
            self.host.say("Only a held job is edited; this one is not held.", severity="warning")
            return
        self._with_payload(self._edit)

    def _with_payload(self, then: Callable[[], None]) -> None:
        """Have the payload, asking for a reason first, and go on."""
        if self._job is None:
            return
        if self._revealed is not None:
            then()
            return
        from screens.reveal import RevealDialog

        def answered(answer: tuple[bytes, str] | None) -> None:
            if answer is not None and self.is_attached:
                self._revealed = answer
                self.action_reload()
                then()

        self.app.push_screen(RevealDialog(self._job.job_id), answered)

    def _edit(self) -> None:
        if self._job is None or self._revealed is None:
            return
        payload, reason = self._revealed
        if problem := why_not_editable(payload):
            self.host.say(problem, severity="warning")
            return
        from screens.edit_job import EditDialog

        job = self._job
        self.app.push_screen(EditDialog(job.job_id, job.entrypoint, payload, reason=reason, after=self._decided))


def page_of(job: JobDetail, redacted: Callable[[bytes], str], revealed: bytes | None) -> Page:
    """Everything about a job; its payload redacted unless it was revealed."""
    held = job.held
    state = job.state if held is None or (held.state != HELD and job.state != "gone") else held.state
    payload, title = payload_text(job.payload, redacted, revealed)
    texts = [(title, payload)]
    if held is not None and held.traceback:
        texts.insert(0, ("Traceback of the last attempt", held.traceback))
    (text_title, text), *more = texts
    return Page(
        title=f"{job.entrypoint} {job.job_id}",
        facts=job_facts(job, state),
        entries=tuple(entries_of(job)),
        timeline="Attempts and what belongs to it",
        text_title=text_title,
        text=text,
        more_texts=tuple(more),
    )


def payload_text(payload: bytes, redacted: Callable[[bytes], str], revealed: bytes | None) -> tuple[str, str]:
    """The payload laid out, and a title that says whether all of it is shown."""
    size = size_text(len(payload))
    if revealed is not None:
        return laid_out(revealed) or "(empty)", f"Payload, revealed  {size}"
    if not payload:
        return "(empty)", "Payload"
    return laid_out(redacted(payload).encode()), f"Payload, personal data hidden  {size}  v reveals it"


def job_facts(job: JobDetail, state: str) -> tuple[tuple[str, Content], ...]:
    """What is known of it in short."""
    held = job.held
    facts: list[tuple[str, Content]] = [
        ("Job", Piece(f"{job.job_id}", Tone.BRIGHT)),
        ("Type", text_piece(job.entrypoint)),
        ("State", state_piece(state)),
        ("Attempts", text_piece(f"{held.attempts if held and not job.attempts else job.attempts}")),
        ("Company", text_piece(job.company)),
        ("Priority", text_piece(f"{job.priority}")),
        ("Queued", text_piece(day_text(job.enqueued_at or (held.enqueued_at if held else None)))),
    ]
    if held is not None:
        facts.append(("Held", text_piece(day_text(held.held_at))))
    elif job.state == "queued":
        facts.append(("Starts", text_piece(day_text(job.execute_after))))
    if job.dedupe_key:
        facts.append(("Key", text_piece(hide_numbers(job.dedupe_key))))
    if held is not None:
        cause = f"{held.error_type}: {hide_numbers(held.message)}"
        facts.append(("", (Piece(f" {'Cause':<14}", Tone.DIM), Piece(cause, Tone.CRIT))))
    return tuple(facts)


def entries_of(job: JobDetail) -> list[Entry]:
    """What it works off, its attempts with what lay between them, and what it became."""
    begin = job.enqueued_at or (job.runs[0].started_at if job.runs else 0.0)
    entries = []
    if inbox_id := payload_value(job.payload, "inbox_id"):
        entries.append(Entry("webhook", begin, "webhook", inbox_id, "the delivery it works off", ""))
    before: Run | None = None
    for run in job.runs:
        entries.append(run_entry(run, before))
        before = run
    return entries


def run_entry(run: Run, before: Run | None) -> Entry:
    """One attempt: where, after how long a wait, and how it ended."""
    took = run.ended_at - run.started_at if run.ended_at is not None else None
    waited = run.waited_s
    if before is not None and before.ended_at is not None:
        waited = run.started_at - before.ended_at
    after = f" after {age_text(waited)}" if waited is not None and waited >= 0.05 else ""
    what = f"attempt {run.attempt}{after} on {run.node or 'a worker that is gone'}"
    if run.error:
        what = f"{what}: {hide_numbers(run.error)}"
    return Entry(f"run {run.started_at}", run.started_at, "run", "", what, run.outcome or "running", took)


def payload_value(payload: bytes, name: str) -> str:
    """A field of a payload that is a JSON object; else empty."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    return str(value.get(name, "")) if isinstance(value, dict) else ""
