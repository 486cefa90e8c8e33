"""What needs a person is found, with its number, worst first; what is well is not mentioned."""

from __future__ import annotations

import msgspec
import pytest

from backend.domain.vocabulary import NodeState, TroubleKind, Verdict
from backend.queue.policies import AlertLimits
from backend.watch.findings import find
from backend.watch.snapshots import (
    BlockedRow,
    BusinessSnapshot,
    CacheFigures,
    DatabaseSnapshot,
    FleetSnapshot,
    HeldGroup,
    NodeRow,
    ProviderRow,
    QueuesSnapshot,
    ReconciledRow,
    Timing,
    TroubleRow,
    WorkerRow,
)
from tests.watch.well import NOW, business, database, fleet, process, queue, queues


def verdicts(*snapshots: QueuesSnapshot | DatabaseSnapshot | FleetSnapshot | BusinessSnapshot) -> list[Verdict]:
    """The verdicts of all findings."""
    return [finding.verdict for finding in find({snapshot.domain: snapshot for snapshot in snapshots})]


def provider(breaker: str = "open", since_s: float = 10.0) -> ProviderRow:
    """Cal.com as a worker sees it."""
    return ProviderRow(provider="calcom", breaker=breaker, since_s=since_s, calls=10, failures=5, p99_s=1.0)


def test_a_provider_that_answers_again_soon_needs_nobody() -> None:
    assert verdicts(queues(providers=(provider(), provider("closed", 10_000.0)), calendar_pending=4)) == []


def test_a_system_that_is_well_needs_nobody() -> None:
    assert verdicts(queues(), database(), fleet(process()), business()) == []


def compared(**changes: object) -> ReconciledRow:
    """A provider that agrees with us, but for the changes."""
    return msgspec.structs.replace(ReconciledRow(provider="retell", state="done", done_s=60.0, open=0), **changes)


def node(**changes: object) -> NodeRow:
    """A machine that is well, but for the changes."""
    return msgspec.structs.replace(fleet().nodes[0], **changes)


def test_who_left_in_good_order_needs_nobody_and_who_vanished_says_what_it_had() -> None:
    gone = node(state=NodeState.LEFT, silent_s=60.0, processes=(process(state="failed"),))
    assert verdicts(fleet(nodes=(gone,))) == []
    had = WorkerRow(
        id="w", node="node-1", queue="default", pid=1, version="", concurrency=20, busy=7, done=0, rss_bytes=0,
        state="running", started_at=NOW, heartbeat_at=NOW,
    )  # fmt: skip
    (finding,) = find({"fleet": fleet(nodes=(node(state=NodeState.VANISHED, silent_s=8.0),), workers=(had,))})
    assert (finding.subject, "7 jobs in its hands run elsewhere" in finding.text) == ("node-1", True)


def test_of_several_machines_the_one_with_the_trouble_is_named() -> None:
    ill = node(node="node-2", processes=(process(state="failed"),))
    assert [finding.subject for finding in find({"fleet": fleet(nodes=(node(), ill))})] == ["api on node-2"]


def trouble(kind: str, count: int = 1, ago_s: float = 10.0, node: str = "here") -> TroubleRow:
    """What job 7 does to its worker."""
    return TroubleRow(
        at=NOW - ago_s, node=node, queue="default", entrypoint="default.x", job_id=7, kind=kind, detail="for 3 s",
        count=count,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [*TroubleKind, "silent"])
def test_each_job_type_is_named_once_for_what_it_does_until_that_is_past(kind: str) -> None:
    past = trouble(kind, ago_s=301.0)
    assert find({"queues": queues(troubles=(past,))}) == ()
    (finding,) = find({"queues": queues(troubles=(trouble(kind), trouble(kind, ago_s=20.0, node="there"), past))})
    assert finding.subject == "default.x"
    assert finding.hint == "askpro queue show 7"


def test_limits_that_are_off_and_queues_that_are_paused_need_nobody() -> None:
    off = AlertLimits(oldest_s=0, drain_s=0, backlog=0, silence_s=0, failure_share=0)
    slow = {"oldest_s": 900.0, "ready": 60_000, "drain_s": None, "silent_s": 900.0, "runs": 99, "failed": 99}
    assert find({"queues": queues(queue("default", limits=off, **slow))}) == ()
    paused = find({"queues": queues(queue(oldest_s=900.0, ready=900, paused=True))})
    assert paused == ()
    assert find({"queues": queues(queue(runs=19, failed=19))}) == ()  # too few to tell


