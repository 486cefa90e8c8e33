"""A job under the lamp: where it stands, every attempt, why it is held, what it came of and became, its payload."""

from __future__ import annotations

from dataclasses import replace
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

    from backend.watch.details import Details, JobDetail, Kin, Run

HELD = "held"

TRACEBACK = "Traceback"
"""How the title of a traceback begins."""


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
        self._payload_first = False
        self._redacted: Callable[[bytes], str] | None = None

    async def read(self, details: Details) -> Page | None:
        """The job with its runs."""
        found = await details.job(int(self.thing_id)) if self.thing_id.isdigit() else None
        if found is None:
            return None
        redaction = await module("backend.domain.redaction")
        self._job, self._redacted = found, redaction.redacted
        return self._made()

    def _made(self) -> Page | None:
        """The page of what is known."""
        if self._job is None or self._redacted is None:
            return None
        revealed = self._revealed[0] if self._revealed else None
        return page_of(self._job, self._redacted, revealed, payload_first=self._payload_first)

    def _show_again(self) -> None:
        """Show the same job in another way, without reading it anew."""
        if (page := self._made()) is not None:
            self.post_message(Loaded(page))

    def on_loaded(self, message: Loaded) -> None:
        """The timeline takes the lines that it needs, the long texts the rest."""
        if message.page is not None:
            self.refresh_hints()
            self.query_one(VirtualTable).styles.height = (
                "1fr" if self.has_class("-wide") else len(message.page.entries) + 2
            )

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """An attempt under the cursor shows its own traceback."""
        page, job, entry = self._page, self._job, event.row
        if page is None or job is None or not isinstance(entry, Entry):
            return
        run = next((run for run in job.runs if run_key(run) == entry.key and run.traceback), None)
        if run is not None and page.text_title.startswith(TRACEBACK):
            self._page = replace(page, text_title=f"{TRACEBACK} of attempt {run.attempt}", text=run.traceback)
            self._draw()

    # What can be done

    def title_of(self, action_id: str, title: str) -> str | None:
        """What decides about held jobs applies while this one is held; the rest says what it would do now."""
        if action_id.startswith("held.") and action_id != "held.reveal" and not self.is_held:
            return None
        if action_id == "held.reveal" and self._revealed is not None:
            return "hide"
        if action_id == "job.turn":
            return "traceback first" if self._payload_first else "payload first"
        return title

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
            self._show_again()
            return
        self._with_payload(lambda: None)

    def action_turn(self) -> None:
        """The payload above the traceback, or below it."""
        self._payload_first = not self._payload_first
        self.query_one("#text-frame").scroll_home(animate=False)
        self._show_again()

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
                self._show_again()
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


def page_of(
    job: JobDetail, redacted: Callable[[bytes], str], revealed: bytes | None, *, payload_first: bool = False
) -> Page:
    """Everything about a job; its payload redacted unless it was revealed."""
    held = job.held
    state = job.state if held is None or (held.state != HELD and job.state != "gone") else held.state
    payload, title = payload_text(job.payload, redacted, revealed)
    texts = [(title, payload)]
    if held is not None and held.traceback:
        texts.insert(1 if payload_first else 0, (f"{TRACEBACK} of the last attempt", held.traceback))
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
    if held is not None and held.decided_at is not None:
        decided = f"{held.state} by {held.decided_by or 'somebody'}, {day_text(held.decided_at)}"
        facts.append(("Decided", text_piece(decided)))
    if job.dedupe_key:
        facts.append(("Key", text_piece(hide_numbers(job.dedupe_key))))
    if held is not None:
        cause = f"{held.error_type}: {hide_numbers(held.message)}"
        facts.append(("", (Piece(f" {'Cause':<14}", Tone.DIM), Piece(cause, Tone.CRIT))))
    return tuple(facts)


def entries_of(job: JobDetail) -> list[Entry]:
    """What it came of and is about, its attempts with what lay between them, what was decided, what it became."""
    begin = job.enqueued_at or (job.runs[0].started_at if job.runs else 0.0)
    about = (
        ("webhook", job.webhook_id, "the delivery it works off"),
        ("call", job.call_id, "the call it is about"),
        ("customer", job.customer_id, "the customer it is about"),
        ("appointment", job.appointment_id, "the appointment it is about"),
    )
    entries = [_kin_entry(kin, f"{kin.how} from job {kin.job_id}, {kin.entrypoint}") for kin in job.came_of]
    entries += [Entry(kind, begin, kind, thing_id, what, "") for kind, thing_id, what in about if thing_id]
    happened = []
    before: Run | None = None
    for run in job.runs:
        happened.append(run_entry(run, before))
        before = run
    for index, said in enumerate(job.decisions):
        what = f"{said.action} by {said.by}{f': {said.reason}' if said.reason else ''}"
        happened.append(Entry(f"said {index}", said.at, "record", "", what, ""))
    happened += [
        _kin_entry(kin, f"{kin.how} into job {kin.job_id} by {kin.by}, {kin.entrypoint}") for kin in job.became
    ]
    return entries + sorted(happened, key=lambda entry: entry.at)


def _kin_entry(kin: Kin, what: str) -> Entry:
    return Entry(f"job {kin.job_id}", kin.at, "job", f"{kin.job_id}", what, kin.state)


def run_key(run: Run) -> str:
    """A run's identity in the timeline."""
    return f"run {run.started_at}"


def run_entry(run: Run, before: Run | None) -> Entry:
    """One attempt: where, after how long a wait, and how it ended."""
    waited = run.waited_s
    if before is not None and before.ended_at is not None:
        waited = run.started_at - before.ended_at
    after = f" after {age_text(waited)}" if waited is not None and waited >= 0.05 else ""
    what = f"attempt {run.attempt}{after} on {run.node or 'a worker that is gone'}"
    if run.error:
        what = f"{what}: {hide_numbers(run.error)}"
    return Entry(run_key(run), run.started_at, "run", "", what, run.outcome or "running", run.took_s)
