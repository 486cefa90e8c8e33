"""Several marked rows on Queues: what makes sense for all of them is done to all, what is for one says so."""

from __future__ import annotations

import time

import msgspec

from backend.domain.vocabulary import PauseKind, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.services.held_jobs import selecting
from backend.services.held_jobs.selecting import conditions
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause
from backend.watch.snapshots import BulkRow, PauseRow, QuarantineRow
from screens.in_force import Lane
from screens.pausing import ResumeForm
from screens.queue_deeds import Deed, meant
from screens.queue_lists import ProviderLine, QueueLine, TypeLine, provider_rows, queue_rows
from screens.queue_scopes import CausesChoice, scopes_of
from screens.queues import hint_title
from tests.databases import OpenConnection
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import DatabaseStack, value
from tests.screens.queue_samples import NOW, cause, night, type_row, well


def paused(kind: str, name: str, **more: object) -> PauseRow:
    """A pause in force, but for the changes."""
    row = PauseRow(id=1, kind=kind, name=name, reason="", paused_by="marie", paused_at=NOW - 60)
    return msgspec.structs.replace(row, **more)


def lane(ref: PauseRow | QuarantineRow | BulkRow) -> Lane:
    """It, as the list of what is in force has it."""
    return Lane(f"{ref.id}", ref)


def test_hint_and_key_mean_the_same_for_everything_that_the_night_has_in_force() -> None:
    snapshot = night()
    rows: list[object] = [*queue_rows(snapshot, {}), *provider_rows(snapshot), *snapshot.held]
    for row in rows:
        deed = meant([row], NOW).deed
        action = "queues.breaker" if isinstance(row, ProviderLine) else "queues.pause"
        assert hint_title(action, "?", [row], deed) == (deed.value or None)


def test_a_breaker_on_its_ramp_is_held_open_anew_and_a_pause_on_its_ramp_is_left() -> None:
    ramp = paused("provider", "calcom", resumed_at=NOW - 5, ramp_s=600)
    assert meant([ProviderLine("calcom", pause=ramp)], NOW).deed is Deed.HOLD_OPEN
    ended = paused("provider", "calcom", until=NOW - 5, ramp_s=600)
    assert meant([ProviderLine("calcom", pause=ended)], NOW).deed is Deed.HOLD_OPEN
    assert meant([ProviderLine("calcom", pause=paused("provider", "calcom"))], NOW).deed is Deed.CLOSE
    assert meant([lane(paused("provider", "calcom"))], NOW).deed is Deed.CLOSE
    left = meant([lane(paused("queue", "default", resumed_at=NOW - 5, ramp_s=600))], NOW)
    assert (left.deed, left.refusal) == (Deed.NOTHING, "It is resumed already, and on its way to full speed.")


def test_pauses_are_resumed_together_and_mixtures_say_what_to_mark() -> None:
    two = [lane(paused("queue", "default")), lane(paused("company", "nord"))]
    assert meant(two, NOW).deed is Deed.RESUME
    with_breaker = meant([*two, lane(paused("provider", "calcom"))], NOW)
    assert with_breaker.deed is Deed.NOTHING
    assert "one by one: `U` takes the marks away." in with_breaker.refusal
    webhooks, appointments, default, _ = queue_rows(well(), {})
    held = QueueLine(webhooks.row, pause=paused("queue", "webhooks"))
    assert meant([held, appointments, default], NOW).refusal == (
        "webhooks is paused, appointments, default not: mark only what is to be resumed, or only what is to be paused."
    )
    assert meant([appointments, default], NOW).deed is Deed.PAUSE
    types = [TypeLine(type_row("default.a"), paused("job_type", "default.a")), TypeLine(type_row("default.b"))]
    assert meant(types, NOW).deed is Deed.NOTHING
    providers = meant([ProviderLine("calcom"), ProviderLine("retell")], NOW)
    assert (
        providers.refusal == "One breaker is held open or closed at a time, and 2 are marked: `U` takes the marks away."
    )


def test_several_pauses_are_told_one_by_one_and_keep_their_own_ramps() -> None:
    same = ResumeForm([paused("queue", "default", ramp_s=60), paused("company", "nord", ramp_s=60)], "They start.")
    assert same.blanks()[0].value == "60 s"
    apart = ResumeForm([paused("queue", "default", ramp_s=60), paused("company", "nord")], "They start.")
    assert (apart.blanks()[0].value, apart.blanks()[0].hint[-18:]) == ("", "as each pause says")
    text = "\n".join(line.plain for line in apart.above(78))
    assert "queue default, paused by marie" in text
    assert "company nord, paused by marie" in text