@pytest.mark.parametrize(
    ("snapshot", "verdict", "words"),
    [
        (queues(queue(workers=0, ready=7)), Verdict.CRIT, "no live worker, 7 jobs wait"),
        (queues(calendar_failed=3), Verdict.WARN, "3 appointments were refused"),
        (queues(calendar_pending=9, calendar_oldest_s=700.0), Verdict.WARN, "9 appointments are not written yet"),
        (queues(providers=(provider(since_s=150.0),)), Verdict.WARN, "calls are held back"),
        (queues(queue(oldest_s=12.0)), Verdict.WARN, "waits for 12 s"),
        (queues(queue(oldest_s=31.0)), Verdict.CRIT, "waits for 31 s"),
        (queues(queue("default", oldest_s=61.0)), Verdict.WARN, "waits for 61 s"),
        (queues(queue(ready=1200)), Verdict.CRIT, "not getting fewer"),
        (queues(queue(ready=1200, drain_s=700.0)), Verdict.CRIT, "drained in 12 m"),
        (queues(queue(ready=10_000, drain_s=1.0)), Verdict.WARN, "10,000 jobs are ready, its limit is 10,000"),
        (queues(queue("default", silent_s=301.0)), Verdict.CRIT, "nothing was put in for 5 m, its limit is 5 m"),
        (queues(queue(runs=40, failed=9)), Verdict.WARN, "22 % of 40 runs failed lately, its limit is 20 %"),
        (queues(queue(oldest_s=5.0, limits=AlertLimits(oldest_s=4.0))), Verdict.WARN, "its limit is 4 s"),
        (queues(troubles=(trouble("blocks"),)), Verdict.CRIT, "job 7 blocks its worker: for 3 s"),
        (queues(troubles=(trouble("crash"),)), Verdict.WARN, "job 7 brings its worker down"),
        (queues(troubles=(trouble("crash", count=2),)), Verdict.CRIT, "job 7 brings its worker down"),
        (queues(quarantined=3), Verdict.WARN, "3 deliveries belong to no company"),
        (queues(quarantined=1), Verdict.WARN, "1 delivery belongs to no company"),
        (queues(rejected_by_reason_1h={"signature_wrong": 21}), Verdict.WARN, "has a secret changed?"),
        (queues(inbox_waiting=2, inbox_oldest_s=121.0), Verdict.CRIT, "2 accepted deliveries without effect"),
        (queues(reconciled=(compared(open=2),)), Verdict.WARN, "2 differences need somebody"),
        (queues(reconciled=(compared(state="failed"),)), Verdict.WARN, "refuses to be compared with"),
        (database(connections=90), Verdict.CRIT, "90 of 94 connections"),
        (database(oldest_idle_in_transaction_s=31.0), Verdict.WARN, "idle in a transaction for 31 s"),
        (database(disk_free_bytes=9), Verdict.CRIT, "9 % of its disk is free"),
        (database(freeze_age=1_200_000_000), Verdict.CRIT, "transaction ids"),
        (fleet(process(state="failed", detail="exit 1")), Verdict.CRIT, "was given up: exit 1"),
        (fleet(process(state="backoff")), Verdict.WARN, "ended, starts again soon"),
        (fleet(process(rss_bytes=450 * 2**20)), Verdict.WARN, "450 MB resident"),
        (fleet(cache=CacheFigures(up=False)), Verdict.WARN, "nothing is lost"),
        (fleet(cache=CacheFigures(up=True)), Verdict.UNKNOWN, "not known"),
        (fleet(nodes=(node(load_1m=4.2),)), Verdict.WARN, "load 4.2 on 2 cores"),
        (fleet(nodes=(node(state=NodeState.VANISHED, silent_s=60.0),)), Verdict.CRIT, "not heard of for 60 s"),
        (fleet(nodes=(node(rival="shed:/data"),)), Verdict.WARN, "shed:/data wants the same name"),
        (fleet(nodes=(node(), node(node="n2", version="0.0.9"))), Verdict.WARN, "runs version 0.0.9"),
        (business(webhook_success_ratio=0.88), Verdict.CRIT, "88.0 % succeed"),
        (business(error_ratio=0.02), Verdict.WARN, "2.0 % server errors"),
    ],
)
def test_what_is_wrong_is_said_with_its_number(
    snapshot: QueuesSnapshot | DatabaseSnapshot | FleetSnapshot | BusinessSnapshot, verdict: Verdict, words: str
) -> None:
    (finding,) = find({snapshot.domain: snapshot})
    assert (finding.verdict, words in finding.text) == (verdict, True)


def test_held_jobs_of_the_last_hour_are_counted_over_all_causes() -> None:
    group = HeldGroup(
        fingerprint="f", queue="default", entrypoint="default.x", error_type="E", message="m", companies=1, held_1h=11,
        held_24h=20, held_total=30, first_at=NOW - 9000, last_at=NOW,
    )  # fmt: skip
    (finding,) = find({"queues": queues(held=(group, group))})
    assert (finding.verdict, finding.text) == (Verdict.CRIT, "22 in the last hour, 2 causes")


def test_a_lock_pile_up_tells_the_longest_wait() -> None:
    rows = tuple(
        BlockedRow(pid=pid, blocked_by=(1,), application="a", state="active", wait_s=wait, query="q")
        for pid, wait in ((2, 3.0), (3, 12.0))
    )
    (finding,) = find({"database": database(blocked=rows)})
    assert (finding.verdict, finding.text) == (Verdict.CRIT, "2 wait for a lock, since 12 s")


def test_a_slow_route_is_named() -> None:
    slow = Timing(route="GET /api/x", per_s=1, p50_ms=2, p95_ms=3, p99_ms=1500, errors=0, refused=0)
    (finding,) = find({"business": business(routes=(slow,))})
    assert finding.text == "GET /api/x: p99 1500 ms"


def test_the_worst_comes_first() -> None:
    found = find({
        "fleet": fleet(cache=CacheFigures(up=True)),
        "queues": queues(queue(workers=0), quarantined=1),
    })  # fmt: skip
    assert [finding.verdict for finding in found] == [Verdict.CRIT, Verdict.WARN, Verdict.UNKNOWN]
