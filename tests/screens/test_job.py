"""A job under the lamp: payload hidden until a reason is given, edited only as what it was, the original kept."""

from __future__ import annotations

import json

import msgspec
from textual.widgets import TextArea

from backend.postgres.address import PostgresAddress, Role
from backend.watch.details import Decision, Held, JobDetail, Kin, Run
from screens.edit_job import EditDialog
from screens.job import JobScreen, entries_of, page_of
from screens.payloads import edited, laid_out, pasted, why_not_editable
from tests.databases import OpenConnection
from tests.screens.held_console import held_console, value
from tests.services.held_scenes import hold, states

PAYLOAD = '{"customer_name": "Anna Schmidt", "phone": "+4915112345678", "version": 3}'


async def test_a_payload_is_hidden_until_a_reason_is_given_and_that_is_written_down(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    (job,) = await hold(worker, payload=PAYLOAD)
    async with held_console(database, JobScreen(f"{job}")) as shown:
        await shown.until_shows("Traceback of the last attempt", "personal data hidden", '"version": 3')
        assert "Anna" not in shown.text
        assert "4915112345678" not in shown.text
        await shown.press("v", "enter")
        await shown.until_shows("A payload is shown for a reason.")
        assert await value(database, "select count(*) from audit_log") == 0
        await shown.press(*"why", "enter")
        await shown.until_shows("Payload, revealed", "Anna Schmidt", "+4915112345678", "v hide", "r retry")
        await shown.press("v")
        await shown.until_gone("Anna Schmidt")
    row = await worker.fetchrow("select action, subject, actor, reason from audit_log")
    assert row is not None
    assert tuple(row) == ("job.reveal", f"job {job}", "anna", "why")


async def test_an_edited_job_runs_as_a_new_one_and_the_original_is_kept(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    (job,) = await hold(worker, payload=PAYLOAD)
    async with held_console(database, JobScreen(f"{job}"), size=(80, 24)) as shown:
        await shown.until_shows("personal data hidden")
        await shown.press("e", *"fix", "enter")
        await shown.until_shows("Edit and run job", "unchanged")
        editor = shown.app.screen.query_one(TextArea)
        await shown.press("ctrl+s")
        await shown.until_shows("Nothing was changed.")
        editor.text = editor.text.replace('"version": 3', '"version": 4,')
        await shown.until_shows("No JSON: line 5")
        await shown.press("ctrl+s")
        await shown.until_shows("It has to be JSON first.")
        editor.text = editor.text.replace("4,", "4")
        await shown.until_shows("changed: version")
        await shown.press("escape")
        await shown.until_shows("esc again throws your changes away.")
        await shown.press("ctrl+s")
        await shown.until_shows(f"Type {job} to run it")
        assert await states(worker) == {"held": 1}
        await shown.press(*f"{job}", "enter")
        await shown.until(lambda: not isinstance(shown.app.screen, EditDialog))
        await shown.until_shows("replaced by anna", "edited into job")
        assert "r retry" not in shown.text, "nothing is left to decide"
        await shown.press("e")
        await shown.until_shows("Only a held job is edited")
    payload = await worker.fetchval("select payload from pgqueuer where status = 'queued'")
    assert json.loads(payload) == json.loads(PAYLOAD) | {"version": 4}
    assert await worker.fetchval("select payload from held_jobs where job_id = $1", job) == PAYLOAD.encode()
    assert await value(database, "select how from job_lineage where came_of = $1", job) == "edited"


async def test_an_edited_job_is_put_in_though_the_editor_is_left_meanwhile(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, other = await open_connection(Role.WORKER), await open_connection(Role.WORKER)
    (job,) = await hold(worker, payload=PAYLOAD)
    async with held_console(database, JobScreen(f"{job}")) as shown:
        await shown.until_shows("personal data hidden")
        await shown.press("e", *"fix", "enter")
        await shown.until_shows("Edit and run job")
        editor = shown.app.screen.query_one(TextArea)
        editor.text = editor.text.replace('"version": 3', '"version": 4')
        await shown.until_shows("changed: version")
        async with other.transaction():
            await other.execute("select from held_jobs where job_id = $1 for update", job)
            await shown.press("tab", "tab", *f"{job}", "enter")
            await shown.until_shows("Putting it in")
            await shown.press("escape")
            await shown.until_shows("Attempts and what belongs to it")
            assert await states(worker) == {"held": 1}
        await shown.until_shows("was put in with the new payload.", "edited into job")
    assert await states(worker) == {"replaced": 1}


def run(attempt: int, started: float, ended: float | None, *, error: str = "") -> Run:
    """One attempt."""
    return Run(
        job_id=7,
        attempt=attempt,
        entrypoint="webhooks.a",
        node="front",
        worker_id="w",
        started_at=started,
        ended_at=ended,
        outcome="retry" if ended else "",
        waited_s=0.01,
        error=error,
    )


JOB = JobDetail(
    job_id=7,
    entrypoint="webhooks.a",
    company="nord",
    state="failed",
    attempts=2,
    priority=3,
    enqueued_at=100.0,
    execute_after=100.0,
    heartbeat_at=None,
    dedupe_key="k +4915112345678",
    payload=b'{"inbox_id": "0198", "note": "ruft an"}',
    held=Held(
        queue="webhooks",
        fingerprint="f",
        error_type="ValueError",
        message="no +4915112345678",
        traceback="Traceback",
        attempts=2,
        enqueued_at=100.0,
        held_at=120.0,
        state="held",
    ),
    runs=(run(1, 101.0, 102.0, error="for +4915112345678"), run(2, 112.0, None)),
)


def test_attempts_tell_what_lay_between_them_and_hide_numbers() -> None:
    kin = Kin(job_id=6, entrypoint="webhooks.a", how="edited", by="anna", at=90.0, state="replaced")
    said = Decision(at=105.0, by="anna", action="job.reveal", reason="to see")
    job = msgspec.structs.replace(JOB, webhook_id="0198", call_id="0199", came_of=(kin,), decisions=(said,))
    elder, webhook, call, first, record, second = entries_of(job)
    assert (elder.kind, elder.id, elder.what) == ("job", "6", "edited from job 6, webhooks.a")
    assert [(entry.kind, entry.id) for entry in (webhook, call)] == [("webhook", "0198"), ("call", "0199")]
    assert record.what == "job.reveal by anna: to see"
    assert first.what == "attempt 1 on front: for +49••••678"
    assert (second.what, second.state) == ("attempt 2 after 10 s on front", "running")
    page = page_of(JOB, lambda payload: payload.decode().replace("ruft an", "[text]"), None)
    assert page.text_title == "Traceback of the last attempt"
    assert "[text]" in page.more_texts[0][1]
    assert "4915112345678" not in repr(page.facts)


def test_what_was_json_has_to_stay_json_and_equal_json_is_no_change() -> None:
    before = b'{"a":1,"b":[true]}'
    assert edited(before, laid_out(before)).changes == ()
    assert edited(before, '{"b": [true], "a": 1}').payload == before
    assert edited(before, '{"a": 1.0, "b": [true]}').changes == ("a",)
    assert edited(before, '{"a": 1, "c": 2}').changes == ("+c", "-b")
    assert edited(before, '{"a": "\\ud800"}').payload == b'{"a":"\\ud800"}'
    broken = edited(before, '{"a": 1,\n "b" [true]}')
    assert (broken.payload, broken.line) == (None, 2)
    assert edited(b"not json", "still not").payload == b"still not"
    for text in ("[" * 5_000 + "]" * 5_000, '{"a": 1e999}', '{"a": NaN}', f'{{"a": {"9" * 5_000}}}', "x" * 300_000):
        assert edited(before, text).payload is None
        assert edited(before, text).problem


def test_what_would_move_a_cursor_stands_in_the_editor_as_an_escape() -> None:
    payload = json.dumps({"name": "a\u202eb\x9b\U000e0001ü" + "e" + "\u0301" * 40}, ensure_ascii=False).encode()
    shown = laid_out(payload)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "ü" in shown
    assert "\u0301" * 4 not in shown
    assert json.loads(shown) == json.loads(payload)
    assert "move the cursor" in why_not_editable(b"no json \x1b[2J")
    assert "no text" in why_not_editable(b"\xff")
    assert "too long" in why_not_editable(b"x" * 300_000)
    assert pasted('{"a":\r\n\t"b\0\x1b[2J🕐"}') == '{"a":\n    "b\\u0000\\u001b[2J🕐"}'