def test_the_held_jobs_of_all_marked_causes_are_one_choice() -> None:
    (scope,) = scopes_of([cause("f1"), cause("f2", held_total=3)])
    assert (scope.words, scope.entrypoint) == ("all 223 of 2 marked causes", "default.calendar_sync")
    held = scope.choice.as_filter(selecting)
    assert held == selecting.HeldFilter(causes=("f1", "f2"))
    assert (held.told(), held.as_record()) == ("causes f1, f2", {"causes": ["f1", "f2"]})
    assert conditions(held, None).sql.endswith("h.fingerprint = any($1::text[])")
    assert CausesChoice(causes=("f1",), queue="default").as_filter(selecting).queue is QueueName.DEFAULT
    assert scopes_of([cause("f1", entrypoint="default.a"), cause("f2")])[0].entrypoint == ""
    assert scopes_of(queue_rows(well(), {})) == ()


async def test_what_is_for_one_row_says_so_while_several_are_marked() -> None:
    async with console(GivenReader(night(now=time.time())), first="queues") as shown:
        await shown.until_shows("held back", "In force  4")
        await shown.press("space", "space", "plus")
        await shown.until_shows("One queue is scaled at a time")
        await shown.press("h")
        await shown.until_shows("History is of one row at a time")
        await shown.press("r")
        await shown.until_shows("Held jobs of one queue or job")
        await shown.press("U", "plus")
        await shown.until_shows("Scale default")


async def test_marked_causes_are_retried_together(database: PostgresAddress, open_connection: OpenConnection) -> None:
    worker = await open_connection(Role.WORKER)
    for number, fingerprint in enumerate(("f1", "f1", "f2", "f3")):
        await worker.execute(
            """with job as (
                   insert into pgqueuer
                       (priority, status, entrypoint, payload, created, updated, attempts, execute_after)
                   values (0, 'failed', 'default.a', '{}', now(), now(), 3, now()) returning id
               )
               insert into held_jobs (job_id, queue, entrypoint, fingerprint, error_type, message, traceback, payload,
                                      attempts, enqueued_at)
               select id, 'default', 'default.a', $1, 'ValueError', $2, 't', '{}', 3, now() from job""",
            fingerprint,
            f"no {number}",
        )
    causes = tuple(cause(name, entrypoint="default.a", held_total=total) for name, total in (("f1", 2), ("f2", 1)))
    snapshot = msgspec.structs.replace(well(), held=(*causes, cause("f3", entrypoint="default.a", held_total=1)))
    async with console(GivenReader(snapshot), first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("Held, by cause  3")
        await shown.press("tab", "space", "space", "Q")
        await shown.until_shows("A quarantine is for one cause, and 2 are marked")
        await shown.press("r")
        await shown.until_shows("all 3 of 2 marked causes", "Retry 3 held jobs?")
        await shown.press("y")
        await shown.until_shows("Retried", "3 of 3")
    left = await value(database, "select array_agg(fingerprint) from held_jobs where state = 'held'")
    assert left == ["f3"]


async def test_marked_pauses_are_resumed_together(database: PostgresAddress, open_connection: OpenConnection) -> None:
    worker = await open_connection(Role.WORKER)
    for name in ("default", "notifications"):
        await pause(worker, By("marie", "front"), PauseKind.QUEUE, name, reason="")
    kept = await worker.fetch("select id, name, extract(epoch from paused_at)::float8 as at from pauses order by id")
    pauses = tuple(
        PauseRow(id=row["id"], kind="queue", name=row["name"], reason="", paused_by="marie", paused_at=row["at"])
        for row in kept
    )
    snapshot = msgspec.structs.replace(well(), pauses=pauses)
    async with console(GivenReader(snapshot), first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("In force  2")
        await shown.press("tab", "tab", "space", "space")
        await shown.until_shows("2 marked", "P resume")
        await shown.press("P")
        await shown.until_shows("Resume: 2 pauses", "queue default, paused by marie", "queue notifications, paused by")
        await shown.press("y")
        await shown.until_shows("Resumed queue default, queue notifications.")
    assert await value(database, "select count(*) from pauses where resumed_at is null") == 0
