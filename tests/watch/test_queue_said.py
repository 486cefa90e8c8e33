"""Whoever is on call reads who paused what, why and for how much longer."""

from __future__ import annotations

import msgspec
import pytest

from backend.watch.findings import find
from backend.watch.snapshots import BulkRow, PauseRow, QuarantineRow, QueuesSnapshot
from tests.watch.samples import AT, SAMPLES


def told(**fields: object) -> set[str]:
    """What is found in a sample with these fields and nothing else that was said."""
    sample = SAMPLES["queues"]
    assert isinstance(sample, QueuesSnapshot)
    silent = msgspec.structs.replace(sample, pauses=(), quarantines=(), bulk_actions=(), troubles=())
    before = {(each.subject, each.text) for each in find({"queues": silent})}
    found = find({"queues": msgspec.structs.replace(silent, **fields)})
    return {f"{each.subject}: {each.text} | {each.hint}" for each in found if (each.subject, each.text) not in before}


PAUSE = PauseRow(
    id=1, kind="queue", name="webhooks", reason="keys rotate", paused_by="anna", paused_at=AT - 720, until=AT + 1080
)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            PAUSE,
            "webhooks: paused by anna for 12 m, 18 m to go: keys rotate; 12 jobs wait | askpro queue resume webhooks",
        ),
        (
            msgspec.structs.replace(PAUSE, kind="provider", name="calcom", until=None, reason=""),
            "calcom: held back by anna for 12 m | askpro queue resume --provider calcom",
        ),
        (
            msgspec.structs.replace(PAUSE, kind="company", name="nord", parked=1, until=None),
            "nord: paused by anna for 12 m: keys rotate; 1 job waits | askpro queue resume --company nord",
        ),
        (
            msgspec.structs.replace(PAUSE, kind="schedule", name="default.retention", until=None),
            "default.retention: does not come round, paused by anna for 12 m: keys rotate"
            " | askpro queue resume --schedule default.retention",
        ),
    ],
)
def test_a_pause_is_told_with_who_why_and_how_much_longer(row: PauseRow, text: str) -> None:
    assert told(pauses=(row,)) == {text}


def test_what_is_on_its_ramp_is_not_told() -> None:
    assert told(pauses=(msgspec.structs.replace(PAUSE, resumed_at=AT - 1, ramp_s=60),)) == set()


def test_quarantines_and_given_up_work_are_told() -> None:
    quarantine = QuarantineRow(
        id=7, entrypoint="webhooks.retell_call", company="nord", contains="", fingerprint="", reason="kills workers",
        made_by="anna", made_at=AT - 60, held=12,
    )  # fmt: skip
    bulk = BulkRow(
        id="1", action="retry", reason="", started_by="anna", started_at=AT - 60, ended_at=None, state="failed",
        matched=500, done=120, skipped=1, error="given up",
    )  # fmt: skip
    assert told(quarantines=(quarantine,), bulk_actions=(bulk, msgspec.structs.replace(bulk, state="running"))) == {
        "webhooks.retell_call: jobs of nord are held before they run by anna for 60 s: kills workers; 12 so far"
        " | askpro queue quarantine --lift 7",
        "held jobs: retry of 500 held jobs ended after 121: given up | askpro queue held",
    }
